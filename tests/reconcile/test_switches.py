"""From any way of being managed to any other: what becomes of the storage, of its server and of what is held for it.

Each storage has `deletionPolicy: Delete` and a database of its own, and a table is dropped right before the switch:
whether that is healed, planned or left tells who is in charge.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from support.runs import Runs

MANAGE, OBSERVE, SUSPEND, DELETION, FORCE = WAYS = ("Manage", "Observe", "suspend", "deletion", "force-delete")
READY, OBSERVED, PENDING = ("True", "Ready"), ("True", "Observed"), ("False", "ChangesPending")
LEFT, HEALED, DROPPED = "left as it was", "healed", "dropped"


@dataclass(frozen=True)
class Outcome:
    """What comes of a switch: `says` is Ready's status and reason, None where the storage is gone; `held` whether our
    finalizers are on the storage and on its connection Secret; `told` the Events that the switch is to have."""

    server: str
    says: tuple[str, str] | None = None
    held: bool = False
    told: tuple[str, ...] = ()


SWITCHES: dict[tuple[str, str], Outcome] = {
    (MANAGE, OBSERVE): Outcome(LEFT, PENDING, told=("ChangesPending",)),
    (MANAGE, SUSPEND): Outcome(LEFT, READY, held=True),
    (MANAGE, DELETION): Outcome(DROPPED, told=("Dropped",)),
    (MANAGE, FORCE): Outcome(LEFT, told=("Kept",)),
    (OBSERVE, MANAGE): Outcome(HEALED, READY, held=True, told=("Created", "Ready")),
    (OBSERVE, SUSPEND): Outcome(LEFT, OBSERVED),
    (OBSERVE, DELETION): Outcome(LEFT),
    (OBSERVE, FORCE): Outcome(LEFT),
    (SUSPEND, MANAGE): Outcome(HEALED, READY, held=True, told=("Created",)),
    (SUSPEND, OBSERVE): Outcome(LEFT, PENDING, told=("ChangesPending",)),
    (SUSPEND, DELETION): Outcome(LEFT, told=("Kept",)),
    (SUSPEND, FORCE): Outcome(LEFT, told=("Kept",)),
    (DELETION, MANAGE): Outcome(DROPPED, told=("Dropped",)),
    (DELETION, OBSERVE): Outcome(LEFT, told=("Kept",)),
    (DELETION, SUSPEND): Outcome(LEFT, told=("Kept",)),
    (DELETION, FORCE): Outcome(LEFT, told=("Kept",)),
    (FORCE, MANAGE): Outcome(HEALED, READY, held=True, told=("DriftHealed",)),
    (FORCE, OBSERVE): Outcome(LEFT, PENDING, told=("ChangesPending",)),
    (FORCE, SUSPEND): Outcome(LEFT, READY, held=True),
    (FORCE, DELETION): Outcome(LEFT, told=("Kept",)),
}


def test_every_ordered_pair_is_a_row() -> None:
    assert set(SWITCHES) == set(itertools.permutations(WAYS, 2))


def manage(runs: Runs) -> None:
    """Manage; a deletion, which nobody can take back, is only no longer in anybody's way."""
    runs.spec(managementPolicy="Manage", suspend=False)
    runs.api.annotate("chat", "force-delete", None)
    runs.sql("DROP TABLE IF EXISTS reports", runs.database)


def delete(runs: Runs) -> None:
    runs.api.delete("cipherstorages", "chat")


def wait_with_the_deletion(runs: Runs) -> None:
    runs.sql("CREATE TABLE reports (id int)", runs.database)
    delete(runs)


def force(runs: Runs) -> None:
    runs.api.annotate("chat", "force-delete", "true")
    delete(runs)


def force_only(runs: Runs) -> None:
    """Ask for it; without a deletion it only stands there."""
    runs.api.annotate("chat", "force-delete", "true")


BEGIN: dict[str, Callable[[Runs], None]] = {
    MANAGE: manage,
    OBSERVE: lambda runs: runs.spec(managementPolicy="Observe"),
    SUSPEND: lambda runs: runs.spec(suspend=True),
    DELETION: wait_with_the_deletion,
    FORCE: force_only,
}
TURN: dict[str, Callable[[Runs], None]] = {
    MANAGE: manage,
    OBSERVE: lambda runs: runs.spec(managementPolicy="Observe", suspend=False),
    SUSPEND: lambda runs: runs.spec(suspend=True),
    DELETION: delete,
    FORCE: force,
}


def on_the_server(runs: Runs) -> list[str]:
    """Return the databases and roles of this storage, and the tables in it."""
    names = runs.sql("SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles")
    found = [str(name) for (name,) in names if runs.database in str(name)]
    if runs.database in found:
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        found += [str(name) for (name,) in runs.sql(tables, runs.database)]
    return sorted(found)


def held(runs: Runs) -> tuple[bool, bool]:
    storage, secret = (runs.api.read(*each) for each in (("cipherstorages", "chat"), ("secrets", "pg-admin")))
    return _held(storage), _held(secret)


def _parted(events: list[tuple[str, str]], last: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    return events[: len(events) - last], events[len(events) - last :]


def _held(body: Mapping[str, Any] | None) -> bool:
    return body is not None and bool(body["metadata"].get("finalizers"))


@pytest.mark.parametrize(("one", "other"), list(SWITCHES), ids=[f"{one} to {other}" for one, other in SWITCHES])
async def test_a_switch(runs: Runs, one: str, other: str) -> None:
    expected = SWITCHES[one, other]
    await runs.ready(deletionPolicy="Delete")
    whole = on_the_server(runs)
    BEGIN[one](runs)
    await runs.run()
    runs.sql("DROP TABLE cipher_lists", runs.database)
    before, status, said = on_the_server(runs), runs.api.status(), runs.api.events()
    TURN[other](runs)
    await runs.run()
    again = await runs.run()
    after = {LEFT: before, HEALED: whole, DROPPED: []}[expected.server]
    assert on_the_server(runs) == after
    # One that repeats is counted in its series, which comes last then.
    standing, told = _parted(runs.api.events(), len(expected.told))
    assert tuple(reason for reason, _ in told) == expected.told
    assert standing == [event for event in said if event not in told]
    assert held(runs) == (expected.held, expected.held)
    if expected.says is None:
        assert again.gone
        assert runs.api.read("cipherstorages", "chat") is None
        return
    assert runs.says() == expected.says
    if other == SUSPEND:
        assert runs.api.status() == status, "it is left as it was"
        assert again.after is None
