"""How many checks run at once, by what they take."""

import pytest

from cipher_operator.queue.following import Next
from cipher_operator.queue.share import WINDOW, Share
from cipher_operator.queue.ticket import Ticket
from support.queue_world import Key, World

NEAR, FAR = ("near", 5432), ("far", 5432)
WORKERS, MOST, FEW = 32, 16, 4


def alone(share: Share) -> int:
    """Return how many checks may run while nothing else does."""
    return share.places(alone=True)


def learnt(*seconds: float, needs: tuple[str, int] = NEAR, now: float = 0.0, share: Share | None = None) -> Share:
    """Return what many checks that take so long make of it."""
    share = share or Share(WORKERS)
    for _ in range(100):
        for each in seconds:
            share.took(needs, each, now)
    return share


def test_few_at_first_and_beside_what_is_new() -> None:
    assert alone(Share(WORKERS)) == FEW
    share = learnt(0.1)
    assert share.places(alone=False) == FEW


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_one_check_at_least(workers: int) -> None:
    share = Share(workers)
    for number in range(100):
        share.took(NEAR, 1.0 + number, 0.0)
    assert (share.places(alone=True), share.places(alone=False)) == (1, 1)


def test_checks_that_do_not_wait_for_each_other_become_many() -> None:
    assert alone(learnt(0.1)) == MOST


def test_checks_that_wait_for_each_other_become_few_and_more_again() -> None:
    share = learnt(0.5, share=learnt(0.1))
    assert alone(share) == FEW
    assert alone(learnt(0.12, share=share)) == MOST


def test_a_server_that_is_far_away_makes_them_no_fewer() -> None:
    assert alone(learnt(0.9, needs=FAR, share=learnt(0.05))) == MOST


def test_the_first_look_at_each_server_tells_nothing() -> None:
    share = Share(WORKERS)
    for number in range(1_000):
        share.took((f"s{number}", 5432), 0.1, 0.0)
    assert alone(share) == FEW


def test_what_was_quick_once_counts_for_a_while() -> None:
    share = learnt(0.1, now=WINDOW + 1)
    assert alone(learnt(0.9, now=2 * WINDOW + 2, share=share)) == FEW, "the quickest of the window before"
    assert alone(learnt(0.9, now=3 * WINDOW + 3, share=share)) == MOST


async def at_once(world: World, key: Key, ticket: Ticket) -> Next:
    """Take as many times as long as there are checks: on a machine that is busy without pause."""
    ticket.enter((key[0], 5432), "admin")
    await world.clock.sleep(0.05 * world.queue.running)
    ticket.opened((key[0], 5432), "admin")
    return Next(after=10.0)


async def test_checks_of_many_servers_are_few_on_a_machine_that_is_busy_with_them() -> None:
    world = World(run=at_once, workers=WORKERS, slots=100)
    for number in range(2_000):
        world.queue.enqueue((f"team-{number % 40}", f"chat{number}"), urgent=False)
    await world.clock.advance(60.0)
    assert FEW <= world.queue.running <= 2 * FEW
    await world.queue.drain(0)


async def test_what_only_waits_for_a_server_runs_by_half_of_the_workers() -> None:
    async def waits(world: World, key: Key, ticket: Ticket) -> Next:
        ticket.enter((key[0], 5432), "admin")
        await world.clock.sleep(0.5)
        ticket.opened((key[0], 5432), "admin")
        return Next(after=10.0)

    world = World(run=waits, workers=WORKERS, slots=100)
    for number in range(2_000):
        world.queue.enqueue((f"team-{number % 40}", f"chat{number}"), urgent=False)
    await world.clock.advance(60.0)
    assert world.queue.running == MOST
    await world.queue.drain(0)
