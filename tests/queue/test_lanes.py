"""What is remembered of servers and credentials, and for how long."""

from collections.abc import Awaitable, Callable

import pytest

from cipher_operator.queue.counts import Counts
from cipher_operator.queue.entry import GAP
from cipher_operator.queue.following import Next
from cipher_operator.queue.lanes import IDLE_SECONDS, LEFT, VERDICT_SECONDS, Lanes
from cipher_operator.queue.needs import API, Closed
from cipher_operator.queue.ticket import Ticket
from support.queue_world import Key, VirtualClock, World

LANE = ("db.example.com", 5432)
CHAT = ("team", "chat")


async def test_a_secret_that_names_three_thousand_hosts_one_after_the_other_leaves_nothing() -> None:
    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        lane = (f"host{len(world.runs)}.example.com", 5432)
        ticket.enter(lane, "admin")
        ticket.opened(lane, "admin")
        return Next(after=None)

    world = World(run=run)
    for _ in range(3_000):
        world.queue.enqueue(CHAT, changed=True)
        await world.clock.advance(GAP)
    assert len(world.runs) == 3_000
    await world.clock.advance(1.5 * IDLE_SECONDS)
    assert world.lanes.known <= 2, "the API server's lane, and the one that is in use"
    assert world.free()


async def test_a_password_that_was_set_is_tried_at_once() -> None:
    tries = []

    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        try:
            ticket.enter(LANE, "app")
        except Closed:
            return Next(after=None)
        tries.append(world.clock.now())
        if len(tries) == 1:
            ticket.refused(LANE, "app", "refused")
        else:
            ticket.opened(LANE, "app")
        return Next(after=None)

    world = World(run=run)
    world.queue.enqueue(CHAT)
    await world.clock.advance(1.0)
    assert len(tries) == 1
    world.lanes.forget_verdict(LANE, "app")
    world.queue.enqueue(CHAT)
    await world.clock.advance(1.0)
    assert len(tries) == 2


SHUT_AGAIN = 660.0
"""What a run asks for that met a closed door: whoever opens it runs the key before."""


async def _opens_while_a_run_ends(begin: Callable[[World], Awaitable[None]], *, opens: Callable[[World], None]) -> None:
    """Have CHAT find its door closed, and open it while its run still writes its status."""
    let_in: list[float] = []

    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        try:
            ticket.enter(LANE, "app")
        except Closed:
            opens(world)
            await world.clock.sleep(3.0)
            return Next(after=SHUT_AGAIN)
        ticket.opened(LANE, "app")
        let_in.append(world.clock.now())
        return Next(after=None)

    world = World(run=run)
    await begin(world)
    world.queue.enqueue(CHAT)
    await world.clock.advance(30.0)
    assert len(let_in) == 1, "it is let in once, long before what its run asked for"
    assert world.free()


async def test_a_server_that_answers_while_the_run_that_met_it_down_still_ends_is_used_at_once() -> None:
    async def down(world: World) -> None:
        world.answers[LANE] = False
        world.lanes.failed(LANE, "refused")
        world.lanes.take(LANE, "team")
        await world.clock.advance(1.0)

    def up(world: World) -> None:
        world.lanes.give(LANE, "team")
        world.answers[LANE] = True

    await _opens_while_a_run_ends(down, opens=up)


async def test_a_login_that_is_accepted_while_a_run_that_met_its_refusal_still_ends_is_used_at_once() -> None:
    async def refused(world: World) -> None:
        world.lanes.refused(LANE, "app", "refused")

    def set_anew(world: World) -> None:
        world.lanes.forget_verdict(LANE, "app")
        world.lanes.opened(LANE, "app")

    await _opens_while_a_run_ends(refused, opens=set_anew)


async def test_a_refusal_whose_minute_is_over_while_a_run_that_met_it_still_ends_is_tried_at_once() -> None:
    async def nearly_over(world: World) -> None:
        world.lanes.refused(LANE, "app", "refused")
        await world.clock.advance(VERDICT_SECONDS - 1.0)

    await _opens_while_a_run_ends(nearly_over, opens=lambda world: None)


async def test_who_sets_its_own_refused_password_needs_no_second_run() -> None:
    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        ticket.enter(LANE, "app")
        ticket.refused(LANE, "app", "refused")
        ticket.forget_verdict(LANE, "app")
        ticket.enter(LANE, "app")
        ticket.opened(LANE, "app")
        return Next(after=None)

    world = World(run=run)
    world.queue.enqueue(CHAT)
    await world.clock.advance(300.0)
    assert world.count(CHAT) == 1


async def test_whoever_changes_its_server_waits_for_the_old_one_no_more() -> None:
    other = ("other.example.com", 5432)
    done: list[tuple[Key, object]] = []
    lanes: dict[Key, tuple[str, int]] = {}

    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        lane = lanes.get(key, LANE)
        try:
            ticket.enter(lane, "/".join(key))
        except Closed:
            return Next(after=660.0)
        if lane == LANE:
            await world.clock.sleep(5.0)
            ticket.failed(lane, "no answer")
            return Next(failed=True)
        ticket.opened(lane)
        done.append((key, lane))
        return Next(after=None)

    world = World(run=run)
    for number in range(100):
        world.queue.enqueue(("team", f"chat{number}"))
    await world.clock.advance(7.0)
    key = ("team", "chat99")
    lanes[key] = other
    world.queue.enqueue(key, changed=True)
    await world.clock.advance(0.1)
    assert done == [(key, other)]
    await world.queue.drain(0)


async def test_a_lane_that_was_down_is_entered_by_one_first_then_by_more() -> None:
    at_once: list[int] = []

    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        try:
            ticket.enter(LANE, "/".join(key))
        except Closed:
            return Next(after=660.0)
        if not world.answers[LANE]:
            ticket.failed(LANE, "refused")
            return Next(failed=True)
        at_once.append(world.lanes.counts().held)
        await world.clock.sleep(0.1)
        ticket.opened(LANE, "/".join(key))
        return Next(after=None)

    world = World(run=run)
    world.answers[LANE] = False
    for number in range(60):
        world.queue.enqueue((f"team-{number % 9}", f"chat{number}"))
    await world.clock.advance(20.0)
    world.answers[LANE] = True
    await world.clock.advance(10.0)
    assert len(at_once) == 60
    assert at_once[0] == 1
    assert max(at_once) == 8
    assert world.outages == [(LANE, False), (LANE, True)]


async def test_lanes_in_numbers() -> None:
    """Two hosts of which one is down, one refuses a credential, one is full, and none is named."""

    async def silent(name: object) -> bool:
        return False

    clock = VirtualClock()
    lanes = Lanes(clock, silent, slots=4)
    assert lanes.counts() == Counts(open=0, down=0, refused=0, full=0, slots=0, held=0, api=True)
    for host in ("a", "b", "c", "d"):
        assert lanes.take((host, 5432), "ns")
    assert lanes.take(("d", 5432), "ns")
    for host in ("b", "c"):
        lanes.refused((host, 5432), "app", "no")
    lanes.failed(("a", 5432), "away")
    await clock.settle()
    now = lanes.counts()
    assert (now.open, now.down, now.refused, now.full, now.held) == (1, 1, 2, 1, 5)
    lanes.forget_verdict(("b", 5432), "app")
    lanes.opened(("c", 5432), "app")
    lanes.failed(API, "away")
    now = lanes.counts()
    assert (now.open, now.down, now.refused, now.api) == (3, 1, 0, False)
    await lanes.close()


LEAVES = ["names another server", "is deleted", "is suspended", "has no way in any more"]


@pytest.mark.parametrize("how", LEAVES)
async def test_a_server_that_is_down_is_asked_no_more_once_nobody_needs_it(how: str) -> None:
    """Who moves away leaves a server behind that is switched off for good."""
    other, left = ("other.example.com", 5432), [False]

    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        if left[0] and how != "names another server":
            return Next(after=60.0 if how == "has no way in any more" else None, gone=how == "is deleted")
        lane = other if left[0] else LANE
        try:
            ticket.enter(lane, "admin")
        except Closed:
            return Next(after=660.0)
        if lane == LANE:
            ticket.failed(lane, "no answer")
            return Next(failed=True)
        ticket.opened(lane, "admin")
        return Next(after=None)

    world = World(run=run)
    world.answers[LANE] = False
    for name in ("chat", "same-way"):
        world.queue.enqueue(("team", name), changed=True, way="pg")
    await world.clock.advance(600.0)
    assert (world.lanes.counts().down, world.outages) == (1, [(LANE, False)])
    causes: list[object] = []
    world.lanes._outage = lambda name, over, cause, seconds: causes.append(cause)
    left[0] = True
    for name in ("chat", "same-way"):
        world.queue.enqueue(("team", name), changed=True, way="pg")
    await world.clock.advance(5.0)
    asked = len(world.probes)
    assert world.lanes.counts().down == 0
    assert causes == [LEFT], "its end is told of, too"
    await world.clock.advance(600.0)
    assert len(world.probes) == asked and world.lanes.counts().down == 0
    assert world.free()
    await world.queue.drain(0)


async def test_a_server_that_is_down_is_asked_for_whoever_is_left() -> None:
    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        if key == CHAT and len(world.runs) > 2:
            return Next(gone=True)
        try:
            ticket.enter(LANE, "admin")
        except Closed:
            return Next(after=660.0)
        ticket.failed(LANE, "no answer")
        return Next(failed=True)

    world = World(run=run)
    world.answers[LANE] = False
    for key in (CHAT, ("team", "other")):
        world.queue.enqueue(key, changed=True, way="pg")
    await world.clock.advance(30.0)
    world.queue.enqueue(CHAT, changed=True)
    await world.clock.advance(7_200.0)
    assert world.lanes.counts().down == 1
    assert world.clock.now() - world.probes[-1][0] <= 2.0
    await world.queue.drain(0)


async def test_a_refusal_counts_while_it_is_met_again_and_not_long_after() -> None:
    passwords = ["wrong"]

    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        try:
            ticket.enter(LANE, passwords[-1])
        except Closed:
            return Next(after=660.0)
        if passwords[-1] == "wrong":
            ticket.refused(LANE, "wrong", "refused")
        else:
            ticket.opened(LANE, "right")
        return Next(after=60.0)

    world = World(run=run)
    world.queue.enqueue(CHAT)
    await world.clock.advance(1.0)
    for _ in range(900):
        await world.clock.advance(1.0)
        assert world.lanes.counts().refused == 1
    passwords.append("right")
    world.queue.enqueue(CHAT, changed=True)
    await world.clock.advance(180.0)
    now = world.lanes.counts()
    assert (now.refused, now.open) == (0, 1), "the Secret was mended three minutes ago"
    await world.queue.drain(0)


async def test_who_works_no_more_asks_no_server_and_begins_anew_when_it_does() -> None:
    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        try:
            ticket.enter(LANE, "admin")
        except Closed:
            return Next(after=660.0)
        if not world.answers[LANE]:
            ticket.failed(LANE, "no answer")
            return Next(failed=True)
        ticket.opened(LANE, "admin")
        return Next(after=None)

    world = World(run=run)
    world.answers[LANE] = False
    world.queue.enqueue(CHAT, changed=True, way="pg")
    await world.clock.advance(30.0)
    assert world.lanes.counts().down == 1
    await world.queue.drain(0)
    await world.clock.advance(3.0)
    asked = len(world.probes)
    await world.clock.advance(600.0)
    assert len(world.probes) == asked, "another replica does"
    world.queue.resume()
    world.queue.enqueue(CHAT, changed=True, way="pg")
    await world.clock.advance(10.0)
    assert world.lanes.counts().down == 1 and len(world.probes) > asked
    world.answers[LANE] = True
    await world.clock.advance(10.0)
    assert (world.lanes.counts().down, world.lanes.counts().open) == (0, 1)
    await world.queue.drain(0)
