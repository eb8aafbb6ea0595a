"""The address of a storage in mode Shared leads to another server, which has a database of that name with Cipher's
tables, of the same owner: nothing is written there, and nobody is told that it is Ready."""

from collections.abc import AsyncIterator, Iterator

import pytest

from cipher_operator.core.schema import TABLE_NAMES
from devcluster import PostgresServer
from support.provision import CIPHER_START
from support.runs import Runs
from support.switched import Switched

READY, LOST, EXISTS = ("True", "Ready"), ("False", "DatabaseLost"), ("False", "AlreadyExists")
MARKED = "SELECT count(*) FROM pg_description WHERE classoid = 'pg_class'::regclass AND description LIKE '{%'"
ROWS = "SELECT key FROM cipher_store WHERE key NOT LIKE 'cipher%'"

_numbers = iter(range(10_000))


@pytest.fixture(scope="module")
def first() -> Iterator[PostgresServer]:
    with PostgresServer(16) as running:
        yield running


@pytest.fixture(scope="module")
def another(first: PostgresServer) -> Iterator[PostgresServer]:
    with PostgresServer(16, password=first.password, superuser=first.superuser) as running:
        yield running


@pytest.fixture
def address(first: PostgresServer) -> Iterator[Switched]:
    with Switched(first) as running:
        yield running


@pytest.fixture
async def runs(first: PostgresServer, address: Switched) -> AsyncIterator[Runs]:
    number = next(_numbers)
    made = Runs(first, f"elsewhere_{number}", instance=f"elsewhere-{number}")
    address.administers(made)
    yield made
    await made.close()


def theirs(server: PostgresServer, database: str, without: str = "") -> None:
    server.execute(f"CREATE DATABASE {database}")
    for statement in CIPHER_START:
        server.execute(statement, database=database)
    server.execute("INSERT INTO cipher_store VALUES ('theirs', 'x', now(), now())", database=database)
    if without:
        server.execute(f"DROP TABLE {without}", database=database)


@pytest.mark.parametrize("restarted", [False, True], ids=["at work", "started anew"])
@pytest.mark.parametrize("without", ["", *TABLE_NAMES], ids=lambda table: f"without {table}" if table else "all tables")
async def test_tables_without_our_marker_are_another_servers(
    runs: Runs, another: PostgresServer, address: Switched, without: str, restarted: bool
) -> None:
    await runs.ready(user={"mode": "Shared"})
    with runs.app() as app:
        app.execute("INSERT INTO cipher_store VALUES ('ours', 'x', now(), now())")
    theirs(another, runs.database, without)
    address.server = another
    if restarted:
        await runs.reconciler.reset()
    for _ in range(3):
        await runs.run()
        assert runs.says() == LOST, runs.message()
        runs.seconds += 60
    assert another.execute(MARKED, database=runs.database) == [(0,)]
    address.server = runs.server
    await runs.until(lambda: runs.says() == READY)
    assert runs.sql(ROWS, runs.database) == [("ours",)]


async def test_what_the_message_says_takes_them_over_with_all_rows(
    runs: Runs, another: PostgresServer, address: Switched
) -> None:
    await runs.ready(user={"mode": "Shared"})
    theirs(another, runs.database)
    address.server = another
    await runs.run()
    assert runs.says() == LOST, runs.message()
    runs.ask("recreate")
    await runs.run()
    assert runs.says() == EXISTS, runs.message()
    runs.spec(adoptionPolicy="IfUnowned")
    await runs.until(lambda: runs.says() == READY)
    assert another.execute(ROWS, database=runs.database) == [("theirs",)]
    assert another.execute(MARKED, database=runs.database) == [(len(TABLE_NAMES),)]
    runs.spec(adoptionPolicy="Never")
    await runs.run()
    assert runs.says() == READY, runs.message()


async def test_what_the_version_before_marked_gets_the_others_without_an_alarm(runs: Runs) -> None:
    await runs.ready(user={"mode": "Shared"})
    for table in TABLE_NAMES[1:]:
        runs.sql(f"COMMENT ON TABLE {table} IS NULL", runs.database)
    before = len(runs.api.events()), runs.counts.connections["admin"]
    await runs.run()
    assert runs.says() == READY, runs.message()
    assert runs.sql(MARKED, runs.database) == [(len(TABLE_NAMES),)]
    assert (len(runs.api.events()), runs.counts.connections["admin"] - 1) == before
