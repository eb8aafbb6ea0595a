"""What a tenant reads of a run, on a real server: nothing that leads to the administrator or to anybody else."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import pytest

from cipher_operator.api.names import default_user_name
from cipher_operator.reconcile.snapshot import read_snapshot
from support.runs import NAMESPACE, SERVERS
from support.tenants import PROD, Tenants

VICTIM = "victim"
USER = default_user_name(NAMESPACE, "chat")
SOMETHING = "something on the server must be mended"


def boss(tenants: Tenants) -> str:
    return f"boss_{tenants.database}"


@pytest.fixture
def limited(tenants: Tenants) -> Tenants:
    """Have a server whose administrator is none of all, and that others use too."""
    role = boss(tenants)
    tenants.sql(f"CREATE ROLE {role} LOGIN CREATEROLE CREATEDB PASSWORD 'pw'")
    tenants.sql(f"CREATE ROLE {VICTIM}_role")
    tenants.sql(f"CREATE DATABASE {VICTIM}_reports")
    tenants.platform(limits={"deletionPolicies": ["Delete", "Retain"], "adoption": True})
    url = tenants.server.admin_url(sslmode="disable", user=role, password="pw")
    tenants.api.secret(f"{PROD}-admin", {"CIPHER_PG_URL": url}, namespace=SERVERS)
    return tenants


def hidden(tenants: Tenants) -> tuple[str, ...]:
    return boss(tenants), "127.0.0.1", f"{PROD}-admin", SERVERS, VICTIM, str(tenants.server.port)


def inside(tenants: Tenants, statement: str) -> None:
    tenants.sql(statement, database=tenants.api.status()["database"])


def unmanaged(tenants: Tenants) -> None:
    inside(tenants, f"REVOKE ADMIN OPTION FOR {USER} FROM {boss(tenants)} CASCADE")


def refused_mend(tenants: Tenants) -> None:
    inside(
        tenants,
        "CREATE FUNCTION public.no() RETURNS event_trigger LANGUAGE plpgsql AS "
        f"$$BEGIN RAISE EXCEPTION 'ask {VICTIM}_role or {boss(tenants)}'; END$$",
    )
    inside(tenants, "ALTER TABLE cipher_lists ALTER created_at DROP NOT NULL")
    inside(tenants, "CREATE EVENT TRIGGER no ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION no()")


@dataclass(frozen=True)
class Trouble:
    """What is wrong on the server once the storage is Ready, and what its Ready says then."""

    make: Callable[[Tenants], object]
    says: str
    logged: str = ""
    """What stands in the operator's log in its place."""


WARNINGS = {
    "roles that the administrator may not manage": Trouble(unmanaged, SOMETHING, logged="may not manage role"),
    "a change that the server refuses in others' words": Trouble(refused_mend, "the server did not take: ALTER TABLE"),
    "a setting of all roles": Trouble(
        lambda tenants: tenants.sql("ALTER ROLE ALL SET statement_timeout = '3s'"),
        f"ask whoever runs CipherServer '{PROD}' to run: ALTER ROLE ALL RESET statement_timeout",
    ),
    "a setting of the database": Trouble(
        lambda tenants: inside(
            tenants, f"ALTER DATABASE {tenants.api.status()['database']} SET lock_timeout = '300ms'"
        ),
        f"ask whoever runs CipherServer '{PROD}' to run: ALTER DATABASE",
    ),
    "a table that is open": Trouble(
        lambda tenants: inside(tenants, "GRANT SELECT ON cipher_store TO PUBLIC"), "table 'cipher_store' is open to"
    ),
    "a database that takes few": Trouble(
        lambda tenants: inside(tenants, f"ALTER DATABASE {tenants.api.status()['database']} CONNECTION LIMIT 5"),
        "has CONNECTION LIMIT 5",
    ),
    "a trigger": Trouble(
        lambda tenants: inside(
            tenants,
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
            "CREATE TRIGGER mine BEFORE INSERT ON cipher_store FOR EACH ROW EXECUTE FUNCTION f()",
        ),
        "has trigger 'mine'",
    ),
    "a rotation": Trouble(lambda tenants: tenants.ask("rotate"), "is ready"),
}


@pytest.mark.parametrize("trouble", WARNINGS.values(), ids=WARNINGS)
async def test_no_warning_names_the_administrator_or_others(
    limited: Tenants, trouble: Trouble, caplog: pytest.LogCaptureFixture
) -> None:
    await limited.ready_tenant("chat", VICTIM)
    await limited.ready_tenant()
    caplog.clear()
    try:
        trouble.make(limited)
        with caplog.at_level(logging.INFO):
            assert await limited.look() == ("True", "Ready")
    finally:
        limited.sql("ALTER ROLE ALL RESET statement_timeout")
    assert trouble.says in limited.api.condition()["message"]
    for name in hidden(limited):
        assert not re.search(rf"\b{re.escape(name)}", limited.text()), name
    withheld = " ".join(str(getattr(record, "withheld", "")) for record in caplog.records)
    assert trouble.logged in withheld
    assert bool(withheld.strip()) is bool(trouble.logged), "what the tenant reads is not said twice"


@pytest.mark.parametrize("role", ["app", "connection", "name"])
async def test_an_administrator_who_is_called_like_a_field_is_hidden(tenants: Tenants, role: str) -> None:
    tenants.platform()
    url = tenants.server.admin_url(sslmode="disable", user=role, password="pw")
    tenants.api.secret(f"{PROD}-admin", {"CIPHER_PG_URL": url}, namespace=SERVERS)
    tenants.tenant(app={"maxConnections": 4, "secretName": "mine"})
    key, digest = (NAMESPACE, "chat"), tenants.around.digest
    snapshot = await read_snapshot(tenants.api, tenants.inputs, tenants.namespaces, tenants.around.places, key, digest)
    assert snapshot is not None
    assert snapshot.hidden() == {role, "127.0.0.1", f":{tenants.server.port}", f"{PROD}-admin", SERVERS}


async def test_what_he_wrote_himself_is_told_to_him(limited: Tenants) -> None:
    """To be silent of it would tell him that he has guessed the name of the Secret."""
    limited.api.secret(f"{PROD}-admin", {"of": "somebody else"})
    limited.tenant(app={"secretName": f"{PROD}-admin"})
    assert await limited.look() == ("False", "AlreadyExists")
    assert f"Secret '{PROD}-admin' exists and is not this storage's" in limited.api.condition()["message"]


async def test_what_keeps_a_deletion_names_nobody(limited: Tenants, caplog: pytest.LogCaptureFixture) -> None:
    await limited.ready_tenant(deletionPolicy="Delete")
    limited.sql(f"GRANT CONNECT ON DATABASE {VICTIM}_reports TO {USER}_owner")
    limited.api.delete("cipherstorages", "chat")
    assert await limited.look() == ("False", "DeletionBlocked")
    assert f"privileges for database {VICTIM}_reports" in caplog.text, "whoever runs the server finds it"
    assert "force-delete" in limited.api.condition()["message"]
    for name in hidden(limited):
        assert not re.search(rf"\b{re.escape(name)}", limited.text()), name


async def test_a_session_that_the_administrator_may_not_end_names_nobody(limited: Tenants) -> None:
    await limited.ready_tenant(deletionPolicy="Delete")
    database = limited.api.status()["database"]
    url = limited.server.admin_url(sslmode="disable").rsplit("/", 1)[0]
    with psycopg.connect(f"{url}/{database}?sslmode=disable"):
        limited.api.delete("cipherstorages", "chat")
        assert await limited.look() == ("False", "LockTimeout")
    for name in hidden(limited):
        assert not re.search(rf"\b{re.escape(name)}", limited.text()), name
    limited.api.delete("cipherstorages", "chat")
    await limited.look()
    assert limited.api.read("cipherstorages", "chat") is None


async def test_what_is_dropped_is_told_without_the_administrator(limited: Tenants) -> None:
    """A table that was taken over is given back to the administrator's login."""
    limited.change_server(limits={"existingDatabases": True, "databaseNames": "{namespace}_.*"})
    limited.sql(f"CREATE DATABASE ns_old OWNER {boss(limited)}")
    limited.sql(f"GRANT ALL ON SCHEMA public TO {boss(limited)} WITH GRANT OPTION", database="ns_old")
    limited.sql(
        "CREATE TABLE cipher_store (key text PRIMARY KEY, value text NOT NULL, created_at timestamptz NOT NULL, "
        f"updated_at timestamptz NOT NULL); ALTER TABLE cipher_store OWNER TO {boss(limited)}",
        database="ns_old",
    )
    await limited.ready_tenant(database={"name": "ns_old"}, adoptionPolicy="IfUnowned", deletionPolicy="Delete")
    limited.api.delete("cipherstorages", "chat")
    for _ in range(2):
        await limited.look()
    assert limited.api.read("cipherstorages", "chat") is None
    told = str(limited.api.events())
    assert "OWNER TO <administrator>" in told
    assert boss(limited) not in told
