"""Taking over what people made by hand, or what another storage owns, without downtime and without a grab."""

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import AdoptFrom
from cipher_operator.core.connection.password import Password
from cipher_operator.core.marker import Identity
from cipher_operator.core.orders import Credential
from cipher_operator.core.plan.removal import claimed, plan_inside, plan_outside
from cipher_operator.postgres.apply import apply
from cipher_operator.postgres.inspect import observe
from devcluster import PostgresServer
from support.provision import (
    APP_PASSWORD,
    CIPHER_START,
    Provisioner,
    Storage,
    desired,
    plain_admin,
    snapshot,
    superuser,
)

_names = iter(range(10_000))


@pytest.fixture(scope="module", params=[14, 16, 18], ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with PostgresServer(request.param) as running:
        yield running


@pytest.fixture(scope="module", params=["superuser", "createrole"])
def admin(request: pytest.FixtureRequest, server: PostgresServer) -> Provisioner:
    return superuser(server) if request.param == "superuser" else plain_admin(server, "cloud_admin")


def by_hand(server: PostgresServer, admin: Provisioner) -> Storage:
    """Do what Cipher's own documentation tells people to do, as this admin; then let the app start once."""
    wanted = desired(f"hand{next(_names)}", adopt_unowned=True)
    way = {"user": admin.admin.user, "password": admin.admin.password.reveal()}
    server.execute(f'CREATE DATABASE "{wanted.database}"', **way)
    server.execute(f"CREATE USER \"{wanted.user}\" WITH PASSWORD '{APP_PASSWORD.reveal()}'", **way)
    server.execute(f'GRANT ALL PRIVILEGES ON DATABASE "{wanted.database}" TO "{wanted.user}"', **way)
    if server.installation.major >= 15:
        server.execute(f'GRANT ALL ON SCHEMA public TO "{wanted.user}"', database=wanted.database, **way)
    with admin.app(wanted) as app:
        for statement in CIPHER_START:
            app.execute(statement)
    return wanted


async def test_what_was_made_by_hand_is_adopted_under_live_pods(server: PostgresServer, admin: Provisioner) -> None:
    wanted = by_hand(server, admin)
    with admin.app(wanted) as pod:
        pod.execute("INSERT INTO cipher_store VALUES ('history', 'kept', now(), now())")
        before = snapshot(server, wanted.database)
        with pytest.raises(Failure) as refused:
            await admin.run(replace(wanted, adopt_unowned=False))
        assert refused.value.reason is Reason.ALREADY_EXISTS
        assert "IfUnowned" in refused.value.message
        assert snapshot(server, wanted.database) == before, "refused without a write"
        run = await admin.run(wanted)
        assert not any("PASSWORD" in line for line in run.executed), "the password is kept"
        for statement in CIPHER_START:
            pod.execute(statement)
    await admin.prove(wanted)
    with admin.app(wanted) as restarted:
        for statement in CIPHER_START:
            restarted.execute(statement)
    owners = server.execute(
        "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'", database=wanted.database
    )
    assert owners == [(wanted.owner,)]
    again = await admin.run(replace(wanted, established=True, adopt_unowned=False))
    assert again.executed == (), "what was adopted stays ours when the policy is taken back"
    await admin.remove(wanted)
    with admin.app(wanted) as app:
        assert app.execute("SELECT current_user").fetchone() == (wanted.user,)
        kept = app.execute("SELECT value FROM cipher_store WHERE key = 'history'").fetchall()
        assert kept == [("kept",)], "people's tables are given back with their data, not dropped"
        for statement in CIPHER_START:
            app.execute(statement)
    assert server.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [wanted.owner]) == []


async def test_without_its_password_an_adopted_login_is_left_to_its_pods(
    server: PostgresServer, admin: Provisioner
) -> None:
    wanted = by_hand(server, admin)
    new = Password("generated")
    generated = replace(wanted, credential=Credential(None, new, change=True))
    run = await admin.run(generated)
    assert run.orders.login == wanted.logins[1]
    await admin.prove(wanted.following(run), new)
    with admin.app(wanted) as pod:
        for statement in CIPHER_START:
            pod.execute(statement)


@pytest.mark.parametrize("attributes", ["SUPERUSER", "CREATEROLE", "REPLICATION", "BYPASSRLS"])
async def test_powerful_roles_are_never_adopted(server: PostgresServer, attributes: str) -> None:
    wanted = desired(f"power{next(_names)}", adopt_unowned=True)
    server.execute(f'CREATE ROLE "{wanted.user}" LOGIN {attributes}')
    before = snapshot(server)
    with pytest.raises(Failure) as refused:
        await superuser(server).run(wanted)
    assert refused.value.reason is Reason.ALREADY_EXISTS
    assert attributes in refused.value.message
    assert snapshot(server) == before


async def test_the_admin_itself_is_never_adopted(server: PostgresServer) -> None:
    name = f"selfish{next(_names)}"
    admin = plain_admin(server, name, "CREATEROLE CREATEDB")
    server.execute(f'ALTER ROLE "{name}" NOCREATEROLE')
    with pytest.raises(Failure):
        await admin.run(desired(name, user=name, adopt_unowned=True))


def moved(wanted: Storage, **changes: object) -> Storage:
    identity = Identity("instance-2", "elsewhere", "renamed", "uid-new")
    source = AdoptFrom(wanted.identity.instance, wanted.identity.namespace, wanted.identity.name)
    return replace(wanted, identity=identity, adopt_from=source, **changes)  # type: ignore[arg-type]


async def test_adopt_from_moves_a_storage_and_the_former_owner_says_so(
    server: PostgresServer, admin: Provisioner
) -> None:
    old = desired(f"move{next(_names)}")
    await admin.run(old)
    with admin.app(old) as pod:
        pod.execute("INSERT INTO cipher_store VALUES ('k', 'kept', now(), now())")
    new_password = Password("moved")
    new = moved(old, credential=Credential(None, new_password, change=True))
    run = await admin.run(new)
    await admin.prove(new.following(run), new_password)
    await admin.prove(old)  # pods that still hold the old Secret go on
    before = snapshot(server, old.database)
    with pytest.raises(Failure) as loser:
        await admin.run(replace(old, established=True))
    assert loser.value.reason is Reason.CONFLICT
    assert "'elsewhere/renamed'" in loser.value.message
    assert snapshot(server, old.database) == before, "never a fight"
    assert (await admin.run(replace(new.following(run), established=True))).executed == ()


async def test_adopt_from_with_another_user_name_takes_the_tables(server: PostgresServer, admin: Provisioner) -> None:
    old = desired(f"table{next(_names)}")
    await admin.run(old)
    with admin.app(old) as pod:
        pod.execute("INSERT INTO cipher_store VALUES ('k', 'kept', now(), now())")
    name = f"other_{old.user}"
    verifier = APP_PASSWORD
    new = moved(old, user=name, credential=Credential(name, verifier))
    await admin.run(new)
    await admin.prove(new)
    with admin.app(new) as app:
        assert app.execute("SELECT value FROM cipher_store").fetchall() == [("kept",)]
    with pytest.raises(Failure) as loser:
        await admin.run(replace(old, established=True))
    assert loser.value.reason is Reason.CONFLICT


@pytest.mark.parametrize("database", ["made by the storage", "made by others"])
async def test_what_was_taken_over_outlives_the_deletion_of_its_former_owner(
    server: PostgresServer, admin: Provisioner, database: str
) -> None:
    old = desired(f"heir{next(_names)}")
    if database == "made by others":
        server.execute(f'CREATE DATABASE "{old.database}" OWNER "{admin.admin.user}"')
    await admin.run(old)
    with admin.app(old) as pod:
        pod.execute("INSERT INTO cipher_store VALUES ('k', 'kept', now(), now())")
    name = f"other_{old.user}"
    new = moved(old, user=name, credential=Credential(name, APP_PASSWORD))
    await admin.run(new)
    await admin.remove(old)
    with admin.app(new) as app:
        assert app.execute("SELECT value FROM cipher_store").fetchall() == [("kept",)]
    left = server.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE %s", [f"{old.user}%"])
    assert left == [], "its own roles are gone"
    assert (await admin.run(replace(new, established=True))).executed == ()


@pytest.mark.parametrize("database", ["made by the storage", "made by others"])
async def test_a_deletion_that_stalled_before_the_take_over_drops_nothing(
    server: PostgresServer, admin: Provisioner, database: str
) -> None:
    old = desired(f"stall{next(_names)}")
    if database == "made by others":
        server.execute(f'CREATE DATABASE "{old.database}" OWNER "{admin.admin.user}"')
    await admin.run(old)
    async with admin.connect(old.database) as session:
        observed = await observe(session, old)
    marker = claimed(old, old.orders, observed)
    assert marker is not None
    inside, outside = plan_inside(old, observed, marker, ()), plan_outside(old, observed, marker)
    name = f"other_{old.user}"
    new = moved(old, user=name, credential=Credential(name, APP_PASSWORD))
    await admin.run(new)
    before = snapshot(server, old.database)
    for planned in (inside, outside):
        if planned:
            async with admin.connect("postgres" if planned is outside else old.database) as session:
                with pytest.raises(psycopg.errors.DivisionByZero):
                    await apply(session, planned, old, observe=False)
    assert snapshot(server, old.database) == before


async def test_adopt_from_must_match_exactly(server: PostgresServer) -> None:
    old = desired(f"exact{next(_names)}")
    await superuser(server).run(old)
    before = snapshot(server, old.database)
    wrong = replace(moved(old), adopt_from=AdoptFrom("instance-1", "team", "somebody-else"))
    with pytest.raises(Failure) as refused:
        await superuser(server).run(wrong)
    assert refused.value.reason is Reason.CONFLICT
    assert snapshot(server, old.database) == before


async def test_a_noinherit_login_can_be_adopted(server: PostgresServer, admin: Provisioner) -> None:
    wanted = by_hand(server, admin)
    server.execute(f'ALTER ROLE "{wanted.user}" NOINHERIT')
    await admin.run(wanted)
    await admin.prove(wanted)
    assert (await admin.run(replace(wanted, established=True))).executed == ()


async def test_a_stranger_cannot_be_adopted_by_a_login_that_only_looks_like_ours(server: PostgresServer) -> None:
    wanted = desired(f"strange{next(_names)}", adopt_unowned=True)
    server.execute(f'CREATE DATABASE "{wanted.database}"')
    server.execute("CREATE VIEW cipher_store AS SELECT 1 AS key", database=wanted.database)
    with pytest.raises(Failure) as refused:
        await superuser(server).run(wanted)
    assert refused.value.reason is Reason.SCHEMA_CONFLICT
    assert "it is a view" in refused.value.message
    with pytest.raises(psycopg.Error):
        server.execute(f'SET ROLE "{wanted.owner}"')
