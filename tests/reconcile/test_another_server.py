"""The pods' way leads to another server than the operator's, which has login and tables too: a clone, or the server
that the storage was moved away from. Its login test passes, so it is told by what server did it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from cipher_operator.core.plan import relations
from devcluster import PostgresServer
from support.members import Members, administered_at, resolve_to
from support.runs import Runs
from support.wire import WireProxy

READY, ELSEWHERE = ("True", "Ready"), ("False", "TargetChanged")
TOLD = "leads to another server than the operator's"

_numbers = iter(range(10_000))


@pytest.fixture(scope="module")
def former() -> Iterator[PostgresServer]:
    with PostgresServer(16) as running:
        yield running


@pytest.fixture
def runs(former: PostgresServer) -> Runs:
    number = next(_numbers)
    return Runs(former, f"moved_{number}", instance=f"moved-{number}")


@pytest.fixture
def clone(former: PostgresServer, runs: Runs) -> Iterator[PostgresServer]:
    """A copy of the server as it is when the storage is Ready there, which takes writes of its own."""
    copy = former.standby()
    try:
        yield copy
    finally:
        copy.close()


# app.verify, what Ready says once the connection leads to the clone and the pods' door does not, and words of it
ROWS = {
    "told": ("IfReachable", READY, TOLD),
    "refused": ("Always", ELSEWHERE, TOLD),
    "nobody is to look": ("Never", READY, ""),
}


@pytest.mark.parametrize(("verify", "says", "words"), ROWS.values(), ids=ROWS)
async def test_the_connection_moves_and_the_pods_door_stays(
    runs: Runs, clone: PostgresServer, verify: str, says: tuple[str, str], words: str
) -> None:
    door: dict[str, Any] = {"host": runs.server.host, "port": runs.server.port, "verify": verify}
    await runs.ready(app=door)
    assert TOLD not in runs.message()
    await moved(runs, clone)
    assert runs.says() == says, runs.message()
    assert words in runs.message()
    runs.spec(app={**door, "host": clone.host, "port": clone.port})
    await runs.run()
    assert runs.says() == READY
    assert TOLD not in runs.message()


async def test_another_door_of_the_same_server_is_none(runs: Runs) -> None:
    with WireProxy(runs.server) as proxy:
        await runs.ready(app={"host": "127.0.0.1", "port": proxy.port, "verify": "Always"})
        assert TOLD not in runs.message()
        runs.server.stop()
        runs.server.start()
        for _ in range(2):
            await runs.run()
            assert runs.says() == READY
            assert TOLD not in runs.message()


async def test_one_address_of_several_is_another_server(
    runs: Runs, clone: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = Members(runs.server, clone)
    runs.admin_secret()
    async with members.behind("primary", "standby") as (port, addresses):
        resolve_to(monkeypatch, addresses[:1])
        administered_at(runs, port, None)
        await runs.ready()
        await members.level()
        clone.execute("SELECT pg_promote()")
        resolve_to(monkeypatch, addresses)
        runs.ask()
        await runs.run()
        assert runs.says() == READY, runs.message()
        assert f"one of the 2 addresses of the pods' host {TOLD}" in runs.message()


@pytest.mark.parametrize("found", [True, False], ids=["its own server", "another server"])
async def test_a_deletion_that_finds_nothing_says_so(runs: Runs, found: bool, caplog: pytest.LogCaptureFixture) -> None:
    await runs.ready(deletionPolicy="Delete")
    with PostgresServer(16) as other:
        if not found:
            runs.api.secret("pg-admin", {"CIPHER_PG_URL": other.admin_url(sslmode="disable")})
        runs.api.delete("cipherstorages", "chat")
        await runs.run()
    assert runs.api.read("cipherstorages", "chat") is None
    told = {reason for reason, _ in runs.api.events()} & {"Dropped", "NothingDropped"}
    assert told == ({"Dropped"} if found else {"NothingDropped"})
    # What is left of an Event is the line: the object is gone.
    loud = [record.message.partition(":")[0] for record in caplog.records if record.levelname == "WARNING"]
    assert loud == ([] if found else ["NothingDropped"])
    left = runs.sql(f"SELECT 1 FROM pg_database WHERE datname = '{runs.database}'")
    assert left == ([] if found else [(1,)])


async def test_a_pods_door_that_leads_elsewhere_ends_no_build(
    runs: Runs, clone: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began anew with each mend of the door, and an index of a large table takes an hour."""
    monkeypatch.setattr(relations, "LARGE_PAGES", 1)
    await runs.ready()
    row = "SELECT 'k' || n, repeat('x', 500), now(), now() FROM generate_series(1, 500) n"
    runs.sql(f"INSERT INTO cipher_store {row}; ANALYZE cipher_store", runs.database)
    runs.sql("DROP INDEX idx_cipher_store_updated_at", runs.database)
    await Members(runs.server, clone).level()
    clone.execute("SELECT pg_promote()")
    with psycopg.connect(runs.server.admin_url(runs.database, sslmode="disable")) as writer:
        writer.execute("UPDATE cipher_store SET value = 'y' WHERE key = 'k1'")
        await runs.run()
        assert runs.says() == ("False", "BuildingIndex")
        runs.spec(app={"host": clone.host, "port": clone.port, "verify": "Always"})
        await runs.run()
        assert runs.says() == ELSEWHERE, runs.message()
        await asyncio.sleep(0.2)
        assert runs.lanes.counts().held == 1, "it is still under way"
        writer.rollback()


async def moved(runs: Runs, clone: PostgresServer) -> None:
    """Have the clone part from its server, and the connection Secret lead to it."""
    await Members(runs.server, clone).level()
    clone.execute("SELECT pg_promote()")
    runs.api.secret("pg-admin", {"CIPHER_PG_URL": clone.admin_url(sslmode="disable")})
    await runs.run()
