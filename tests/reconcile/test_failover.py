"""The server changes, or breaks off, in the midst of a change of passwords: what did not come through is set again, by
itself, and no more often than that."""

from collections.abc import Iterator
from typing import Any

import pytest

from devcluster import PostgresServer
from support.majors import majors
from support.runs import Runs
from support.switched import Switched, part

READY = ("True", "Ready")
SET = b"PASSWORD 'SCRAM"

_numbers = iter(range(10_000))


@pytest.fixture(scope="module", params=majors(), ids=lambda major: f"pg{major}")
def primary(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with PostgresServer(request.param) as running:
        yield running


@pytest.fixture
def standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    with primary.standby() as copy:
        yield copy


@pytest.fixture
def address(primary: PostgresServer) -> Iterator[Switched]:
    with Switched(primary) as running:
        yield running


@pytest.fixture
def runs(primary: PostgresServer, address: Switched) -> Runs:
    number = next(_numbers)
    made = Runs(primary, f"over_{number}", instance=f"over-{number}")
    address.administers(made)
    return made


def rotate(runs: Runs) -> None:
    runs.ask("rotate", "again")


def bring(runs: Runs) -> None:
    runs.api.secret("mine", {"password": "brought-along-2"})


def change(runs: Runs) -> None:
    """Have the published password be refused."""
    runs.sql(f"ALTER ROLE \"{runs.secret()['username']}\" PASSWORD 'somebody else changed it'")
    runs.ask()


def a_minute_passes(runs: Runs) -> None:
    """Let what was refused be tried again, and a rotation follow another."""
    runs.seconds += 60
    for lane in runs.lanes._lanes.values():
        for known in lane.credentials.values():
            known.cause = None


# what is asked for, and the storage's spec
LOST = {
    "a rotation": (rotate, {}),
    "a password that the user brings": (bring, {"user": {"passwordSecretRef": {"name": "mine", "key": "password"}}}),
    "one that was refused and set again": (change, {}),
}


@pytest.mark.parametrize("lost", LOST)
async def test_a_password_that_is_lost_with_the_primary_before_its_test(
    runs: Runs, primary: PostgresServer, standby: PostgresServer, address: Switched, lost: str
) -> None:
    cause, spec = LOST[lost]
    runs.api.secret("mine", {"password": "brought-along-1"})
    await both_logins(runs, spec)
    part(primary, standby)
    standby.execute("SELECT pg_promote()")
    wrote = False

    def breaks(message: bytes) -> bool:
        nonlocal wrote
        wrote = wrote or SET in message
        return False

    def fails_over(user: str) -> None:
        if wrote and address.server is primary and user.startswith("app_"):
            address.server = standby

    address.breaks, address.connecting = breaks, fails_over
    cause(runs)
    if cause is change:
        standby.execute(f"ALTER ROLE \"{runs.secret()['username']}\" PASSWORD 'here, too'")
    await runs.until(lambda: address.server is standby)
    for _ in range(3):
        a_minute_passes(runs)
        await runs.run()
    assert runs.says() == READY, runs.message()
    runs.app().close()


@pytest.mark.parametrize("answered", [False, True], ids=["before it is set", "before it is said to be set"])
async def test_a_connection_that_breaks_off_while_a_password_is_set_again(
    runs: Runs, primary: PostgresServer, address: Switched, answered: bool
) -> None:
    await both_logins(runs, {})
    broken = 0

    def breaks(message: bytes) -> bool:
        nonlocal broken
        if SET not in message or broken:
            return False
        broken += 1
        if answered:
            _set_by_hand(primary, message)
        return True

    address.breaks = breaks
    change(runs)
    await runs.run()
    assert (broken, runs.says()) == (1, ("False", "Disconnected")), "pods are refused, too"
    for _ in range(2):
        a_minute_passes(runs)
        await runs.run()
    assert runs.says() == READY, runs.message()
    runs.app().close()


def _set_by_hand(server: PostgresServer, message: bytes) -> None:
    statements = message[5:].rstrip(b"\0").decode()
    server.execute(f"BEGIN; {statements}; COMMIT")


async def both_logins(runs: Runs, spec: dict[str, Any]) -> None:
    """Have a storage Ready that has changed its password before, where that is the operator's own."""
    await runs.ready(**spec)
    if not spec:
        runs.ask("rotate", "before")
        await runs.run()
    await runs.run()
    a_minute_passes(runs)
