"""What a reflector tells: of an API server in memory, which fails when the test says so."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cipher_operator.api.names import IN_USE_FINALIZER
from cipher_operator.kube import outage
from cipher_operator.kube import reflector as module
from cipher_operator.kube.reflector import CONFIGMAPS, SECRETS, STORAGES, Reflector, Watched, reflectors
from cipher_operator.kube.seen import Ref, Seen
from support.memory_api import MemoryApi

A: Ref = ("Secret", "ns", "a")
B: Ref = ("Secret", "ns", "b")


class World:
    """An API server, a reflector of its Secrets, and what it told."""

    def __init__(self, watched: Watched = SECRETS, namespace: str | None = None) -> None:
        self.api = MemoryApi()
        self.told: list[tuple[Ref, Seen | None]] = []
        self.restarts: list[tuple[str, str]] = []
        self.reflector = Reflector(
            self.api,
            watched,
            lambda ref, seen: self.told.append((ref, seen)),
            namespace,
            lambda kind, why: self.restarts.append((kind, why)),
        )

    async def begin(self) -> "World":
        self.reflector.start()
        await asyncio.wait_for(self.reflector.synced.wait(), 2)
        await self.until(lambda: len(self.api.watches) == 1)
        return self

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(3):
            while not true():
                await asyncio.sleep(0.002)

    async def next(self, number: int = 1) -> list[tuple[Ref, bool]]:
        """Return what is told next, and that nothing more is: the objects, and whether they are there."""
        await self.until(lambda: len(self.told) >= number)
        await asyncio.sleep(0.02)
        told = [(ref, seen is not None) for ref, seen in self.told]
        self.told.clear()
        return told

    def cut(self) -> None:
        """End the watch and let its place be forgotten."""
        self.api.store.forget_history()
        self.api.end_watches()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLED", 0.05)
    monkeypatch.setattr(module, "SETTLED_AFTER_ERROR", 0.1)
    monkeypatch.setattr(module, "AWAY", (0.002, 0.02))
    monkeypatch.setattr(module, "BROKEN", (0.005, 0.03))


@pytest.fixture
async def world(quick: None) -> AsyncIterator[World]:
    made = World()
    yield made
    await made.reflector.stop()


async def test_what_is_there_what_comes_changes_and_goes(world: World) -> None:
    first = world.api.secret("a", {"k": "1"})["metadata"]
    await world.begin()
    assert world.told == [(A, Seen(first["uid"], first["resourceVersion"]))]
    world.told.clear()
    second = world.api.secret("b", {"k": "1"})["metadata"]
    await world.until(lambda: world.told == [(B, Seen(second["uid"], second["resourceVersion"]))])
    world.told.clear()
    world.api.change("secrets", "b", {"metadata": {"labels": {"a": "b"}}})
    assert await world.next() == [(B, True)]
    world.api.delete("secrets", "a")
    assert await world.next() == [(A, False)]
    assert (list(world.reflector.refs()), world.reflector.get("ns", "a")) == ([B], None)


async def test_it_says_whose_deletion_waits_for_us(world: World) -> None:
    world.api.secret("a", {}, finalizers=[IN_USE_FINALIZER])
    world.api.secret("b", {}, finalizers=["example.com/other"])
    await world.begin()
    world.told.clear()
    world.api.delete("secrets", "a")
    world.api.delete("secrets", "b")
    await world.next(2)
    told = {name: world.reflector.get("ns", name) for name in "ab"}
    assert {name: (seen.deleting, seen.held) for name, seen in told.items() if seen} == {
        "a": (True, True),
        "b": (True, False),
    }


async def test_a_watch_that_only_ends_goes_on_where_it_was(world: World) -> None:
    world.api.secret("a", {})
    await world.begin()
    world.told.clear()
    for number in range(3):
        world.api.end_watches()
        world.api.secret("a", {"k": str(number)})
        assert (await world.next())[-1:] == [(A, True)]
    assert (world.api.count("LIST"), world.api.count("WATCH")) == (1, 4)


async def test_bookmarks_move_the_place_where_it_goes_on(world: World) -> None:
    await world.begin()
    world.api.configmap("unrelated", {})
    world.api.bookmark()
    await asyncio.sleep(0.02)
    world.cut()
    await world.until(lambda: world.api.count("WATCH") == 2)
    assert world.api.count("LIST") == 1


async def test_what_happened_in_a_gap_is_told(world: World) -> None:
    for name in "abcd":
        world.api.secret(name, {"k": "1"})
    await world.begin()
    world.told.clear()
    world.api.fault(network=True)
    world.api.end_watches()
    await asyncio.sleep(0.03)
    world.api.delete("secrets", "a")
    world.api.secret("b", {"k": "2"})
    world.api.delete("secrets", "c")
    made_again = world.api.secret("c", {"k": "1"})["metadata"]
    world.api.secret("e", {})
    world.cut()
    world.api.mend()
    expected = {(A, False), (B, True), (("Secret", "ns", "c"), True), (("Secret", "ns", "e"), True)}
    assert set(await world.next(4)) == expected
    seen = world.reflector.get("ns", "c")
    assert seen is not None and seen.uid == made_again["uid"]
    assert world.api.count("LIST") >= 2


async def test_the_last_object_that_goes_in_a_gap_is_told_too(world: World) -> None:
    world.api.secret("a", {})
    await world.begin()
    world.told.clear()
    hold = world.api.fault(network=True)
    world.api.end_watches()
    world.api.delete("secrets", "a")
    world.cut()
    world.api.mend(hold)
    assert await world.next() == [(A, False)]


TROUBLE: dict[str, Callable[[MemoryApi], object]] = {
    "the network": lambda api: api.fault(network=True, times=3),
    "too many requests": lambda api: api.answer(429, "TooManyRequests", times=3),
    "500, as where a Secret cannot be decrypted": lambda api: api.answer(500, "InternalError", times=3),
    "503": lambda api: api.answer(503, "ServiceUnavailable", times=3),
    "504, as after a restore of the cluster": lambda api: api.answer(504, "Timeout", times=3),
    "the right is missing": lambda api: api.answer(403, "Forbidden", times=3),
    "the token has expired": lambda api: api.answer(401, "Unauthorized", times=3),
    "the watch alone is refused": lambda api: api.answer(403, "Forbidden", verb="WATCH", times=3),
    "the watch's place is refused at once": lambda api: api.answer(410, "Expired", verb="WATCH", times=3),
    "the kind is away": lambda api: api.answer(404, "NotFound", times=3),
}


@pytest.mark.parametrize("case", TROUBLE)
async def test_it_survives(world: World, case: str) -> None:
    await world.begin()
    TROUBLE[case](world.api)
    world.api.end_watches()
    await world.until(lambda: all(fault.met == 3 for fault in world.api.faults))
    world.api.secret("a", {})
    assert await world.next() == [(A, True)]


@pytest.mark.parametrize("case", TROUBLE)
async def test_it_survives_at_the_start(world: World, case: str) -> None:
    TROUBLE[case](world.api)
    world.api.secret("a", {})
    await world.begin()
    assert world.told[0][0] == A


@pytest.fixture
async def slower(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A reflector whose pauses can be told apart, and of which no watch holds, however long the machine takes."""
    monkeypatch.setattr(module, "BROKEN", (0.02, 0.4))
    monkeypatch.setattr(module, "SETTLED_AFTER_ERROR", 60.0)
    made = World()
    yield made
    await made.reflector.stop()


async def test_an_error_in_the_watch_lists_anew_and_ever_more_slowly(
    slower: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = slower
    caplog.set_level(logging.INFO)
    await world.begin()
    pauses: list[float] = []
    pause = world.reflector._broken.next
    monkeypatch.setattr(world.reflector._broken, "next", lambda: pauses.append(pause()) or pauses[-1])  # type: ignore[func-returns-value]
    for number in range(5):
        before = world.api.count("WATCH")
        if number == 4:
            monkeypatch.setattr(module, "SETTLED_AFTER_ERROR", 0.1)
        world.api.say_error(500)
        await world.until(lambda: world.api.count("WATCH") > before)  # noqa: B023
    assert world.api.count("LIST") == 6
    assert (len(pauses), pauses[4] > 4 * pauses[0]) == (5, True), pauses
    world.api.secret("a", {})
    await world.next()
    await world.until(lambda: "goes on" in caplog.text)
    lines = [record.getMessage() for record in caplog.records if record.name == outage.__name__]
    assert lines[0] == "the watch of secrets is interrupted: 500 InternalError; trying again"
    assert (len(lines), lines[1].startswith("the watch of secrets goes on after")) == (2, True)


async def test_events_between_errors_do_not_make_it_faster(slower: World) -> None:
    world = slower
    await world.begin()
    for number in range(5):
        before = world.api.count("WATCH")
        world.api.secret("a", {"k": str(number)})
        world.api.say_error(500)
        await world.until(lambda: world.api.count("WATCH") > before)  # noqa: B023
    assert world.reflector._broken.next() > 0.1


async def test_a_place_that_was_forgotten_is_no_outage(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await world.begin()
    world.api.say_error(410, "Expired")
    await world.until(lambda: world.api.count("WATCH") == 2)
    assert (world.api.count("LIST"), caplog.text) == (2, "")


async def test_a_list_that_expires_between_two_pages_begins_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", "2")
    for name in "abcde":
        world.api.secret(name, {})

    lists = itertools.count(1)

    def expire() -> None:
        if next(lists) == 2:
            world.api.secret("a", {"k": "1"})
            world.api.store.forget_history()

    world.api.fault("LIST", act=expire)
    await world.begin()
    assert {ref[2] for ref in world.reflector.refs()} == set("abcde")
    assert next(lists) == 6


async def test_the_server_says_how_long_to_wait(world: World) -> None:
    await world.begin()
    world.api.answer(429, "TooManyRequests", retry_after="0.3", times=1)
    began = asyncio.get_running_loop().time()
    world.api.end_watches()
    await world.until(lambda: world.api.count("WATCH") == 3)
    assert asyncio.get_running_loop().time() - began > 0.3


async def test_what_a_callback_raises_ends_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def changed(ref: Ref, seen: Seen | None) -> None:
        raise RuntimeError("a bug")

    world.reflector = Reflector(world.api, SECRETS, changed)
    world.api.secret("a", {})
    await world.begin()
    world.api.secret("b", {})
    await world.until(lambda: len(world.reflector) == 2)
    assert "a change of Secret ns/b was not taken in" in caplog.text


@pytest.mark.parametrize(
    "event",
    [
        {"type": "ADDED", "object": {}},
        {"type": "MODIFIED", "object": {"metadata": None}},
        {"type": "ERROR", "object": {}},
        {"type": "ADDED"},
        {},
    ],
    ids=str,
)
async def test_what_is_no_event_lists_anew(world: World, event: dict[str, Any]) -> None:
    await world.begin()
    world.api.say(event)
    await world.until(lambda: world.api.count("LIST") == 2)


async def test_an_event_of_an_unknown_type_is_left_out(world: World) -> None:
    await world.begin()
    world.api.say({"type": "NEWS", "object": {"metadata": {"resourceVersion": "1"}}})
    world.api.secret("a", {})
    assert await world.next() == [(A, True)]
    assert world.api.count("LIST") == 1


@pytest.mark.parametrize(
    "left_out", [{"type_": "helm.sh/release.v1"}, {"type_": "kubernetes.io/service-account-token"}]
)
async def test_secrets_of_no_interest_are_not_even_listed(world: World, left_out: dict[str, Any]) -> None:
    world.api.secret("b", {}, **left_out)
    await world.begin()
    world.api.secret("c", {}, **left_out)
    world.api.secret("a", {})
    assert await world.next() == [(A, True)]


async def test_a_selector_narrows_it() -> None:
    world = await World(SECRETS.selected("watched=yes")).begin()
    world.api.secret("a", {})
    world.api.change("secrets", "a", {"metadata": {"labels": {"watched": "yes"}}})
    assert await world.next() == [(A, True)]
    world.api.change("secrets", "a", {"metadata": {"labels": {"watched": "no"}}})
    assert await world.next() == [(A, False)]
    await world.reflector.stop()


async def test_namespaces_of_its_own() -> None:
    world = await World(CONFIGMAPS, "ns").begin()
    world.api.configmap("a", {}, namespace="other")
    world.api.configmap("kube-root-ca.crt", {})
    world.api.configmap("b", {})
    assert await world.next() == [(("ConfigMap", "ns", "b"), True)]
    await world.reflector.stop()
    made = reflectors(world.api, (SECRETS, STORAGES), print, ("one", "two"))
    assert len(made) == 4
    assert len(reflectors(world.api, (SECRETS, STORAGES), print, ())) == 2


async def test_only_metadata_is_asked_for_and_little_of_it_is_kept(world: World) -> None:
    world.api.secret("a", {"k": "content"}, annotations={"copy": "content"})
    await world.begin()
    assert "content" not in repr(vars(world.reflector))


async def test_what_may_not_be_watched_is_not_waited_for(world: World) -> None:
    """Without the right to list Secrets the operator serves all the same, and sees changes at each interval."""
    world.api.answer(403, "Forbidden", times=1000)
    world.reflector.start()
    await asyncio.wait_for(world.reflector.synced.wait(), 2)
    assert world.told == []


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (lambda world: world.api.end_watches(), "ended"),
        (lambda world: (world.api.configmap("other", {}), world.cut()), "expired"),
        (lambda world: (world.api.fault(network=True), world.api.end_watches()), "unavailable"),
        (lambda world: world.api.say_error(500), "broken"),
    ],
    ids=["the server's ordinary end", "its place is forgotten", "nobody answers", "the server breaks it off"],
)
async def test_a_watch_that_begins_anew_is_counted(world: World, happens: Callable[[World], object], why: str) -> None:
    await world.begin()
    happens(world)
    await world.until(lambda: ("Secret", why) in world.restarts)


REACHED: dict[str, tuple[str, str, bool]] = {
    "the same place": ("9", "9", False),
    "a later one": ("9", "10", False),
    "one before, as after a restore of the cluster": ("10", "9", True),
    "no number": ("b", "a", False),
}


@pytest.mark.parametrize("case", REACHED)
async def test_a_list_that_is_older_than_what_was_seen_is_a_restored_cluster(case: str) -> None:
    before, now, expected = REACHED[case]
    rewound: list[bool] = []

    class Restored(MemoryApi):
        async def scan(self, path: str, each: Callable[[dict[str, Any]], None], **query: Any) -> dict[str, Any]:
            return {"resourceVersion": now if self.count("WATCH") else before}

    api = Restored()
    watching = Reflector(api, SECRETS, lambda ref, seen: None, rewound=lambda: rewound.append(True))
    await watching._list()
    api.answer(504, "Timeout", verb="WATCH", times=1)
    await watching._round()
    assert rewound == []
    await watching._list()
    assert rewound == [True] * expected


@pytest.mark.parametrize("restored", [False, True])
async def test_a_watch_that_is_silent_is_looked_at(monkeypatch: pytest.MonkeyPatch, restored: bool) -> None:
    """From a revision that is still to come a watch brings nothing, not even a bookmark, and is refused by nobody."""
    monkeypatch.setattr(module, "DEAF", 0.05)
    world, rewound = World(), asyncio.Event()
    world.reflector._rewound = rewound.set
    world.api.secret("a", {})
    world.api.secret("b", {})
    await world.begin()
    if restored:
        world.api.store.version = 1
    await asyncio.sleep(0.1)
    world.api.end_watches()
    await world.until(lambda: world.api.count("WATCH") == 2)
    assert (rewound.is_set(), world.api.count("LIST")) == (restored, 3 if restored else 2)
    world.api.bookmark()
    await asyncio.sleep(0.1)
    world.api.end_watches()
    await world.until(lambda: world.api.count("WATCH") == 3)
    assert world.api.count("LIST") == (3 if restored else 2), "one that brings a bookmark is not"
    await world.reflector.stop()


@pytest.mark.parametrize("verb", ["LIST", "WATCH"])
async def test_what_nobody_has_thought_of_ends_no_watch(
    world: World, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    def odd() -> None:
        raise RecursionError

    world.api.fault(verb, act=odd, times=1)
    await world.begin()
    world.api.secret("a", {})
    await world.until(lambda: len(world.reflector) == 1)
    assert "the watch of secrets failed unexpectedly" in caplog.text
    assert world.restarts[0] == ("Secret", "broken")
