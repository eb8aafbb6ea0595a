"""How long a token is kept, when a new one is fetched, and who waits for it."""

import asyncio

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.identity.kept import AHEAD, MARGIN, PAUSE, Issued, Kept
from cipher_operator.identity.refusal import unavailable


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Cloud:
    """Gives t1, t2, … with a lifetime; fails while `refuses`; answers only when `open` is set."""

    def __init__(self, clock: Clock, seconds: float = 3600.0) -> None:
        self.clock, self.seconds = clock, seconds
        self.fetches, self.refuses, self.takes = 0, False, 0.0
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self) -> Issued[str]:
        self.fetches += 1
        number = self.fetches
        await self.open.wait()
        self.clock.now += self.takes
        if self.refuses:
            raise unavailable("Cloud refused: AccessDenied, HTTP 403.", "Mend it.")
        return Issued(f"t{number}", self.seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(clock: Clock) -> Kept[str]:
    return Kept("Cloud", clock)


async def settle() -> None:
    """Let a fetch that goes on beside come to its end."""
    for _ in range(10):
        await asyncio.sleep(0)


async def until_fetched(cloud: Cloud, fetches: int) -> None:
    await settle()
    assert cloud.fetches == fetches


async def test_one_fetch_serves_until_shortly_before_the_end(clock: Clock, kept: Kept[str]) -> None:
    cloud = Cloud(clock)
    assert await kept.get("key", cloud) == Issued("t1", 3600.0)
    clock.now += 3600 - AHEAD - 1
    assert await kept.get("key", cloud) == Issued("t1", AHEAD + 1)
    await until_fetched(cloud, 1)


async def test_a_new_one_is_fetched_beside_before_it_is_needed(clock: Clock, kept: Kept[str]) -> None:
    cloud = Cloud(clock)
    await kept.get("key", cloud)
    clock.now += 3600 - AHEAD
    cloud.open.clear()
    for _ in range(3):
        assert (await kept.get("key", cloud)).value == "t1"
    await until_fetched(cloud, 2)
    cloud.open.set()
    await until_fetched(cloud, 2)
    assert (await kept.get("key", cloud)).value == "t2"


@pytest.mark.parametrize("left", [MARGIN, MARGIN - 1, 0.0, -5_000.0])
async def test_what_has_less_than_a_minute_left_is_not_handed_out(clock: Clock, kept: Kept[str], left: float) -> None:
    cloud = Cloud(clock)
    await kept.get("key", cloud)
    clock.now += 3600 - left
    assert await kept.get("key", cloud) == Issued("t2", 3600.0)


@pytest.mark.parametrize("seconds", [61.0, 90.0, 150.0, 181.0, 900.0])
async def test_nor_is_it_where_its_whole_life_is_short(clock: Clock, kept: Kept[str], seconds: float) -> None:
    cloud = Cloud(clock, seconds)
    for _ in range(100):
        assert (await kept.get("key", cloud)).seconds > MARGIN
        await settle()
        clock.now += seconds / 7


async def test_with_a_minute_left_a_cloud_that_is_away_is_not_felt(clock: Clock, kept: Kept[str]) -> None:
    cloud = Cloud(clock)
    await kept.get("key", cloud)
    cloud.refuses = True
    clock.now += 3600 - MARGIN - 10
    assert (await kept.get("key", cloud)).value == "t1"
    await until_fetched(cloud, 2)
    # Not with each connection.
    assert (await kept.get("key", cloud)).value == "t1"
    await until_fetched(cloud, 2)
    clock.now += PAUSE
    assert (await kept.get("key", cloud)).value == "t1"
    await until_fetched(cloud, 3)
    clock.now += 10 - PAUSE
    with pytest.raises(Failure):
        await kept.get("key", cloud)


@pytest.mark.parametrize("seconds", [MARGIN, 1.0, 0.0, -5.0])
async def test_what_ends_at_once_is_no_token(clock: Clock, kept: Kept[str], seconds: float) -> None:
    with pytest.raises(Failure, match="Cloud gave something that ends within 60 s") as refused:
        await kept.get("key", Cloud(clock, seconds))
    assert refused.value.reason is Reason.IDENTITY_UNAVAILABLE


async def test_the_time_of_the_question_counts(clock: Clock, kept: Kept[str]) -> None:
    cloud = Cloud(clock, 64.0)
    cloud.takes = 4.5
    with pytest.raises(Failure):
        await kept.get("key", cloud)
    cloud.seconds = 1_000.0
    assert (await kept.get("another", cloud)).seconds == 995.5
    assert (await kept.get("another", cloud)).seconds == 995.5


async def test_a_short_life_is_renewed_in_its_last_third(clock: Clock, kept: Kept[str]) -> None:
    cloud = Cloud(clock, 300.0)
    await kept.get("key", cloud)
    clock.now += 199
    await kept.get("key", cloud)
    await until_fetched(cloud, 1)
    clock.now += 1
    await kept.get("key", cloud)
    await until_fetched(cloud, 2)


async def test_one_fetch_for_all_that_wait_and_one_for_each_key(clock: Clock, kept: Kept[str]) -> None:
    cloud = Cloud(clock)
    cloud.open.clear()
    waiting = [asyncio.create_task(kept.get(key, cloud)) for key in ["a"] * 20 + ["b"]]
    await until_fetched(cloud, 2)
    cloud.open.set()
    assert [each.value for each in await asyncio.gather(*waiting)] == ["t1"] * 20 + ["t2"]


async def test_who_is_cancelled_takes_it_from_nobody(clock: Clock, kept: Kept[str]) -> None:
    cloud = Cloud(clock)
    cloud.open.clear()
    first, second = (asyncio.create_task(kept.get("key", cloud)) for _ in range(2))
    await until_fetched(cloud, 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    cloud.open.set()
    assert (await second).value == "t1"
    assert cloud.fetches == 1


async def test_a_failure_counts_for_all_that_wait_and_for_two_seconds(clock: Clock, kept: Kept[str]) -> None:
    cloud = Cloud(clock)
    cloud.refuses = True
    cloud.open.clear()
    waiting = [asyncio.create_task(kept.get("key", cloud)) for _ in range(5)]
    await until_fetched(cloud, 1)
    cloud.open.set()
    failures = await asyncio.gather(*waiting, return_exceptions=True)
    assert {str(each) for each in failures} == {"Cloud refused: AccessDenied, HTTP 403. Mend it."}
    cloud.refuses = False
    clock.now += PAUSE - 0.1
    with pytest.raises(Failure):
        await kept.get("key", cloud)
    assert cloud.fetches == 1
    clock.now += 0.1
    assert (await kept.get("key", cloud)).value == "t2"


async def test_what_nobody_asks_for_any_more_is_forgotten(clock: Clock, kept: Kept[str]) -> None:
    cloud = Cloud(clock)
    for number in range(50):
        await kept.get(number, cloud)
        clock.now += 3600
    assert len(kept._entries) == 1


async def test_a_defect_is_not_taken_for_a_refusal(kept: Kept[str]) -> None:
    async def broken() -> Issued[str]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await kept.get("key", broken)


async def test_what_is_worth_nothing_is_fetched_anew_and_nothing_else(clock: Clock, kept: Kept[str]) -> None:
    cloud = Cloud(clock)
    first = await kept.get("a", cloud)
    assert not kept.forget("a", "another")
    assert not kept.forget("b")
    assert (await kept.get("a", cloud)).value == first.value
    assert kept.forget("a", first.value)
    assert (await kept.get("a", cloud)).value != first.value


async def test_closing_ends_what_is_under_way(clock: Clock, kept: Kept[str]) -> None:
    cloud = Cloud(clock)
    cloud.open.clear()
    waiting = asyncio.create_task(kept.get("key", cloud))
    await until_fetched(cloud, 1)
    await kept.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_a_token_is_not_in_what_is_printed() -> None:
    assert "t1" not in repr(Issued("t1", 3600.0))
