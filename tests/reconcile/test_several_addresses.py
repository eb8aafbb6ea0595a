"""The pods' host has several addresses: Cipher's client goes to any of them, so each lets the login work or is told of.

node-pg knows no `target_session_attrs`: what guards libpq does not guard Cipher.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from cipher_operator.queue.following import Next
from devcluster import PostgresServer
from support.members import NAME, Members, administered_at, resolve_to
from support.runs import Runs

READY = ("True", "Ready")
READER, REFUSED, AWAY = ("False", "ReadOnlyServer"), ("False", "AuthenticationFailed"), ("False", "ConnectionRefused")
GUARD = "read-write"


@pytest.fixture(scope="module")
def members() -> Iterator[Members]:
    with PostgresServer(16, settings={"log_statement": "all"}) as primary:
        standby = primary.standby()
        try:
            yield Members(primary, standby)
        finally:
            standby.close()


_numbers = iter(range(10_000))


@pytest.fixture
async def runs(members: Members) -> AsyncIterator[Runs]:
    number = next(_numbers)
    made = Runs(members.primary, f"several_{number}", instance=f"several-{number}")
    yield made
    await made.close()


# the members in the resolver's order, target_session_attrs of the URL, app.verify, what Ready says, words of it
ROWS = {
    "all are the primary": (("primary", "primary"), None, "IfReachable", READY, ""),
    "one is a standby": (("primary", "standby"), None, "IfReachable", READER, "one of the 2 addresses"),
    "one of three is a standby": (("primary", "primary", "standby"), None, "IfReachable", READER, "of the 3 addresses"),
    "the sixth is a standby": (("primary",) * 5 + ("standby",), None, "IfReachable", READER, "of the 6 addresses"),
    "a standby, and libpq is guarded": (("primary", "standby"), GUARD, "IfReachable", READY, "goes to any of them"),
    "a standby first, and libpq is guarded": (("standby", "primary"), GUARD, "IfReachable", READY, "goes to any"),
    "a standby, guarded, and all are to work": (("primary", "standby"), GUARD, "Always", READER, "one of the 2"),
    "a standby, and nobody is to look": (("primary", "standby"), None, "Never", READY, ""),
    "one refuses the login": (("primary", "refusing"), None, "IfReachable", REFUSED, "one of the 2 addresses"),
    "one refuses the login, all are to work": (("primary", "refusing"), None, "Always", REFUSED, "one of the 2"),
    "one is away": (("primary", "away"), None, "IfReachable", READY, ""),
    "one is away, and all are to work": (("primary", "away"), None, "Always", AWAY, "one of the 2 addresses"),
}


async def settled(members: Members, runs: Runs, wanted: tuple[str, str]) -> Next:
    """Run until it says so. A standby is a moment behind: it catches up between two runs, which are 2 s apart."""
    for _ in range(5):
        following = await runs.run()
        if runs.says() == wanted:
            return following
        await members.level()
    raise AssertionError(runs.condition())


# What the URL asks for holds for its own host alone.
CASES = [
    pytest.param(row, own, id=f"{name}-{'own' if own else 'other'}-door")
    for name, row in ROWS.items()
    for own in (True, False)
    if own or row[1] is None
]


@pytest.mark.parametrize(("case", "own"), CASES)
async def test_each_address_of_the_pods_host(
    members: Members,
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[tuple[str, ...], str | None, str, tuple[str, str], str],
    own: bool,
) -> None:
    kinds, attrs, verify, ready, said = case
    async with members.behind(*kinds) as (port, addresses):
        resolve_to(monkeypatch, addresses)
        if own:
            administered_at(runs, port, attrs)
        else:
            runs.admin_secret()
        app = {"verify": verify} | ({} if own else {"host": NAME, "port": port})
        runs.storage(app=app)
        await settled(members, runs, ready)
        assert said in runs.message()
        if ready == READY and not said:
            assert "address" not in runs.message()
        for hidden in (NAME, *addresses):
            assert hidden not in runs.message()
        assert runs.outages == [], "one address says nothing of the server"


async def test_a_standby_that_is_behind_holds_up_no_new_storage(
    members: Members, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with members.behind("standby", "primary") as (port, addresses):
        resolve_to(monkeypatch, addresses)
        administered_at(runs, port, GUARD)
        runs.storage()
        async with members.paused():
            await runs.run()
        assert runs.says() == REFUSED, "pods that go there now are refused"
        await members.level()
        await settled(members, runs, READY)


async def test_an_address_that_comes_back_is_ready_by_itself(
    members: Members, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with members.behind("primary", "standby") as (port, addresses):
        resolve_to(monkeypatch, addresses)
        administered_at(runs, port, None)
        runs.storage()
        await settled(members, runs, READER)
        resolve_to(monkeypatch, addresses[:1])
        await settled(members, runs, READY)
