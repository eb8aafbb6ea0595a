"""A storage is deleted that another one took over, and the server has lost that: what the other's pods write to is not
dropped as the former's."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from cipher_operator.api.failures import STAGES, ConditionType
from devcluster import PostgresServer
from support.runs import Runs
from support.tenants import STORAGES

READY, BLOCKED = ("True", "Ready"), ("False", "DeletionBlocked")
ELSEWHERE = "elsewhere"

_numbers = iter(range(10_000))


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(16) as running:
        yield running


@pytest.fixture
async def runs(server: PostgresServer) -> AsyncIterator[Runs]:
    number = next(_numbers)
    made = Runs(server, f"heirs_{number}", instance=f"heirs-{number}")
    yield made
    await made.close()


def former(runs: Runs) -> dict[str, str]:
    return {"instance": runs.instance, "namespace": "ns", "name": "chat"}


def lose(runs: Runs, heir: str) -> None:
    """Have the server say again of everything that it is the former's, as a copy does that has not heard of more."""
    if runs.api.status(heir)["user"] == runs.server.superuser:
        for table in ("cipher_store", "cipher_lists", "cipher_list_metadata"):
            runs.sql(f"COMMENT ON TABLE {table} IS '{_MARKERS[runs.database]}'", runs.database)
    else:
        runs.sql(f"COMMENT ON ROLE app_{runs.database}_chat_owner IS '{_MARKERS[runs.database]}'")
        runs.sql(f"DROP ROLE app_{runs.database}_chat_b")


_MARKERS: dict[str, str] = {}


async def taken_over(runs: Runs, user: dict[str, Any]) -> None:
    """Have a storage `heir` Ready that took over the one that is to be deleted."""
    shared = user.get("mode") == "Shared"
    await runs.ready(user=user, deletionPolicy="Delete")
    stands = f"shobj_description('app_{runs.database}_chat_owner'::regrole, 'pg_authid')"
    stands = "obj_description('cipher_store'::regclass)" if shared else stands
    _MARKERS[runs.database] = runs.sql(f"SELECT {stands}", runs.database)[0][0]
    runs.storage("heir", adoptFrom=former(runs), user=user)
    await runs.until(lambda: runs.says("heir") == READY, "heir")
    with runs.app("heir-cipher") as app:
        app.execute("INSERT INTO cipher_store VALUES ('k', 'kept', now(), now())")


def rows(runs: Runs) -> list[tuple[Any, ...]]:
    return runs.sql("SELECT value FROM cipher_store", runs.database)


@pytest.mark.parametrize("mode", ["Dedicated", "Shared"])
async def test_the_heirs_tables_stay_and_what_is_said_gives_them_back(runs: Runs, mode: str) -> None:
    user = {"mode": "Shared"} if mode == "Shared" else {"name": f"app_{runs.database}_chat"}
    await taken_over(runs, user)
    lose(runs, "heir")
    runs.api.delete("cipherstorages", "chat")
    for _ in range(2):
        await runs.run()
        assert runs.says() == BLOCKED, runs.message()
        assert "CipherStorage 'ns/heir' took this one's tables over" in runs.message()
        assert rows(runs) == [("kept",)]
    # What it says, done.
    runs.api.annotate("chat", "force-delete", "true")
    await runs.run()
    assert runs.api.read("cipherstorages", "chat") is None
    runs.spec("heir", adoptFrom=None)
    await runs.run("heir")
    runs.spec("heir", adoptFrom=former(runs))
    await runs.until(lambda: runs.says("heir") == READY, "heir")
    with runs.app("heir-cipher") as app:
        assert app.execute("SELECT value FROM cipher_store").fetchall() == [("kept",)]


@dataclass(frozen=True)
class Row:
    """A storage of another namespace that names the one that is deleted, and its connection."""

    here: bool
    """Whether it lives on the same server."""
    done: bool
    """Whether it says that it has taken over what it names."""
    blocks: bool


ROWS = {
    "took over": Row(here=True, done=True, blocks=True),
    "is yet to": Row(here=True, done=False, blocks=False),
    "names it from afar, as anybody may": Row(here=False, done=True, blocks=False),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_who_holds_a_deletion_up(runs: Runs, row: Row) -> None:
    await runs.ready(deletionPolicy="Delete")
    url = runs.server.admin_url(sslmode="disable")
    if not row.here:
        url = url.replace(f":{runs.server.port}/", ":1/")
    runs.api.secret("pg-admin", {"CIPHER_PG_URL": url}, namespace=ELSEWHERE)
    spec = {"connection": {"secretRef": {"name": "pg-admin"}}, "adoptFrom": former(runs)}
    runs.api.storage("heir", {**spec, "database": {"name": runs.database}}, namespace=ELSEWHERE)
    done = {"adoptFrom": "/".join(former(runs).values())} if row.done else {}
    # Behind the API server's back: no operator is at work on it.
    stored = runs.api.store.objects[STORAGES, ELSEWHERE, "heir"]
    seen = {"observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    good = {"status": "True", "reason": "Ready", "message": "as it was"}
    stored["status"] = {
        "observedGeneration": 1,
        "conditions": [{"type": each, **good, **seen} for each in (ConditionType.READY, *STAGES)],
        "database": runs.database,
        "user": "heir",
        "binding": {"name": "heir-cipher"},
        "serverVersion": "16.0",
        "handledRequests": done,
    }
    runs.inputs.set_references((ELSEWHERE, "heir"), [("CipherStorage", "ns", "chat")])
    runs.api.delete("cipherstorages", "chat")
    await runs.run()
    gone = runs.api.read("cipherstorages", "chat") is None
    assert gone is not row.blocks, runs.message()
    assert bool(runs.sql(f"SELECT 1 FROM pg_database WHERE datname = '{runs.database}'")) is row.blocks
