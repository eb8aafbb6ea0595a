"""How many slots a lane has, as whoever runs its server says: by whom it was said, not by the login that is used."""

import pytest

from cipher_operator.queue.following import Next
from cipher_operator.queue.lanes import IDLE_SECONDS, Lanes
from cipher_operator.queue.offers import Offer
from cipher_operator.queue.ticket import Ticket
from support.queue_world import VirtualClock

SERVER, OTHER = ("db.example.com", 5432), ("new.example.com", 5432)


async def works(name: object) -> bool:
    return True


@pytest.fixture
def lanes() -> Lanes:
    return Lanes(VirtualClock(), works, slots=8)


def enter(lanes: Lanes, offer: Offer | None, *, name: object = SERVER, login: str = "admin") -> Next:
    """Enter and leave as a run that ends well, often enough for all slots to be open."""
    for _ in range(5):
        ticket = Ticket(lanes, "team")
        ticket.enter(name, login, offer)
        ticket.opened(name, login)
        ticket.close()
    return Next()


async def test_a_limit_that_is_raised_counts_at_once_also_where_the_login_was_changed_before(lanes: Lanes) -> None:
    enter(lanes, Offer("prod", 2))
    assert lanes.counts().slots == 2
    enter(lanes, Offer("prod", 6), login="the next password")
    assert lanes.counts().slots == 6
    enter(lanes, Offer("prod"))
    assert lanes.counts().slots == 8, "the setting"


async def test_who_enters_without_an_offer_takes_nobodys_away(lanes: Lanes) -> None:
    """A storage with the same login in a Secret of its own, the app's login."""
    enter(lanes, Offer("prod", 2))
    enter(lanes, None)
    enter(lanes, None, login="app")
    assert lanes.counts().slots == 2


async def test_the_least_of_several_counts_until_who_said_it_is_gone(lanes: Lanes) -> None:
    enter(lanes, Offer("prod", 6))
    enter(lanes, Offer("twin", 3), login="other")
    assert lanes.counts().slots == 3
    lanes.offers.withdraw("twin")
    assert lanes.counts().slots == 6
    lanes.offers.withdraw("twin")
    lanes.offers.clear()
    assert lanes.counts().slots == 8


async def test_who_leads_to_another_host_says_nothing_of_the_first(lanes: Lanes) -> None:
    enter(lanes, Offer("prod", 2))
    enter(lanes, Offer("prod", 2), name=OTHER)
    assert lanes.counts().slots == 8 + 2


async def test_an_offer_stands_before_the_lane_is_known_again() -> None:
    clock = VirtualClock()
    lanes = Lanes(clock, works, slots=8)
    enter(lanes, Offer("prod", 1))
    await clock.advance(0.9 * IDLE_SECONDS)
    assert lanes.take(SERVER, "team")
    assert not lanes.take(SERVER, "team")


async def test_what_nobody_uses_is_forgotten() -> None:
    clock = VirtualClock()
    lanes = Lanes(clock, works, slots=8)
    for number in range(100):
        enter(lanes, Offer(f"prod{number}", 1), name=(f"db{number}", 5432))
    await clock.advance(3 * IDLE_SECONDS)
    assert lanes.known == 0
    lanes.offers.withdraw("prod7")
    enter(lanes, None, name=("db7", 5432))
    assert lanes.counts().slots == 8
