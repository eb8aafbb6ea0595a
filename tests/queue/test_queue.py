"""Keys, triggers and turns: one run per key, nothing lost, what changed before what is due, a share for everybody."""

import asyncio
import logging

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cipher_operator.queue.entry import AT_ONCE, GAP
from cipher_operator.queue.following import Next
from cipher_operator.queue.needs import Busy, Closed
from cipher_operator.queue.ticket import Ticket
from support.queue_world import Key, World

LANE = ("db.example.com", 5432)
CHAT = ("team", "chat")


async def quick(world: World, key: Key, ticket: Ticket) -> Next:
    ticket.enter(LANE, "admin")
    await world.clock.sleep(0.1)
    ticket.opened(LANE, "admin")
    return Next(after=300.0)


async def test_triggers_during_a_run_lead_to_exactly_one_more() -> None:
    world = World(run=quick)
    world.queue.enqueue(CHAT)
    await world.clock.advance(0.05)
    for _ in range(5):
        world.queue.enqueue(CHAT)
    await world.clock.advance(5.0)
    assert world.count(CHAT) == 2


async def test_a_key_never_runs_twice_at_once() -> None:
    at_once: list[int] = [0, 0]

    async def watched(world: World, key: Key, ticket: Ticket) -> Next:
        at_once[0] += 1
        at_once[1] = max(at_once)
        await world.clock.sleep(1.0)
        at_once[0] -= 1
        return Next(after=0.5)

    world = World(run=watched)
    for _ in range(50):
        world.queue.enqueue(CHAT)
        await world.clock.advance(0.3)
    assert at_once[1] == 1
    await world.queue.drain(0)


@pytest.mark.parametrize(
    ("following", "times"),
    [
        (Next(after=10.0), [0.0, 10.0, 20.0, 30.0]),
        (Next(after=None), [0.0]),
        (Next(gone=True), [0.0]),
        (Next(failed=True), [0.0, 1.75, 5.25, 12.25, 26.25]),
    ],
    ids=["at an interval", "only on change", "gone", "failing: 2, 4, 8 s and so on, less jitter"],
)
async def test_when_the_next_run_comes(following: Next, times: list[float]) -> None:
    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        return following

    world = World(run=run)
    start = world.clock.now()
    world.queue.enqueue(CHAT)
    await world.clock.advance(39.0)
    assert [round(when - start, 2) for when, _ in world.runs][: len(times)] == times
    assert world.queue.known == (0 if following.gone else 1)


async def test_the_back_off_ends_with_the_first_run_that_succeeds() -> None:
    answers = [Next(failed=True)] * 5 + [Next(after=1.0)] + [Next(failed=True)] * 2

    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        return answers[len(world.runs) - 1] if len(world.runs) <= len(answers) else Next(after=None)

    world = World(run=run)
    world.queue.enqueue(CHAT)
    await world.clock.advance(300.0)
    gaps = [round(later - earlier, 2) for (earlier, _), (later, _) in zip(world.runs, world.runs[1:], strict=False)]
    assert gaps == [1.75, 3.5, 7.0, 14.0, 28.0, 1.0, 1.75, 3.5]


async def test_of_several_plans_the_earliest_counts() -> None:
    world = World(run=quick)
    world.queue.enqueue(CHAT, after=10.0)
    world.queue.enqueue(CHAT, after=3.0)
    world.queue.enqueue(CHAT, after=20.0)
    await world.clock.advance(2.9)
    assert world.count(CHAT) == 0
    await world.clock.advance(0.2)
    assert world.count(CHAT) == 1


async def test_a_bug_in_a_run_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(world: World, key: Key, ticket: Ticket) -> Next:
        raise LookupError("a bug")

    world = World(run=broken)
    world.queue.enqueue(CHAT)
    with caplog.at_level(logging.ERROR):
        await world.clock.advance(10.0)
    assert world.count(CHAT) >= 3
    assert "a run failed unexpectedly" in caplog.text
    assert world.free()


async def test_what_is_new_goes_before_two_thousand_checks_that_are_due() -> None:
    world = World(run=quick, workers=8, share=8)
    for number in range(2_000):
        world.queue.enqueue((f"team-{number % 40}", f"chat{number}"), urgent=False)
    await world.clock.advance(2.0)
    world.queue.enqueue(("shop", "new"))
    await world.clock.advance(0.25)
    assert world.count(("shop", "new")) == 1, "it waits for no check that has not begun"
    await world.queue.drain(0)


async def test_what_is_new_begins_at_once_while_checks_take_long() -> None:
    async def slow(world: World, key: Key, ticket: Ticket) -> Next:
        await world.clock.sleep(30.0)
        return Next(after=None)

    world = World(run=slow, workers=8, share=8)
    for number in range(100):
        world.queue.enqueue((f"team-{number % 40}", f"chat{number}"), urgent=False)
    await world.clock.advance(1.0)
    world.queue.enqueue(("shop", "new"))
    await world.clock.advance(0.0)
    assert world.count(("shop", "new")) == 1
    await world.queue.drain(0)


async def test_few_checks_begin_while_something_new_runs() -> None:
    async def slow(world: World, key: Key, ticket: Ticket) -> Next:
        await world.clock.sleep(1.0 if key[1] == "new" else 0.1)
        return Next(after=None)

    world = World(run=slow, workers=32, share=8)
    for number in range(1_000):
        world.queue.enqueue((f"team-{number % 40}", f"chat{number}"), urgent=False)
    # Until it is learnt that they do not wait for each other.
    await world.clock.advance(2.0)
    before = len(world.runs)
    await world.clock.advance(1.0)
    alone = len(world.runs) - before
    world.queue.enqueue(("shop", "new"))
    await world.clock.advance(1.0)
    beside = len(world.runs) - before - alone
    assert 0 < beside < alone / 3, "checks take no time from it, and none of them waits for good"
    await world.clock.advance(1.0)
    assert len(world.runs) - before - alone - beside > alone / 2
    await world.queue.drain(0)


async def test_a_namespace_with_a_thousand_storages_keeps_nobody_waiting() -> None:
    done: dict[Key, float] = {}

    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        following = await quick(world, key, ticket)
        done.setdefault(key, world.clock.now())
        return following

    world = World(run=run, workers=32, share=8)
    for number in range(1_000):
        world.queue.enqueue(("crowd", f"chat{number}"))
    await world.clock.advance(1.0)
    asked = world.clock.now()
    world.queue.enqueue(("shop", "chat"))
    await world.clock.advance(1.0)
    assert done["shop", "chat"] - asked < 0.35, "after the runs that were under way, one of its own"
    await world.queue.drain(0)


async def test_slots_are_never_more_than_there_are_and_all_come_back() -> None:
    held: list[int] = []

    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        ticket.enter(LANE, "admin")
        ticket.try_enter(LANE)
        held.append(world.lanes.counts().held)
        await world.clock.sleep(0.1)
        ticket.opened(LANE, "admin")
        held.append(world.lanes.counts().held)
        return Next(after=None)

    world = World(run=run)
    for number in range(100):
        world.queue.enqueue((f"team-{number % 9}", f"chat{number}"))
    await world.clock.advance(30.0)
    assert len({key for _, key in world.runs}) == 100
    assert max(held) <= 8
    assert world.free()


async def test_a_run_whose_second_lane_is_full_comes_back_when_both_have_room() -> None:
    door = ("pooler.example.com", 6432)
    done: list[Key] = []

    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        ticket.enter(LANE, "admin")
        await world.clock.sleep(0.01)
        ticket.opened(LANE, "admin")
        ticket.enter(door, "/".join(key))
        await world.clock.sleep(1.0)
        ticket.opened(door, "/".join(key))
        done.append(key)
        return Next(after=None)

    world = World(run=run)
    for number in range(30):
        world.queue.enqueue((f"team-{number % 9}", f"chat{number}"))
    await world.clock.advance(60.0)
    assert len(done) == 30
    assert len(world.runs) < 70, "they look again when there is room, not all the time"
    assert world.free()


async def test_a_slot_outlives_its_run_where_work_goes_on_beside() -> None:
    release = []

    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        ticket.enter(LANE, "admin")
        ticket.opened(LANE, "admin")
        release.append(ticket.detach(LANE))
        return Next(after=None)

    world = World(run=run)
    world.queue.enqueue(CHAT)
    await world.clock.advance(1.0)
    assert world.lanes.counts().held == 1
    release[0]()
    assert world.free()


async def test_draining_lets_runs_end_and_takes_no_more() -> None:
    world = World(run=quick)
    world.queue.enqueue(CHAT)
    await world.clock.advance(0.01)
    draining = asyncio.ensure_future(world.queue.drain(5.0))
    world.queue.enqueue(("team", "late"))
    await world.clock.advance(0.2)
    assert await draining
    assert world.count(("team", "late")) == 0
    assert world.free()


async def test_draining_cancels_what_does_not_end() -> None:
    async def endless(world: World, key: Key, ticket: Ticket) -> Next:
        await asyncio.Event().wait()
        raise AssertionError

    world = World(run=endless)
    world.queue.enqueue(CHAT)
    await world.clock.advance(0.01)
    assert not await world.queue.drain(0.01)
    assert world.free()


async def test_a_forgotten_key_leaves_nothing() -> None:
    world = World(run=quick)
    world.queue.enqueue(CHAT)
    await world.clock.advance(1.0)
    world.queue.enqueue(CHAT)
    world.queue.forget(CHAT)
    await world.clock.advance(1_000.0)
    assert world.count(CHAT) == 1
    assert (world.queue.known, world.queue.waiting) == (0, 0)
    assert not world.queue._residents.of(LANE)
    assert len(world.queue._waits) == 0


class Chaos(Exception):
    """A bug."""


WRITING = 3.0
"""Seconds that a run takes to tell what it met: longer than a probe waits to ask again."""


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["enqueue", "due", "later", "forget", "down", "up"]),
            st.integers(0, 11),
            st.sampled_from(["well", "busy", "silent", "refused", "bug", "failed"]),
            st.sampled_from([0.0, 0.5, 2.0, 5.0, 59.0]),
        ),
        max_size=60,
    )
)
@example([("down", 0, "well", 0.0), ("enqueue", 0, "silent", 5.0)])
def test_nothing_leaks_and_nothing_is_lost(story: list[tuple[str, int, str, float]]) -> None:
    asyncio.run(_story(story))


async def _story(story: list[tuple[str, int, str, float]]) -> None:
    """Play what happens, to whom, how its runs end from then on, and the seconds to what comes next."""
    moods: dict[Key, str] = {}
    undone: set[Key] = set()

    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        mood, lane = moods[key], (f"s{int(key[1]) % 3}.example.com", 5432)
        try:
            ticket.enter(lane, key[1])
        except Closed:
            await world.clock.sleep(WRITING)
            return Next(after=660.0)
        await world.clock.sleep(0.1)
        if mood == "busy":
            moods[key] = "well"
            raise Busy
        if mood == "silent":
            ticket.failed(lane, "no answer")
            await world.clock.sleep(WRITING)
            return Next(failed=True)
        if mood == "refused":
            ticket.refused(lane, key[1], "refused")
            await world.clock.sleep(WRITING)
            return Next(after=60.0)
        if mood == "bug":
            raise Chaos
        ticket.opened(lane, key[1])
        if mood == "failed":
            return Next(failed=True)
        undone.discard(key)
        return Next(after=300.0)

    world = World(run=run, workers=4, share=2, slots=2)
    alive: set[Key] = set()
    for what, number, mood, seconds in story:
        key = (f"team-{number % 4}", str(number))
        lane = (f"s{number % 3}.example.com", 5432)
        moods[key] = mood
        if what == "forget":
            world.queue.forget(key)
            alive.discard(key)
        elif what in ("down", "up"):
            world.answers[lane] = what == "up"
        else:
            undone.add(key)
            world.queue.enqueue(key, urgent=what != "due", after=3.0 if what == "later" else 0.0)
            alive.add(key)
        await world.clock.advance(seconds)
    for number in range(3):
        world.answers[f"s{number}.example.com", 5432] = True
    for key in moods:
        moods[key] = "well"
    await world.clock.advance(200.0)
    assert undone & alive == set(), "who was asked for comes to its end once everything answers, and nobody asks again"
    assert world.free()
    assert world.most <= 4
    await world.queue.drain(0)
    await world.lanes.close()


async def test_a_key_that_was_run_once_and_has_nothing_to_come_is_not_remembered() -> None:
    """Of inputs: thousands are looked at once, and are gone the next day."""

    async def look(world: World, key: Key, ticket: Ticket) -> Next:
        return Next(after=None if key[1].startswith("secret") else 600.0)

    world = World(run=look)
    world.queue.enqueue(CHAT)
    for number in range(200):
        world.queue.enqueue(("team", f"secret{number}"))
        await world.clock.advance(0.5)
    assert world.queue.known < 30
    await world.clock.advance(600.0)
    assert world.count(CHAT) == 2, "what is planned is not forgotten"


async def test_what_is_changed_in_a_loop_begins_no_more_often_for_that() -> None:
    async def look(world: World, key: Key, ticket: Ticket) -> Next:
        return Next(after=None)

    world = World(run=look)
    for number in range(200):
        world.queue.enqueue(("team", "secret"))
        world.queue.enqueue(("team", f"other{number}"))
        await world.clock.advance(0.3)
    assert world.count(("team", "secret")) <= AT_ONCE + 60 / GAP
    await world.clock.advance(60.0)
    world.queue.enqueue(("team", "secret"))
    await world.clock.advance(0.1)
    assert world.runs[-1][1] == ("team", "secret"), "and begins at once when it has rested"
