"""What an admin may not do is said with the SQL that mends it: each test runs that very SQL, and the run succeeds."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.connection.password import Password
from cipher_operator.core.orders import Credential
from cipher_operator.core.sql.step import lines_of
from devcluster import PostgresServer
from support.admins import changed, footprint
from support.majors import majors
from support.provision import CIPHER_START, Provisioner, Storage, desired, plain_admin

_names = iter(range(10_000))


@pytest.fixture(scope="module", params=majors(), ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with PostgresServer(request.param) as running:
        yield running


def new_admin(server: PostgresServer, attributes: str = "CREATEROLE CREATEDB") -> Provisioner:
    return plain_admin(server, f"Ad-min {next(_names)}", attributes)


REMEDY = re.compile(r"[Rr]un(?: as (?P<first>[^:]+))?: (?P<sql>.+?)(?:;| \(as (?P<last>.+?)\)|$)")


def mend(server: PostgresServer, failure: Failure, database: str, *, admin: str = "", old_admin: str = "") -> str:
    """Run the SQL of a message, in this database, as the role that the message names; return the SQL."""
    assert failure.reason is Reason.INSUFFICIENT_PRIVILEGE
    found = REMEDY.search(failure.message)
    assert found is not None, failure.message
    who = found["first"] or found["last"]
    owner = re.search(r"owner '(.+)'", who)
    if owner is not None:
        role = owner[1]
    elif who == "its owner":
        rows = server.execute("SELECT datdba::regrole::text FROM pg_database WHERE datname = %s", [database])
        role = rows[0][0].strip('"')
    elif "itself" in who:
        role = admin
    elif "admin that created" in who:
        role = old_admin
    else:
        assert "superuser" in who, failure.message
        role = server.superuser
    statement = found["sql"]
    quoted = '"' + role.replace('"', '""') + '"'
    server.execute(f"SET SESSION AUTHORIZATION {quoted}; {statement}", database=database)
    return statement


async def refused(admin: Provisioner, wanted: Storage) -> Failure:
    with pytest.raises(Failure) as failure:
        await admin.run(wanted)
    return failure.value


async def settle(
    server: PostgresServer, admin: Provisioner, wanted: Storage, *, old_admin: str = "", most: int = 3
) -> list[str]:
    """Run and mend until the run succeeds; return the statements that it took."""
    taken: list[str] = []
    while True:
        before = footprint(server, wanted.database)
        try:
            await admin.run(wanted)
            return taken
        except Failure as failure:
            assert changed(before, footprint(server, wanted.database)) == {}, "a refused run must write nothing"
            assert len(taken) < most, failure.message
            taken.append(mend(server, failure, wanted.database, admin=admin.admin.user, old_admin=old_admin))


async def works_and_leaves(
    server: PostgresServer, admin: Provisioner, wanted: Storage, before: dict[str, list[str]]
) -> None:
    await admin.prove(wanted)
    with admin.app(wanted) as app:
        for statement in CIPHER_START:
            app.execute(statement)
        assert (await admin.run(replace(wanted, established=True))).executed == ()
    await admin.remove(wanted)
    assert changed(before, footprint(server, wanted.database)) == {}


@pytest.mark.parametrize("schema", ["public", "cipher"])
async def test_a_database_of_another_admin_takes_grant_options(server: PostgresServer, schema: str) -> None:
    other, admin = new_admin(server), new_admin(server)
    number = next(_names)
    wanted = desired(f"o{number}", database=f'Their-"own" db{number}', schema=schema, create_database=False)
    name = '"' + wanted.database.replace('"', '""') + '"'
    server.execute(f'CREATE DATABASE {name} OWNER "{other.admin.user}"')
    server.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    taken = await settle(server, admin, wanted)
    expected = [
        f'GRANT CONNECT ON DATABASE {name} TO "{admin.admin.user}"',
        f'GRANT ALL ON DATABASE {name} TO "{admin.admin.user}" WITH GRANT OPTION',
    ]
    if schema == "public" and server.installation.major >= 15:
        expected.append(f'GRANT USAGE, CREATE ON SCHEMA "public" TO "{admin.admin.user}" WITH GRANT OPTION')
    assert taken == expected
    assert (await admin.run(replace(wanted, established=True))).executed == ()
    await admin.remove(wanted)
    before = footprint(server, wanted.database)
    await admin.run(wanted)
    await works_and_leaves(server, admin, wanted, before)


async def test_a_public_schema_closed_by_its_owner(server: PostgresServer) -> None:
    admin = new_admin(server)
    wanted = desired(f"h{next(_names)}")
    server.execute(f'CREATE DATABASE "{wanted.database}" OWNER "{admin.admin.user}"')
    server.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC", database=wanted.database)
    taken = await settle(server, admin, wanted)
    ours = server.installation.major >= 15  # then `public` is the database owner's
    grant = f'GRANT USAGE, CREATE ON SCHEMA "public" TO "{admin.admin.user}" WITH GRANT OPTION'
    assert taken == ([] if ours else [grant])
    await admin.remove(wanted)
    before = footprint(server, wanted.database)
    await admin.run(wanted)
    await works_and_leaves(server, admin, wanted, before)


async def test_an_admin_without_createdb_or_createrole(server: PostgresServer) -> None:
    admin = new_admin(server, "NOCREATEROLE NOCREATEDB")
    wanted = desired(f"w{next(_names)}")
    for attribute in ("CREATEROLE", "CREATEDB"):
        before = footprint(server, "postgres")
        failure = await refused(admin, wanted)
        assert changed(before, footprint(server, "postgres")) == {}
        assert mend(server, failure, "postgres") == f'ALTER ROLE "{admin.admin.user}" {attribute}'
    await admin.run(wanted)
    await admin.prove(wanted)


async def test_shared_mode_where_the_database_is_missing_or_closed(server: PostgresServer) -> None:
    admin = new_admin(server, "NOCREATEROLE NOCREATEDB")
    wanted = desired(f"s{next(_names)}", user=admin.admin.user, shared=True, credential=None)
    failure = await refused(admin, wanted)
    assert f'ALTER ROLE "{admin.admin.user}" CREATEDB' in failure.message
    server.execute(f'CREATE DATABASE "{wanted.database}"')
    server.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC", database=wanted.database)
    taken = await settle(server, admin, wanted)
    assert taken == [f'GRANT USAGE, CREATE ON SCHEMA "public" TO "{admin.admin.user}"']
    with admin.app(wanted) as app:
        for statement in CIPHER_START:
            app.execute(statement)


async def test_a_second_admin_after_the_first(server: PostgresServer) -> None:
    old, new = new_admin(server), new_admin(server)
    wanted = desired(f"t{next(_names)}")
    before = footprint(server, "postgres")
    await old.run(wanted)
    second = replace(wanted, established=True, credential=Credential(wanted.logins[1], Password("b")))
    await old.run(second)
    established = replace(wanted, established=True)
    roles = ", ".join(f'"{name}"' for name in (wanted.owner, *wanted.logins))
    expected = [f'GRANT CONNECT ON DATABASE "{wanted.database}" TO "{new.admin.user}"']
    if server.installation.major >= 16:
        expected.append(f'GRANT {roles} TO "{new.admin.user}" WITH ADMIN OPTION')
    assert await settle(server, new, established, old_admin=old.admin.user) == expected
    assert (await new.run(established)).executed == ()
    for login in wanted.logins:
        password = Password(f"new-{login}")
        verifier = password
        changing = replace(established, credential=Credential(login, verifier, change=True))
        await new.run(changing)
        await new.prove(changing, password)
    with pytest.raises(Failure) as blocked:
        await new.remove(wanted)
    statement = mend(server, blocked.value, "postgres")
    assert statement == f'ALTER DATABASE "{wanted.database}" OWNER TO "{new.admin.user}"'
    with new.app(changing, password):
        await new.remove(wanted)
    assert changed(before, footprint(server, "postgres")) == {}


async def test_a_second_admin_that_removes_what_the_first_made(server: PostgresServer) -> None:
    old, new = new_admin(server), new_admin(server)
    wanted = desired(f"d{next(_names)}")
    server.execute(f'CREATE DATABASE "{wanted.database}" OWNER "{old.admin.user}"')
    before = footprint(server, wanted.database)
    await old.run(wanted)
    taken: list[str] = []
    while True:
        held = footprint(server, wanted.database)
        try:
            await new.remove(wanted)
            break
        except Failure as failure:
            assert changed(held, footprint(server, wanted.database)) == {}
            assert len(taken) < 4, failure.message
            taken.append(mend(server, failure, wanted.database, old_admin=old.admin.user))
    expected = [f'REVOKE ALL ON DATABASE "{wanted.database}" FROM "{wanted.owner}"']
    if server.installation.major >= 15:  # before, PUBLIC lets the owner role in
        expected.append(f'REVOKE ALL ON SCHEMA "public" FROM "{wanted.owner}"')
    if server.installation.major >= 16:
        expected.insert(0, f'GRANT "{wanted.owner}", "{wanted.user}" TO "{new.admin.user}" WITH ADMIN OPTION')
    assert taken == expected
    after = footprint(server, wanted.database)
    assert changed(before, after) == {}


async def test_a_noinherit_admin_in_a_database_of_its_group(server: PostgresServer) -> None:
    admin = new_admin(server, "CREATEROLE CREATEDB NOINHERIT")
    group = f"group{next(_names)}"
    server.execute(f'CREATE ROLE {group}; GRANT {group} TO "{admin.admin.user}"')
    for schema in ("public", "cipher"):
        wanted = desired(f"g{next(_names)}", schema=schema)
        server.execute(f'CREATE DATABASE "{wanted.database}" OWNER {group}')
        taken = await settle(server, admin, wanted)
        assert taken == []
        await admin.remove(wanted)
        before = footprint(server, wanted.database)
        await admin.run(wanted)
        await works_and_leaves(server, admin, wanted, before)


async def test_a_noinherit_admin_heals_what_its_roles_own(server: PostgresServer) -> None:
    admin = new_admin(server, "CREATEROLE CREATEDB NOINHERIT")
    wanted = desired(f"n{next(_names)}")
    await admin.run(wanted)
    established = replace(wanted, established=True)
    for drift in (
        f'ALTER TABLE cipher_lists OWNER TO "{wanted.user}"',
        "DROP INDEX idx_cipher_lists_key",
        "DROP TABLE cipher_list_metadata",
        f'REVOKE ALL ON SCHEMA public FROM "{wanted.owner}"',
        f'ALTER ROLE "{wanted.user}" NOINHERIT',
    ):
        server.execute(drift, database=wanted.database)
        await admin.run(established)
        assert (await admin.run(established)).executed == ()
        await admin.prove(wanted)
    if server.installation.major >= 16:
        return
    server.execute(
        "DROP INDEX idx_cipher_lists_key; UPDATE pg_class SET relpages = 20000 WHERE relname = 'cipher_lists'",
        database=wanted.database,
    )
    failure = await refused(admin, established)
    assert "large table" in failure.message
    assert mend(server, failure, "postgres", admin=admin.admin.user) == f'ALTER ROLE "{admin.admin.user}" INHERIT'
    assert any("CONCURRENTLY" in line for line in lines_of((await admin.run(established)).deferred))


@pytest.mark.parametrize("attributes", ["CREATEROLE CREATEDB", "CREATEROLE CREATEDB NOINHERIT"])
async def test_a_table_that_a_superuser_was_given(server: PostgresServer, attributes: str) -> None:
    admin, wanted = new_admin(server, attributes), desired(f"s{next(_names)}")
    await admin.run(wanted)
    server.execute(f'ALTER TABLE cipher_lists OWNER TO "{server.superuser}"', database=wanted.database)
    established = replace(wanted, established=True)
    failure = await refused(admin, established)
    assert "GRANT" not in failure.message, "nobody is asked to make the admin a superuser"
    given = f'ALTER TABLE "public"."cipher_lists" OWNER TO "{wanted.owner}"'
    assert mend(server, failure, wanted.database) == given
    assert (await admin.run(established)).executed == ()
    await admin.prove(wanted)


async def test_a_login_that_is_a_member_of_the_admin_is_said_before_an_upgrade(server: PostgresServer) -> None:
    admin, wanted = new_admin(server), desired(f"u{next(_names)}", adopt_unowned=True)
    server.execute(f'CREATE ROLE "{wanted.user}" LOGIN; GRANT "{admin.admin.user}" TO "{wanted.user}"')
    taking = replace(wanted, credential=Credential(wanted.user, Password("theirs"), change=True))
    if server.installation.major >= 16:
        failure = await refused(admin, taking)
        assert f'GRANT "{wanted.user}" TO "{admin.admin.user}" WITH ADMIN OPTION' in failure.message
        return
    await admin.run(taking)
    established = replace(wanted, established=True)
    rest = await admin.run(established)
    assert rest.executed == ()
    (warning,) = rest.warnings
    remedy = f'REVOKE "{admin.admin.user}" FROM "{wanted.user}"'
    assert warning.endswith(f"run before that: {remedy}")
    server.execute(remedy)
    given = await admin.run(established)
    assert given.executed == (f'GRANT "{wanted.user}" TO "{admin.admin.user}" WITH ADMIN OPTION;',)
    again = await admin.run(established)
    assert (again.executed, again.warnings) == ((), ())


async def test_an_admin_that_may_no_longer_create_roles_rests(server: PostgresServer) -> None:
    admin, wanted = new_admin(server), desired(f"c{next(_names)}")
    await admin.run(wanted)
    if server.installation.major < 16:
        server.execute(f'REVOKE ADMIN OPTION FOR "{wanted.owner}", "{wanted.user}" FROM "{admin.admin.user}"')
    server.execute(f'ALTER ROLE "{admin.admin.user}" NOCREATEROLE')
    assert (await admin.run(replace(wanted, established=True))).executed == (), "what it cannot do is not tried"
