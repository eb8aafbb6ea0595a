"""A storage whose database moves to another server with pg_dump: the roles stay behind, the rows must not be lost."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.names import ANNOTATION_RECREATE
from cipher_operator.api.reasons import Reason
from cipher_operator.core.orders import Credential
from devcluster import PostgresServer
from devcluster.longrun import SetupError
from devcluster.postgres_programs import find_dump_programs
from support.dumps import program
from support.provision import APP_PASSWORD, CIPHER_START, Provisioner, Storage, desired, plain_admin, seen, snapshot

FROM, TO = 16, 18
ROWS = 300
_names = iter(range(100))


@dataclass(frozen=True)
class Dumped:
    """What was taken from the former server: the database, and the roles without passwords and comments."""

    storage: Storage
    archive: Path
    roles: str


@pytest.fixture(scope="module")
def dumped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dumped]:
    """A storage in use, dumped; its server is gone."""
    try:
        find_dump_programs()
    except SetupError as error:
        pytest.skip(str(error))
    archive = tmp_path_factory.mktemp("dump") / "cipher.dump"
    wanted = desired("moved")
    with PostgresServer(FROM) as server:
        use(server, wanted)
        program(server, "pg_dump", "-Fc", "-f", str(archive), wanted.database)
        roles = program(server, "pg_dumpall", "--roles-only", "--no-role-passwords", "--no-comments")
    yield Dumped(wanted, archive, roles)


def use(server: PostgresServer, wanted: Storage) -> None:
    """Make the storage, and let the app write."""
    admin = plain_admin(server, "former_admin")
    asyncio.run(admin.provision(wanted))
    with admin.app(wanted) as app:
        for statement in CIPHER_START:
            app.execute(statement)
        app.execute(
            "INSERT INTO cipher_store SELECT 'k' || n, 'value', now(), now() FROM generate_series(1, %s) n", [ROWS]
        )


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(TO) as running:
        yield running


@pytest.fixture
def admin(server: PostgresServer, dumped: Dumped) -> Iterator[Provisioner]:
    """The new server's administrator, who is no superuser; what a case leaves is removed."""
    admin = plain_admin(server, f"new_admin_{next(_names)}")
    server.execute(f'CREATE DATABASE "{dumped.storage.database}" OWNER "{admin.admin.user}"')
    yield admin
    server.execute(f'DROP DATABASE "{dumped.storage.database}"')
    for role in (*dumped.storage.logins, dumped.storage.owner):
        server.execute(f'DROP ROLE IF EXISTS "{role}"')


def restore(server: PostgresServer, admin: Provisioner, dumped: Dumped, *options: str) -> None:
    """Restore as the new administrator, as people do; errors about roles that are missing are theirs to read past."""
    login = ("--role", admin.admin.user)
    program(server, "pg_restore", *login, *options, "-d", dumped.storage.database, str(dumped.archive), check=False)


def rows(server: PostgresServer, dumped: Dumped) -> int:
    return int(server.execute("SELECT count(*) FROM public.cipher_store", database=dumped.storage.database)[0][0])


RESTORED = [
    pytest.param(("--no-owner", "--no-privileges"), id="as the manual says"),
    pytest.param(("--no-owner",), id="with grants to roles that are missing"),
    pytest.param((), id="with owners that are missing"),
]


@pytest.mark.parametrize("options", RESTORED)
async def test_the_message_leads_to_the_rows_and_not_past_them(
    server: PostgresServer, admin: Provisioner, dumped: Dumped, options: tuple[str, ...]
) -> None:
    restore(server, admin, dumped, *options)
    before = snapshot(server, dumped.storage.database)
    wanted = replace(dumped.storage, established=True)
    with pytest.raises(Failure) as caught:
        await admin.run(wanted)
    failure = caught.value
    assert failure.reason is Reason.DATABASE_LOST
    for said in (
        "Cipher's tables are there",
        f"`{ANNOTATION_RECREATE}`",
        "`spec.adoptionPolicy: IfUnowned`",
        "all rows are kept",
    ):
        assert said in failure.message, failure.message
    assert "empty" not in failure.message, "nothing here is emptied, and nobody should think so"
    assert snapshot(server, dumped.storage.database) == before, "nothing was written"
    # What it says, done.
    report = await admin.provision(replace(wanted, recreate=True, adopt_unowned=True))
    assert rows(server, dumped) == ROWS + 1
    assert seen(report).roles[wanted.owner].marker is not None
    # Pods have the password that was published before the move.
    with admin.app(dumped.storage, APP_PASSWORD) as app:
        for statement in CIPHER_START:
            app.execute(statement)
        assert app.execute("SELECT count(*) FROM cipher_store").fetchone() == (ROWS + 1,)
    # And back to the usual: nothing is left to be done.
    again = await admin.run(wanted)
    assert (again.statements, again.executed) == (0, ())


@pytest.mark.parametrize("options", RESTORED[:1])
async def test_half_of_what_it_says_changes_nothing(
    server: PostgresServer, admin: Provisioner, dumped: Dumped, options: tuple[str, ...]
) -> None:
    restore(server, admin, dumped, *options)
    before = snapshot(server, dumped.storage.database)
    wanted = replace(dumped.storage, established=True)
    for half, reason in (
        (replace(wanted, recreate=True), Reason.ALREADY_EXISTS),
        (replace(wanted, adopt_unowned=True), Reason.DATABASE_LOST),
    ):
        with pytest.raises(Failure) as caught:
            await admin.run(half)
        assert caught.value.reason is reason
        assert snapshot(server, dumped.storage.database) == before
    assert rows(server, dumped) == ROWS + 1


async def test_roles_that_came_without_their_marker_are_taken_over(
    server: PostgresServer, admin: Provisioner, dumped: Dumped
) -> None:
    ours = (dumped.storage.owner, dumped.storage.user)
    made = [line for line in dumped.roles.splitlines() if line.startswith(("CREATE ROLE ", "ALTER ROLE ", "GRANT "))]
    for line in made:
        # The former administrator's memberships end with that server.
        if any(role in line for role in ours) and "former_admin" not in line.partition(" GRANTED BY ")[0]:
            server.execute(line.partition(" GRANTED BY ")[0])
    for role in ours:
        server.execute(f'GRANT "{role}" TO "{admin.admin.user}" WITH ADMIN OPTION')
    restore(server, admin, dumped)
    wanted = replace(dumped.storage, established=True)
    with pytest.raises(Failure, match="lost its marker") as caught:
        await admin.run(wanted)
    assert "`spec.adoptionPolicy: IfUnowned`" in caught.value.message
    assert "restore without the roles' comments;" in caught.value.message, "the roles are there"
    taking = replace(wanted, recreate=True, adopt_unowned=True)
    await admin.run(taking)
    # They came without passwords: the login test finds it, and the published one is set again.
    await admin.provision(replace(taking, credential=Credential(wanted.user, APP_PASSWORD, change=True)))
    assert rows(server, dumped) == ROWS + 1


async def test_without_tables_the_server_may_be_the_wrong_one(admin: Provisioner, dumped: Dumped) -> None:
    with pytest.raises(Failure) as caught:
        await admin.run(replace(dumped.storage, established=True))
    assert caught.value.reason is Reason.DATABASE_LOST
    assert "begin again empty" in caught.value.message
    assert "rows" not in caught.value.message
