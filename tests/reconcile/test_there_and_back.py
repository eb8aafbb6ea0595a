"""The address leads from one server to a copy that has not all of it (a standby that was behind when it was promoted),
and back: what was lost on the way is said or made again, nothing of others is touched, and the way back is Ready."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from cipher_operator.core.plan import relations
from devcluster import PostgresServer
from support.runs import Runs
from support.switched import Switched, part

READY, LOST = ("True", "Ready"), ("False", "DatabaseLost")

_numbers = iter(range(10_000))


@pytest.fixture(scope="module", params=[13, 16], ids=lambda major: f"pg{major}")
def primary(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with PostgresServer(request.param) as running:
        yield running


@pytest.fixture
def copy(primary: PostgresServer) -> Iterator[PostgresServer]:
    with primary.standby() as standby:
        yield standby


@pytest.fixture
def address(primary: PostgresServer) -> Iterator[Switched]:
    with Switched(primary) as running:
        yield running


@pytest.fixture
async def runs(primary: PostgresServer, address: Switched) -> AsyncIterator[Runs]:
    number = next(_numbers)
    made = Runs(primary, f"back_{number}", instance=f"back-{number}")
    address.administers(made)
    yield made
    await made.close()


async def later(runs: Runs, times: int = 3) -> None:
    """Let what was refused be tried again, and a rotation follow another."""
    for _ in range(times):
        runs.seconds += 90
        for lane in runs.lanes._lanes.values():
            for known in lane.credentials.values():
                known.cause = None
        await runs.run()


@dataclass(frozen=True)
class Row:
    """What the copy has not heard of, and what is said there."""

    there: tuple[str, str]
    before: bool = True
    """Whether the storage was Ready before the copy parted."""
    unowned: bool = False
    """Whether login, database and a table were there before, of nobody."""
    rotated: bool = False


ROWS = {
    "made": Row(LOST, before=False),
    "a rotation": Row(READY, rotated=True),
    "an adoption of what nobody owned": Row(LOST, before=False, unowned=True),
    "nothing": Row(READY),
}


@pytest.mark.parametrize("restarted", [False, True], ids=["at work", "started anew"])
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_there_and_back(
    runs: Runs, primary: PostgresServer, copy: PostgresServer, address: Switched, row: Row, restarted: bool
) -> None:
    spec = there_already(runs) if row.unowned else {}
    if row.before:
        await runs.ready()
        await later(runs)
    part(primary, copy)
    copy.execute("SELECT pg_promote()")
    if row.rotated:
        runs.ask("rotate", "lost")
    if not row.before:
        runs.storage(**spec)
    await later(runs)
    assert runs.says() == READY, runs.message()
    before = state(copy)
    address.server = copy
    if restarted:
        runs.reconciler = runs.make()
    await later(runs)
    assert runs.says() == row.there, runs.message()
    if row.there == LOST:
        assert state(copy) == before
    else:
        runs.app().close()
    address.server = primary
    if restarted:
        runs.reconciler = runs.make()
    await later(runs)
    assert runs.says() == READY, runs.message()
    runs.app().close()
    if row.unowned:
        assert runs.sql("SELECT value FROM cipher_store WHERE key = 'k'", runs.database) == [("v",)]


def there_already(runs: Runs) -> dict[str, Any]:
    """Have login, database and a table be there, of nobody; return what takes them over."""
    login = f"app_{runs.database}_chat"
    runs.api.secret("mine", {"password": "brought-along-1"})
    runs.sql(f"CREATE ROLE {login} LOGIN PASSWORD 'brought-along-1'")
    runs.sql(f"CREATE DATABASE {runs.database} OWNER {login}")
    runs.sql(
        "CREATE TABLE cipher_store (key TEXT PRIMARY KEY, value TEXT NOT NULL, created_at TIMESTAMPTZ NOT NULL, "
        f"updated_at TIMESTAMPTZ NOT NULL); ALTER TABLE cipher_store OWNER TO {login}; "
        "INSERT INTO cipher_store VALUES ('k', 'v', now(), now())",
        runs.database,
    )
    return {"adoptionPolicy": "IfUnowned", "user": {"passwordSecretRef": {"name": "mine", "key": "password"}}}


def state(server: PostgresServer) -> list[Any]:
    return [
        server.execute("SELECT rolname, rolpassword, rolcanlogin FROM pg_authid ORDER BY 1"),
        server.execute("SELECT datname, datdba, datacl::text FROM pg_database ORDER BY 1"),
        server.execute("SELECT objoid, description FROM pg_shdescription ORDER BY 1"),
    ]


async def test_an_heir_whose_adoption_is_lost_says_why_and_is_ready_back_home(
    runs: Runs, primary: PostgresServer, copy: PostgresServer, address: Switched
) -> None:
    await runs.ready()
    part(primary, copy)
    copy.execute("SELECT pg_promote()")
    user = {"name": f"app_{runs.database}_chat"}
    source = {"instance": runs.instance, "namespace": "ns", "name": "chat"}
    runs.storage("heir", adoptFrom=source, user=user)
    await runs.until(lambda: runs.says("heir") == READY, "heir")
    before = state(copy)
    address.server = copy
    for _ in range(2):
        await runs.run("heir")
    assert runs.says("heir") == ("False", "Conflict"), runs.message("heir")
    assert "the server has lost that" in runs.message("heir"), "nobody took anything back"
    assert state(copy) == before
    address.server = primary
    await runs.until(lambda: runs.says("heir") == READY, "heir")
    runs.app("heir-cipher").close()


async def test_an_index_is_not_built_on_a_server_that_nobody_looked_at(
    runs: Runs, primary: PostgresServer, copy: PostgresServer, address: Switched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table there is another's by now."""
    monkeypatch.setattr(relations, "LARGE_PAGES", 1)
    await runs.ready()
    row = "SELECT 'k' || n, repeat('x', 500), now(), now() FROM generate_series(1, 500) n"
    runs.sql(f"INSERT INTO cipher_store {row}; ANALYZE cipher_store", runs.database)
    runs.sql("DROP INDEX idx_cipher_store_updated_at", runs.database)
    part(primary, copy)
    copy.execute("SELECT pg_promote()")
    copy.execute(f"COMMENT ON ROLE app_{runs.database}_chat_owner IS 'another'")
    looked = 0

    def fails_over(user: str) -> None:
        nonlocal looked
        looked += user == primary.superuser
        if looked == 2:
            address.server = copy

    address.connecting = fails_over
    await runs.run()
    async with asyncio.timeout(30.0):
        while not runs.started:
            await asyncio.sleep(0.02)
    index = "SELECT 1 FROM pg_class WHERE relname = 'idx_cipher_store_updated_at'"
    assert copy.execute(index, database=runs.database) == []
    address.connecting, address.server = lambda user: None, primary
    await later(runs)
    async with asyncio.timeout(30.0):
        while runs.says() != READY:
            await runs.run()
            await asyncio.sleep(0.02)
    assert primary.execute(index, database=runs.database) == [(1,)]
