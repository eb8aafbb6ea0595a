"""Servers that say nothing, credentials that are refused, an API server in trouble: nobody else waits for them."""

import pytest

from cipher_operator.queue.following import Next
from cipher_operator.queue.needs import API, Closed
from cipher_operator.queue.ticket import Ticket
from support.queue_world import Key, World

HEALTHY = ("healthy.example.com", 5432)
TIMEOUT = 5.0


def lane_of(key: Key) -> tuple[str, int]:
    """Return the server of a storage: named in its own name, the healthy one else."""
    server, dash, _ = key[1].partition("-")
    return (f"{server}.example.com", 5432) if dash else HEALTHY


async def login(world: World, key: Key, ticket: Ticket, credential: str) -> Next:
    """Log in as a run does: a silent server takes the whole connect timeout."""
    lane = lane_of(key)
    try:
        ticket.enter(lane, credential)
    except Closed:
        return Next(after=660.0)
    if lane != HEALTHY:
        await world.clock.sleep(TIMEOUT)
        ticket.failed(lane, "no answer")
        return Next(failed=True)
    await world.clock.sleep(0.1)
    ticket.opened(lane, credential)
    return Next(after=300.0)


async def own(world: World, key: Key, ticket: Ticket) -> Next:
    return await login(world, key, ticket, "/".join(key))


async def shared(world: World, key: Key, ticket: Ticket) -> Next:
    return await login(world, key, ticket, "admin")


SILENT: dict[str, tuple[int, int, bool]] = {
    "one that the probe finds silent": (1, 200, False),
    "one that answers the probe, and then no login": (1, 200, True),
    "eight of them": (8, 25, True),
}


@pytest.mark.parametrize("logins", [own, shared], ids=["own logins", "one login"])
@pytest.mark.parametrize("case", list(SILENT))
async def test_a_storage_on_a_healthy_server_waits_for_no_silent_one(case: str, logins: object) -> None:
    servers, each, answers = SILENT[case]
    world = World(run=logins)  # type: ignore[arg-type]
    for server in range(servers):
        world.answers[f"s{server}.example.com", 5432] = answers
        for number in range(each):
            world.queue.enqueue((f"team-{server % 3}", f"s{server}-{number}"))
    waits = []
    for moment, later in enumerate((1.0, 4.0, 7.0, 20.0, 60.0)):
        await world.clock.advance(later)
        key = ("shop", f"chat{moment}")
        asked = world.clock.now()
        world.queue.enqueue(key)
        await world.clock.advance(1.0)
        started = [when for when, run in world.runs if run == key]
        assert started, f"not started within a second, {asked - 1_000:g} s after the others"
        waits.append(started[0] - asked)
    assert max(waits) < 1.0
    assert world.most <= world.workers
    await world.queue.drain(0)


@pytest.mark.parametrize("namespaces", [1, 2], ids=["one namespace", "two of one owner"])
async def test_a_server_that_comes_back_waits_for_no_others_that_take_long_to_fail(namespaces: int) -> None:
    """They answer the probe, let one in, and keep him for as long as a run may take, each time: one owner's."""
    back = ("back.example.com", 5432)

    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        evil = key[0].startswith("evil")
        lane = (f"{key[1]}.example.com", 5432) if evil else back
        try:
            ticket.enter(lane, "admin")
        except Closed:
            return Next(after=660.0)
        if evil or not world.answers[back]:
            await world.clock.sleep(60.0 if evil else TIMEOUT)
            ticket.failed(lane, "no answer")
            return Next(failed=True)
        ticket.opened(lane, "admin")
        return Next(after=10.0)

    world = World(run=run)
    for number in range(40):
        world.queue.enqueue((f"evil{number % namespaces}", f"tarpit{number}"))
    world.answers[back] = True
    world.queue.enqueue(("shop", "chat"))
    waits = []
    for _ in range(10):
        await world.clock.advance(70.0)
        world.answers[back] = False
        await world.clock.advance(47.0)
        world.answers[back] = True
        since = world.clock.now()
        await world.clock.advance(60.0)
        waits.append(min(when for when, key in world.runs if key[0] == "shop" and when > since) - since)
    assert max(waits) < 6.0, "a probe, and a run"
    await world.queue.drain(0)


async def test_namespaces_whose_runs_take_as_long_as_they_may_leave_workers_to_others() -> None:
    """Servers that let one in and answer slowly are neither down nor suspect: each namespace has many."""

    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        lane = (f"{'-'.join(key)}.example.com", 5432)
        ticket.enter(lane, "admin")
        ticket.opened(lane, "admin")
        await world.clock.sleep(60.0 if key[0].startswith("evil") else 0.1)
        return Next(after=300.0)

    world = World(run=run)
    for number in range(200):
        world.queue.enqueue((f"evil{number % 6}", f"chat{number}"))
    await world.clock.advance(1.0)
    for number in range(20):
        key = ("shop", f"chat{number}")
        world.queue.enqueue(key)
        await world.clock.advance(3.0)
        assert world.count(key) == 1
    assert world.most <= world.workers
    await world.queue.drain(0)


async def test_what_is_nobodys_leaves_no_workers_to_others() -> None:
    """CipherServers are in no namespace."""

    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        await world.clock.sleep(1.0)
        return Next(after=None)

    world = World(run=run, workers=8, share=8)
    for number in range(20):
        world.queue.enqueue(("", f"prod{number}"))
    await world.clock.advance(0.5)
    assert world.queue.running == 8
    await world.queue.drain(0)


async def test_all_storages_of_a_server_that_stays_down_say_so_and_go_on_when_it_is_back() -> None:
    world = World(run=shared)
    world.answers["s0.example.com", 5432] = False
    keys = [("team", f"s0-{number}") for number in range(50)]
    for key in keys:
        world.queue.enqueue(key)
    await world.clock.advance(30.0)
    assert all(world.count(key) for key in keys)
    tried = len(world.runs)
    await world.clock.advance(120.0)
    assert len(world.runs) - tried < 60, "what is down is probed, not tried"
    probes = [when for when, name in world.probes if when > world.clock.now() - 100]
    assert 40 <= len(probes) <= 51, "one probe every two seconds"
    world.answers["s0.example.com", 5432] = True
    await world.clock.advance(2.1)
    assert len(world.runs) > tried, "it is tried again the moment it answers"
    await world.queue.drain(0)


async def test_a_refused_credential_is_tried_once_a_minute_and_told_to_all() -> None:
    tries: list[float] = []

    async def refused(world: World, key: Key, ticket: Ticket) -> Next:
        try:
            ticket.enter(HEALTHY, "admin")
        except Closed as closed:
            assert closed.cause == "refused"
            return Next(after=660.0)
        tries.append(world.clock.now())
        await world.clock.sleep(0.01)
        ticket.refused(HEALTHY, "admin", "refused")
        return Next(after=60.0)

    world = World(run=refused)
    keys = [("team", f"chat{number}") for number in range(100)]
    for key in keys:
        world.queue.enqueue(key)
    await world.clock.advance(5.0)
    assert len(tries) == 1
    assert all(world.count(key) for key in keys), "each can say it in its status"
    await world.clock.advance(600.0)
    assert 8 <= len(tries) <= 11, "one try a minute for all of them"
    assert world.free()


async def test_a_thousand_storages_under_429_send_few_requests_and_one_line() -> None:
    requests: list[float] = []

    async def limited(world: World, key: Key, ticket: Ticket) -> Next:
        requests.append(world.clock.now())
        await world.clock.sleep(0.01)
        ticket.failed(API, "429", retry_after=1.0)
        return Next(failed=True)

    world = World(run=limited, share=32)
    world.answers[API] = 1.0
    for number in range(1_000):
        world.queue.enqueue((f"team-{number % 50}", f"chat{number}"))
    await world.clock.advance(600.0)
    asked = [*requests, *(when for when, name in world.probes if name == API)]
    first = min(asked)
    assert sum(1 for when in asked if when < first + 1) <= 33, "the first wave is as wide as there are workers"
    for second in range(1, 600):
        assert sum(1 for when in asked if second <= when - first < second + 1) < 10
    assert world.outages == [(API, False)], "one line at the begin"

    async def good(world: World, key: Key, ticket: Ticket) -> Next:
        return Next(after=300.0)

    world.run = good
    world.answers[API] = True
    await world.clock.advance(60.0)
    assert world.outages == [(API, False), (API, True)], "and one at the end"
    assert len({key for _, key in world.runs}) == 1_000
    assert world.free()


@pytest.mark.parametrize(
    ("alone", "most"), [(False, 60), (True, 240)], ids=["that refuses all", "that fails, perhaps on an object of each"]
)
async def test_an_api_server_that_answers_probes_and_no_runs_is_not_hammered(alone: bool, most: int) -> None:
    requests: list[float] = []

    async def limited(world: World, key: Key, ticket: Ticket) -> Next:
        requests.append(world.clock.now())
        if alone:
            ticket.failed_alone("500", key[0])
        else:
            ticket.failed(API, "429")
        return Next(failed=True)

    world = World(run=limited)
    for number in range(1_000):
        world.queue.enqueue((f"team-{number % 50}", f"chat{number}"))
    await world.clock.advance(600.0)
    later = [when for when in requests if when > 1_120]
    assert len(later) < most, "the pause grows from outage to outage"
    assert world.outages == [(API, False)]


@pytest.mark.parametrize(("objects", "namespaces"), [(1, 1), (3, 3), (30, 1)])
async def test_who_has_an_object_that_the_api_server_fails_on_holds_up_nobody(objects: int, namespaces: int) -> None:
    """A Secret that it cannot decrypt: the lane of all was closed for it, again and again, for half a minute each."""

    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        await world.clock.sleep(0.05)
        if key[0] == "shop":
            return Next(after=300.0)
        ticket.failed_alone("500 InternalError", key[0])
        return Next(failed=True)

    world = World(run=run)
    for number in range(objects):
        world.queue.enqueue((f"team-{number % namespaces}", f"chat{number}"))
    for number in range(60):
        await world.clock.advance(7.0)
        world.queue.enqueue(("shop", f"chat{number}"))
        await world.clock.advance(0.1)
        assert world.count(("shop", f"chat{number}")) == 1
    failing = sum(1 for _, key in world.runs if key[0] != "shop")
    assert failing <= 15 * objects, "each is tried as often as it may be, up to once a minute"
    assert world.outages == []


async def test_twenty_storages_of_one_secret_learn_from_the_first() -> None:
    world = World(run=shared)
    for number in range(20):
        world.queue.enqueue(("team", f"chat{number}"), changed=True, way="pg-admin")
    await world.clock.advance(5.0)
    assert len(world.runs) <= 22, "none looks in vain"
    assert world.free()


async def test_a_verdict_is_no_business_of_those_who_use_another_credential() -> None:
    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        try:
            ticket.enter(HEALTHY, key[1])
        except Closed:
            return Next(after=None)
        if key[1] == "refused" and len(world.runs) > 2:
            ticket.refused(HEALTHY, key[1], "refused")
        else:
            ticket.opened(HEALTHY, key[1])
        return Next(after=None)

    world = World(run=run)
    for name in ("refused", "fine"):
        world.queue.enqueue(("team", name))
    await world.clock.advance(1.0)
    world.queue.enqueue(("team", "refused"))
    await world.clock.advance(300.0)
    assert world.count(("team", "fine")) == 1
    assert world.count(("team", "refused")) > 3


BESIDE: dict[str, tuple[int, int]] = {
    "one build": (1, 1),
    "as many as a server takes": (1, 2),
    "as many as all servers that fail may have runs": (4, 2),
}


@pytest.mark.parametrize("case", list(BESIDE))
async def test_a_server_that_comes_back_waits_for_no_work_beside_the_runs(case: str) -> None:
    """The build of an index goes on over a connection that it has, or over one that nobody answers any more."""
    servers, builds = BESIDE[case]
    lanes = [(f"s{number}.example.com", 5432) for number in range(servers)]
    back = ("back.example.com", 5432)
    away: set[tuple[str, int]] = set()
    held, done = [], set[Key]()

    async def run(world: World, key: Key, ticket: Ticket) -> Next:
        name, _, what = key[1].partition("-")
        lane = (f"{name}.example.com", 5432)
        try:
            ticket.enter(lane, "admin")
        except Closed:
            return Next(after=660.0)
        await world.clock.sleep(0.1)
        if lane in away:
            ticket.failed(lane, "no answer")
            return Next(failed=True)
        ticket.opened(lane, "admin")
        if what.startswith("big"):
            held.append(ticket.detach(lane))
            return Next(after=None)
        done.add(key)
        return Next(after=300.0)

    world = World(run=run)
    for lane in (*lanes, back):
        world.answers[lane] = True
        for number in range(4):
            world.queue.enqueue((f"team-{number}", f"{lane[0].partition('.')[0]}-chat"))
    await world.clock.advance(5.0)
    for number in range(servers * builds):
        world.queue.enqueue((f"team-{number % builds}", f"s{number // builds}-big{number}"))
    await world.clock.advance(5.0)
    assert len(held) == servers * builds
    away |= {*lanes, back}
    for lane in (*lanes, back):
        world.queue.enqueue(("team-3", f"{lane[0].partition('.')[0]}-chat"))
    await world.clock.advance(1.0)
    away.difference_update([lanes[0], back])
    for name in ("s0", "back"):
        world.queue.enqueue(("shop", f"{name}-chat"))
        await world.clock.advance(20.0)
        assert ("shop", f"{name}-chat") in done, f"{name} waits for a build"
    assert world.lanes.counts().held == servers * builds
    away.clear()
    for give in held:
        give()
    await world.clock.advance(100.0)
    assert world.free()
