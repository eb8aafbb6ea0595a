"""Supabase: the operator at the shared pooler or at the project's own host, pods at the same door or the other."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import Resource, Spec, parse_spec
from cipher_operator.core.connection.admin import AdminConnection, read_admin_connection
from cipher_operator.core.connection.password import Password
from cipher_operator.core.naming import user_name
from cipher_operator.core.orders import Credential
from cipher_operator.core.secret import (
    AppCredentials,
    app_door,
    app_secret_data,
    check_publishable,
    read_app_secret,
)
from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority
from support import node_pg
from support.admins import PASSWORD, SHAPES, changed, footprint
from support.provision import APP_PASSWORD, CIPHER_START, Provisioner, Storage
from support.supavisor import Supavisor, resolve_to_loopback

REF = "abcdefghijklmnopqrst"
SHAPE = next(shape for shape in SHAPES if shape.name == "supabase")
_names = iter(range(10_000))


@dataclass(frozen=True)
class Project:
    """One Supabase project: its server, and the pooler that leads there."""

    server: PostgresServer
    pooler: Supavisor

    def doors(self) -> dict[str, tuple[str, int]]:
        return {
            "pooler": (self.pooler.host, self.pooler.port),
            "direct": (self.pooler.direct_host, self.server.port),
        }

    def spec(self, pods: str | None = None, **user: str) -> Spec:
        raw: dict[str, Any] = {"connection": {"secretRef": {"name": "pg"}}, "schema": "cipher", "user": user}
        if pods is not None:
            host, port = self.doors()[pods]
            raw["app"] = {"host": host, "port": port}
        return parse_spec("team", "chat", raw)

    def admin(self, door: str, login: str, password: str = PASSWORD, *, by_url: bool = True) -> AdminConnection:
        """Return the way in as the operator reads it from a connection Secret."""
        host, port = self.doors()[door]
        data = {"CIPHER_PG_URL": f"postgresql://{login}:{password}@{host}:{port}/postgres"}
        if not by_url:
            values = {"HOST": host, "PORT": str(port), "NAME": "postgres", "USER": login, "PASSWORD": password}
            data = {f"STORAGE_DATABASE_{key}": value for key, value in values.items()}
        encoded = {key: value.encode() for key, value in data.items()}
        return read_admin_connection(encoded, self.spec().connection, None)


@pytest.fixture(scope="module", params=[15, 17], ids=lambda major: f"pg{major}")
def project(request: pytest.FixtureRequest, certificate_authority: CertificateAuthority) -> Iterator[Project]:
    tls = certificate_authority.server()
    with PostgresServer(request.param, tls=tls) as server, Supavisor(server, REF, tls) as pooler:
        SHAPE.make(server)
        SHAPE.give_database(server, "postgres")
        yield Project(server, pooler)


@pytest.fixture(autouse=True)
def names(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to_loopback(monkeypatch, project.pooler.host, project.pooler.direct_host)


def published(admin: AdminConnection, spec: Spec, role: str, password: Password = APP_PASSWORD) -> dict[str, str]:
    check_publishable(admin, spec.app, "postgres")
    endpoint = app_door(admin, spec.app, "postgres", ssl_in_use=True)
    return dict(app_secret_data(endpoint, AppCredentials(role, password)).data)


def open_both(project: Project, data: dict[str, str]) -> list[str]:
    """Open both published URLs as pods would, start Cipher on libpq's, and return who the server says they are."""
    with psycopg.connect(data["uri"], hostaddr="127.0.0.1", autocommit=True) as app:
        for statement in CIPHER_START:
            app.execute(statement)
        assert app.pgconn.ssl_in_use
        ((user,),) = app.execute("SELECT session_user").fetchall()
    addresses = {host: "127.0.0.1" for host, _ in project.doors().values()}
    node = node_pg.open_all({"app": data["CIPHER_PG_URL"]}, addresses=addresses)
    return [user, *(each.get("user", each.get("error")) for each in node.values())]


def roles_with_suffix(server: PostgresServer) -> list[Any]:
    return server.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE %s", [f"%{REF}%"])


@pytest.mark.parametrize("by_url", [True, False], ids=["url", "individual parameters"])
@pytest.mark.parametrize(
    ("door", "pods"),
    [("pooler", None), ("pooler", "direct"), ("direct", None), ("direct", "pooler")],
    ids=["pooler", "pooler, pods direct", "direct", "direct, pods at the pooler"],
)
async def test_a_project(project: Project, door: str, pods: str | None, by_url: bool) -> None:
    server, pooler = project.server, project.pooler
    login = f"supabase_login.{REF}" if door == "pooler" else "supabase_login"
    admin = Provisioner(project.admin(door, login, by_url=by_url))
    spec = project.spec(pods)
    wanted = SHAPE.wanted(f"sb{next(_names)}", existing=True)
    before = footprint(server, "postgres")
    pooler.logins.clear()

    first = await admin.provision(wanted)
    assert first.statements > 0
    assert roles_with_suffix(server) == []
    assert set(pooler.logins) == ({login, f"{wanted.user}.{REF}"} if door == "pooler" else set())

    pooler.logins.clear()
    data = published(admin.admin, spec, wanted.user)
    there = pods or door
    named = f"{wanted.user}.{REF}" if there == "pooler" else wanted.user
    host, port = project.doors()[there]
    assert (data["username"], data["host"], data["port"]) == (named, host, str(port))
    for key in ("uri", "CIPHER_PG_URL"):
        assert data[key].startswith(f"postgresql://{named}:")
    assert open_both(project, data) == [wanted.user] * 3
    assert pooler.logins == ([named] * 3 if there == "pooler" else [])
    known = read_app_secret({key: value.encode() for key, value in data.items()})
    assert known is not None
    assert (known.user, known.role) == (named, wanted.user)

    rest = footprint(server, "postgres")
    second = await admin.run(replace(wanted, established=True))
    assert (second.statements, second.executed) == (0, ())
    assert footprint(server, "postgres") == rest

    await rotate_through(admin, wanted, project, spec)
    assert roles_with_suffix(server) == []
    assert await admin.remove(wanted)
    assert changed(before, footprint(server, "postgres")) == {}


async def rotate_through(admin: Provisioner, wanted: Storage, project: Project, spec: Spec) -> None:
    """Change the password: the other login, by the same door, while the first still works."""
    new = Password("rotated-by-the-operator")
    other = wanted.logins[1]
    rotated = replace(wanted, established=True, credential=Credential(other, new, change=True))
    await admin.run(rotated)
    await admin.prove(rotated, new)
    await admin.prove(wanted)
    assert open_both(project, published(admin.admin, spec, other, new)) == [other] * 3


async def test_shared_mode_publishes_the_admin_and_owns_as_its_role(project: Project) -> None:
    admin = Provisioner(project.admin("pooler", f"supabase_login.{REF}"))
    spec = project.spec(mode="Shared")
    role = user_name(Resource("team", "chat", "uid", 1, "1", False, (), {}, {}, {}), spec, admin.admin)
    assert role == "supabase_login"
    wanted = replace(SHAPE.wanted("shared", existing=True), user=role, shared=True, credential=None)
    before = footprint(project.server, "postgres")
    await admin.run(wanted)
    tables = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'cipher'"
    assert project.server.execute(tables) == [("supabase_login",)]
    data = published(admin.admin, spec, role, admin.admin.password)
    assert data["username"] == f"supabase_login.{REF}"
    with psycopg.connect(data["uri"], hostaddr="127.0.0.1") as app:
        assert app.execute("SELECT session_user").fetchone() == ("supabase_login",)
    assert (await admin.run(replace(wanted, established=True))).executed == ()
    await admin.remove(wanted)
    assert changed(before, footprint(project.server, "postgres")) == {}


@pytest.mark.parametrize(
    ("login", "password", "said"),
    [
        ("supabase_login.zyxwvutsrqponmlkjihg", PASSWORD, "`<role>.<project ref>`"),
        ("supabase_login", PASSWORD, "`<role>.<project ref>`"),
        (f"supabase_login.{REF}", "wrong", "Correct user and password in the connection Secret."),
        (f"nobody.{REF}", PASSWORD, "Correct user and password in the connection Secret."),
    ],
    ids=["another project", "no project", "wrong password", "no such role"],
)
async def test_a_login_that_the_pooler_refuses(project: Project, login: str, password: str, said: str) -> None:
    admin = Provisioner(project.admin("pooler", login, password))
    before = footprint(project.server, "postgres")
    project.pooler.logins.clear()
    with pytest.raises(Failure) as refused:
        await admin.run(SHAPE.wanted("refused", existing=True))
    failure = refused.value
    assert (failure.reason, failure.stage) == (Reason.AUTHENTICATION_FAILED, ConditionType.CONNECTED)
    assert said in failure.message
    for secret in (password, project.pooler.host, str(project.pooler.port)):
        assert secret not in failure.message
    assert project.pooler.logins == [login], "one try: the pooler shuts out whoever goes on"
    assert changed(before, footprint(project.server, "postgres")) == {}


async def test_the_pooler_wants_tls(project: Project) -> None:
    url = f"postgresql://supabase_login.{REF}:{PASSWORD}@{project.pooler.host}:{project.pooler.port}/postgres"
    data = {"CIPHER_PG_URL": f"{url}?sslmode=disable".encode()}
    plain = Provisioner(read_admin_connection(data, project.spec().connection, None))
    with pytest.raises(Failure) as refused:
        await plain.run(SHAPE.wanted("plain", existing=True))
    assert refused.value.reason is Reason.TLS_REQUIRED


async def test_a_cancelled_statement_ends_behind_the_pooler(project: Project) -> None:
    admin = Provisioner(project.admin("pooler", f"supabase_login.{REF}"))
    async with admin.connect("postgres") as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await session.execute(sql.SQL("SELECT pg_sleep(300)"))
        assert await session.execute(sql.SQL("SELECT 1")) == [[(1,)]]
