"""What a deletion must leave alone although the marker once said something of that name, and what must not stop it."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import AdoptFrom
from devcluster import PostgresServer
from support.provision import Provisioner, Storage, desired, plain_admin, superuser

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(16) as running:
        yield running


@pytest.fixture(scope="module", params=["superuser", "createrole"])
def admin(request: pytest.FixtureRequest, server: PostgresServer) -> Provisioner:
    return superuser(server) if request.param == "superuser" else plain_admin(server, "cloud_admin")


def fresh(prefix: str, **changes: object) -> Storage:
    return desired(f"{prefix}{next(_numbers)}", **changes)


def databases(server: PostgresServer) -> set[str]:
    return {row[0] for row in server.execute("SELECT datname FROM pg_database")}


async def test_a_database_that_the_marker_does_not_mean_is_not_dropped(
    server: PostgresServer, admin: Provisioner
) -> None:
    wanted = fresh("place")
    await admin.run(wanted)
    victim = f"victim{next(_numbers)}"
    server.execute(f'CREATE DATABASE "{victim}" OWNER "{admin.admin.user}"')
    with pytest.raises(Failure) as blocked:
        await admin.remove(replace(wanted, database=victim))
    assert blocked.value.reason is Reason.DELETION_BLOCKED
    assert wanted.database in blocked.value.message, "where its objects stand"
    assert databases(server) >= {victim, wanted.database}


async def test_a_schema_that_the_marker_does_not_mean_keeps_its_tables(
    server: PostgresServer, admin: Provisioner
) -> None:
    wanted = fresh("schema", schema="first")
    server.execute(f'CREATE DATABASE "{wanted.database}" OWNER "{admin.admin.user}"')
    await admin.run(wanted)
    way = {"user": admin.admin.user, "password": admin.admin.password.reveal()}
    server.execute("CREATE SCHEMA second; CREATE TABLE second.cipher_store (id int)", database=wanted.database, **way)
    server.execute("DROP SCHEMA first CASCADE", database=wanted.database)
    await admin.remove(replace(wanted, schema="second"))
    kept = server.execute("SELECT to_regclass('second.cipher_store') IS NOT NULL", database=wanted.database)
    assert kept == [(True,)]


async def test_a_deletion_begun_once_does_not_let_a_later_one_drop_unseen(server: PostgresServer) -> None:
    admin, wanted = superuser(server), fresh("closing")
    await admin.run(wanted)
    ((comment,),) = server.execute(f"SELECT shobj_description('{wanted.owner}'::regrole, 'pg_authid')")
    begun = json.loads(comment)
    begun["created"] = sorted([*begun["created"], "closing"])
    text = json.dumps(begun, separators=(",", ":"))
    server.execute(f"COMMENT ON ROLE {wanted.owner} IS '{text}'")
    await admin.run(wanted)  # let go of with force-delete, and created again
    server.execute("CREATE TABLE reports (id int)", database=wanted.database)
    server.execute(f'ALTER DATABASE "{wanted.database}" ALLOW_CONNECTIONS false')
    with pytest.raises(Failure) as closed:
        await admin.remove(wanted)
    assert closed.value.reason is Reason.SERVER_NOT_READY
    assert wanted.database in databases(server)


@pytest.mark.parametrize("adopted", [False, True], ids=["tables-made", "tables-adopted-by-the-former-owner"])
async def test_what_another_storage_took_over_outlives_its_former_owner(
    server: PostgresServer, admin: Provisioner, adopted: bool
) -> None:
    old = fresh("former", adopt_unowned=adopted)
    way = {"user": admin.admin.user, "password": admin.admin.password.reveal()}
    server.execute(f'CREATE DATABASE "{old.database}" OWNER "{admin.admin.user}"')
    if adopted:
        await admin.run(replace(old, identity=replace(old.identity, name="made-by-hand")))
        server.execute(f'COMMENT ON ROLE "{old.owner}" IS NULL', **way)
    await admin.run(old)
    identity = replace(old.identity, name="heir")
    source = AdoptFrom(old.identity.instance, old.identity.namespace, old.identity.name)
    heir = fresh("heir", database=old.database, identity=identity, adopt_from=source)
    await admin.run(heir)
    with admin.app(heir) as app:
        app.execute("INSERT INTO cipher_store VALUES ('k', 'kept', now(), now())")
    await admin.remove(old)
    with admin.app(heir) as app:
        assert app.execute("SELECT value FROM cipher_store").fetchall() == [("kept",)]
    assert (await admin.run(replace(heir, established=True))).executed == ()


async def test_what_was_taken_over_from_a_shared_login_outlives_it(server: PostgresServer, admin: Provisioner) -> None:
    old = fresh("shared", user=admin.admin.user, shared=True, credential=None)
    server.execute(f'CREATE DATABASE "{old.database}" OWNER "{admin.admin.user}"')
    await admin.run(old)
    source = AdoptFrom(old.identity.instance, old.identity.namespace, old.identity.name)
    heir = fresh("heir", database=old.database, adopt_unowned=True, adopt_from=source)
    await admin.run(heir)
    await admin.remove(old)
    with admin.app(heir) as app:
        assert app.execute("SELECT key FROM cipher_store").fetchall() == []


@pytest.mark.parametrize("gone", ["from the spec", "from the database", "from both"])
async def test_an_extension_that_is_gone_does_not_stop_a_deletion(server: PostgresServer, gone: str) -> None:
    admin, wanted = superuser(server), fresh("extension", extensions=("hstore",))
    server.execute(f'CREATE DATABASE "{wanted.database}"')
    await admin.run(wanted)
    if gone != "from the spec":
        server.execute("DROP EXTENSION hstore", database=wanted.database)
    await admin.remove(wanted if gone == "from the database" else replace(wanted, extensions=()))
    left = "SELECT extname FROM pg_extension WHERE extname = 'hstore' UNION ALL SELECT nspname FROM pg_namespace"
    names = {row[0] for row in server.execute(left, database=wanted.database)}
    assert not names & {"hstore", "cipher_extensions"}
    assert server.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [wanted.owner]) == []
