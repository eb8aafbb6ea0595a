"""Namespaces that share a server: one whose runs take long, or are asked for without end, keeps no other waiting."""

import pytest

from cipher_operator.queue.entry import AT_ONCE, GAP
from cipher_operator.queue.following import Next
from cipher_operator.queue.needs import Busy
from cipher_operator.queue.offers import Offer
from cipher_operator.queue.queue import Queue
from cipher_operator.queue.ticket import Ticket
from support.queue_world import Key, World

SERVER = ("db.example.com", 5432)
ASLEEP = 45.0
"""Seconds that a message may take: a trigger or a lock of the tenant's own keeps a run for so long."""


async def run(world: World, key: Key, ticket: Ticket) -> Next:
    """Log in as administrator, then as the app, whose tables sleep where the namespace is one of the evil."""
    ticket.enter(SERVER, "admin")
    await world.clock.sleep(0.05)
    ticket.opened(SERVER, "admin")
    ticket.enter(SERVER, "/".join(key))
    await world.clock.sleep(ASLEEP if key[0].startswith("evil") else 0.05)
    ticket.opened(SERVER, "/".join(key))
    return Next(failed=key[0].startswith("evil"), after=300.0)


async def proven(slots: int = 8, share: int = 8) -> World:
    """Return a world whose server is known to work, with all its slots, and has storages of two namespaces."""
    made = World(run=run, slots=slots, share=share)
    for number in range(10):
        made.queue.enqueue(("team", f"before{number}"), changed=True, way="server")
        made.queue.enqueue(("other", f"before{number}"), changed=True, way="server")
        await made.clock.advance(1.0)
    assert made.free()
    return made


async def waited(world: World, key: Key) -> float:
    """Return after how many seconds a new storage began."""
    asked = world.clock.now()
    world.queue.enqueue(key, changed=True, way="server")
    for _ in range(600):
        await world.clock.advance(0.1)
        if world.count(key):
            return next(when for when, each in world.runs if each == key) - asked
    return 60.0


@pytest.mark.parametrize("namespaces", [1, 2], ids=["one namespace", "two of one owner"])
@pytest.mark.parametrize("urgent", [True, False], ids=["changed", "due checks"])
async def test_who_sleeps_leaves_room_for_others(namespaces: int, urgent: bool) -> None:
    world = await proven()
    for number in range(60):
        key = (f"evil{number % namespaces}", f"chat{number}")
        world.queue.enqueue(key, urgent=urgent, changed=True, way="server")
    waits = []
    for number in range(20):
        await world.clock.advance(3.3)
        waits.append(await waited(world, ("shop", f"chat{number}")))
    assert max(waits) < 0.3, "behind an honest one at most"
    await world.queue.drain(0)


@pytest.mark.parametrize(("slots", "most"), [(1, 1), (2, 1), (3, 2), (4, 3), (8, 6), (12, 9)], ids=str)
async def test_how_many_slots_one_namespace_takes_of_a_server_that_others_use(slots: int, most: int) -> None:
    world = await proven(slots, share=16)
    for number in range(60):
        world.queue.enqueue(("evil", f"chat{number}"), changed=True, way="server")
    await world.clock.advance(1.0)
    assert world.lanes.counts().held == most
    await world.queue.drain(0)


async def test_a_namespace_that_is_alone_takes_all() -> None:
    world = World(run=run)
    for number in range(30):
        world.queue.enqueue(("team", f"chat{number}"), changed=True, way="server")
    await world.clock.advance(0.42)
    assert world.lanes.counts().held == 8, "where nobody else could come nothing is kept free"
    await world.queue.drain(0)


async def test_who_comes_first_of_a_second_namespace_waits_for_one_run_and_no_other() -> None:
    world = World(run=run)
    for number in range(30):
        world.queue.enqueue(("team", f"before{number}"), changed=True, way="server")
    await world.clock.advance(10.0)
    for number in range(60):
        world.queue.enqueue(("evil", f"chat{number}"), changed=True, way="server")
        if number == 7:
            for known in range(30):
                world.queue.forget(("team", f"before{known}"))
            await world.clock.advance(1.0)
    assert world.lanes.counts().held == 8, "alone"
    assert await waited(world, ("shop", "first")) < ASLEEP
    await world.clock.advance(ASLEEP)
    assert [await waited(world, ("shop", f"later{number}")) < 0.3 for number in range(5)] == [True] * 5
    await world.queue.drain(0)


@pytest.mark.parametrize(("slots", "most"), [(None, 6), (2, 1), (1, 1)], ids=["8", "2", "1"])
async def test_of_a_server_that_is_open_to_others_who_comes_first_leaves_room_at_once(
    slots: int | None, most: int
) -> None:
    """A CipherServer says so before anybody else has come: what is taken cannot be taken back."""

    async def few(world: World, key: Key, ticket: Ticket) -> Next:
        ticket.enter(SERVER, "admin", Offer("prod", slots, several=True))
        return await run(world, key, ticket)

    world = World(run=few)
    for number in range(30):
        world.queue.enqueue(("team", f"before{number}"), changed=True, way="server")
        await world.clock.advance(1.0)
    for number in range(60):
        world.queue.enqueue(("evil", f"chat{number}"), changed=True, way="server")
    for known in range(30):
        world.queue.forget(("team", f"before{known}"))
    await world.clock.advance(1.0)
    assert world.lanes.counts().held == most
    wait = await waited(world, ("shop", "first"))
    assert wait < (0.3 if slots != 1 else ASLEEP)
    await world.queue.drain(0)


async def test_a_thousand_storages_that_fail_keep_nobody_waiting() -> None:
    async def fails(world: World, key: Key, ticket: Ticket) -> Next:
        ticket.enter(SERVER, "admin", Offer("prod", several=True))
        ticket.opened(SERVER, "admin")
        await world.clock.sleep(0.3 if key[0] == "evil" else 0.05)
        return Next(failed=key[0] == "evil", after=300.0)

    world = World(run=fails)
    for number in range(1_000):
        world.queue.enqueue(("evil", f"chat{number}"), changed=True, way="server")
    waits = []
    for number in range(8):
        await world.clock.advance(5.0)
        waits.append(await waited(world, ("shop", f"chat{number}")))
    assert max(waits) <= 0.1
    assert len(world.runs) < 1_000 + 40 * 6 / 0.3, "no more than six at once"
    await world.queue.drain(0)


async def offered(world: World, key: Key, ticket: Ticket) -> Next:
    ticket.enter(SERVER, "admin", Offer("prod", several=True))
    return await run(world, key, ticket)


async def test_the_first_two_slots_of_a_new_server_are_not_both_one_namespaces() -> None:
    world = World(run=offered)
    world.queue.enqueue(("evil", "first"), changed=True, way="server")
    await world.clock.advance(1.0)
    for number in range(60):
        world.queue.enqueue(("evil", f"chat{number}"), changed=True, way="server")
    await world.clock.advance(1.0)
    assert world.lanes.counts().held == 1
    assert await waited(world, ("shop", "first")) < 0.3
    await world.queue.drain(0)


async def test_who_waits_for_a_login_to_be_tried_goes_on_when_it_was_accepted() -> None:
    """And not when the run has ended that tried it, which may take its time: all begin at once, after a restart."""
    world = World(run=offered)
    for number in range(10):
        world.queue.enqueue(("evil", f"chat{number}"), changed=True, way="server")
        world.queue.enqueue((f"shop{number}", "chat"), changed=True, way="server")
    await world.clock.advance(2.0)
    assert all(world.count((f"shop{number}", "chat")) for number in range(10))
    await world.queue.drain(0)


async def test_who_runs_a_server_has_a_turn_of_its_only_slot() -> None:
    """Its own look is in another queue than the storages, of which there is always one that waits."""
    world = World(run=run, slots=1)
    looks = []

    async def look(key: Key, ticket: Ticket) -> Next:
        ticket.enter(SERVER, "admin")
        ticket.opened(SERVER, "admin")
        looks.append(world.clock.now())
        return Next(after=100.0)

    servers: Queue[Key] = Queue(look, workers=8, workers_per_namespace=8, lanes=world.lanes, clock=world.clock)
    for number in range(60):
        world.queue.enqueue((f"evil{number % 3}", f"chat{number}"), changed=True, way="server")
    await world.clock.advance(1.0)
    servers.enqueue(("", "prod"), changed=True)
    await world.clock.advance(2 * ASLEEP + 1.0)
    assert len(looks) >= 1
    await world.queue.drain(0)
    await servers.drain(0)


async def test_many_due_checks_of_one_namespace_let_anothers_pass() -> None:
    """Each has a login of its own, so no two of them need the same."""
    world = World(run=run, slots=2)
    for number in range(100):
        world.queue.enqueue(("crowd", f"chat{number}"), changed=True, way="server")
    world.queue.enqueue(("shop", "chat"), changed=True, way="server")
    await world.clock.advance(60.0)
    for number in range(100):
        world.queue.enqueue(("crowd", f"chat{number}"), urgent=False)
    before = world.count(("shop", "chat"))
    world.queue.enqueue(("shop", "chat"), urgent=False)
    await world.clock.advance(0.5)
    assert world.count(("shop", "chat")) == before + 1
    await world.queue.drain(0)


async def test_a_run_with_two_logins_to_a_server_holds_one_slot() -> None:
    world = World(run=run)
    world.queue.enqueue(("team", "chat"))
    await world.clock.advance(1.0)
    world.queue.enqueue(("team", "chat"))
    await world.clock.advance(0.01)
    assert world.lanes.counts().held == 1
    await world.queue.drain(0)


async def test_a_run_that_was_let_in_and_then_cut_off_says_nothing_against_the_server() -> None:
    """The tables that it hung at are the tenant's."""

    async def cut_off(world: World, key: Key, ticket: Ticket) -> Next:
        if not key[0].startswith("evil"):
            return await run(world, key, ticket)
        ticket.enter(SERVER, "admin")
        ticket.opened(SERVER, "admin")
        ticket.hung("cut off")
        return Next(failed=True)

    world = await proven()
    world.run = cut_off
    world.queue.enqueue(("evil", "chat"), changed=True, way="server")
    await world.clock.advance(0.1)
    assert world.lanes.counts().slots == 8
    assert not world.probes


async def test_who_changes_a_storage_all_the_time_is_run_now_and_then() -> None:
    seen: list[float] = []

    async def look(world: World, key: Key, ticket: Ticket) -> Next:
        await world.clock.sleep(0.02)
        seen.append(world.clock.now())
        return Next(after=None)

    world = World(run=look)
    for _ in range(1_000):
        world.queue.enqueue(("evil", "chat"), changed=True, way="server")
        await world.clock.advance(0.06)
    assert len(seen) <= AT_ONCE + 60 / GAP + 1
    assert seen[AT_ONCE - 1] < 1_002.0, "as soon as they are asked for"
    last = world.clock.now()
    await world.clock.advance(GAP)
    assert seen[-1] >= last, "what it was in the end is seen"
    ended = len(seen)
    await world.clock.advance(1_000.0)
    assert len(seen) == ended
    world.queue.enqueue(("evil", "chat"))
    await world.clock.advance(0.1)
    assert len(seen) == ended + 1, "at once again"
    assert world.free()


async def test_who_finds_no_room_has_not_begun() -> None:
    tries = []

    async def full(world: World, key: Key, ticket: Ticket) -> Next:
        tries.append(world.clock.now())
        if len(tries) <= 3 * AT_ONCE:
            raise Busy
        return Next(after=None)

    world = World(run=full)
    world.queue.enqueue(("team", "chat"))
    await world.clock.advance(1.0)
    assert len(tries) == 3 * AT_ONCE + 1


async def test_a_server_is_full_where_a_namespace_has_all_that_it_may() -> None:
    world = await proven()
    assert world.lanes.counts().full == 0
    for number in range(60):
        world.queue.enqueue(("evil", f"chat{number}"), changed=True, way="server")
    await world.clock.advance(1.0)
    assert world.lanes.counts().full == 1
    await world.queue.drain(0)


async def test_checks_that_sleep_leave_places_to_the_checks_of_others() -> None:
    """Beside what is new few checks are under way: one that never ends, and there is always one, keeps them so few."""
    world = await proven(slots=32)
    for number in range(60):
        world.queue.enqueue(("evil", f"chat{number}"), urgent=number == 0)
    await world.clock.advance(1.0)
    for number in range(10):
        key = ("shop", f"chat{number}")
        world.queue.enqueue(key, urgent=False)
        await world.clock.advance(0.2)
        assert world.count(key) == 1
    await world.queue.drain(0)
