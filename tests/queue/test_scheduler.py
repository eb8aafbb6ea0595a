"""One run per key, coalesced triggers, back-off, drain: on the real clock, in hundredths of a second."""

import asyncio
import contextvars
import itertools
import logging
from collections.abc import Callable

import pytest

from cipher_operator.queue import scheduler as module
from cipher_operator.queue.scheduler import Scheduler
from cipher_operator.reconcile.inventory import Key

A: Key = ("ns", "a")
B: Key = ("ns", "b")


class Work:
    """A run that takes as long as it is told and records itself."""

    def __init__(self, seconds: float = 0.0, returns: float | None = None) -> None:
        self.seconds, self.returns = seconds, returns
        self.started: list[Key] = []
        self.ended: list[Key] = []
        self.at_once = self.most_at_once = 0
        self.overlaps = 0
        self._under_way: set[Key] = set()

    async def __call__(self, key: Key) -> float | None:
        self.started.append(key)
        self.overlaps += key in self._under_way
        self._under_way.add(key)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
            self._under_way.discard(key)
        self.ended.append(key)
        return self.returns


async def until(true: Callable[[], bool], seconds: float = 2.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


async def test_triggers_before_a_run_are_one_run() -> None:
    work = Work()
    scheduler = Scheduler(work, 4)
    for _ in range(5):
        scheduler.trigger(A)
    await until(lambda: scheduler.known == 0)
    assert work.ended == [A]


async def test_triggers_during_a_run_are_exactly_one_more() -> None:
    work = Work(0.03)
    scheduler = Scheduler(work, 4)
    scheduler.trigger(A)
    await until(lambda: scheduler.running == 1)
    for _ in range(5):
        scheduler.trigger(A)
    await until(lambda: scheduler.known == 0)
    assert (len(work.ended), work.overlaps) == (2, 0)


async def test_concurrency_is_bounded_and_nothing_is_lost() -> None:
    work = Work(0.01)
    scheduler = Scheduler(work, 3)
    keys = [("ns", str(number)) for number in range(12)]
    for key in keys:
        scheduler.trigger(key)
    await asyncio.sleep(0.005)
    assert (scheduler.running, scheduler.waiting) == (3, 9)
    await until(lambda: scheduler.known == 0)
    assert sorted(work.ended) == sorted(keys)
    assert (work.most_at_once, work.overlaps) == (3, 0)


async def test_what_a_run_returns_is_when_it_comes_back() -> None:
    work = Work(returns=0.02)
    scheduler = Scheduler(work, 1)
    scheduler.trigger(A)
    await until(lambda: len(work.ended) >= 3)
    work.returns = None
    await until(lambda: scheduler.known == 0)


async def test_of_two_plans_the_earlier_counts() -> None:
    work = Work()
    scheduler = Scheduler(work, 1)
    scheduler.trigger(A, 0.02)
    scheduler.trigger(A, 30)
    await until(lambda: len(work.ended) == 1)


async def test_a_plan_made_during_a_run_survives_its_longer_return() -> None:
    work = Work(0.02, returns=30)
    scheduler = Scheduler(work, 1)
    scheduler.trigger(A)
    await until(lambda: scheduler.running == 1)
    scheduler.trigger(A, 0.04)
    await until(lambda: len(work.ended) == 2)


async def test_a_trigger_now_replaces_a_plan() -> None:
    work = Work()
    scheduler = Scheduler(work, 1)
    scheduler.trigger(A, 0.05)
    scheduler.trigger(A)
    await asyncio.sleep(0.1)
    assert work.ended == [A]


async def test_forget_drops_a_plan() -> None:
    work = Work()
    scheduler = Scheduler(work, 1)
    scheduler.trigger(A, 0.02)
    scheduler.forget(A)
    await asyncio.sleep(0.05)
    assert (work.started, scheduler.known) == ([], 0)


async def test_forget_drops_a_key_that_waits_for_a_slot() -> None:
    work = Work(0.02)
    scheduler = Scheduler(work, 1)
    scheduler.trigger(A)
    scheduler.trigger(B)
    await until(lambda: scheduler.running == 1)
    scheduler.forget(B)
    await until(lambda: scheduler.known == 0)
    assert work.started == [A]


async def test_forget_during_a_run_plans_no_other() -> None:
    work = Work(0.02, returns=0.01)
    scheduler = Scheduler(work, 1)
    scheduler.trigger(A)
    await until(lambda: scheduler.running == 1)
    scheduler.forget(A)
    await asyncio.sleep(0.08)
    assert (work.ended, scheduler.known) == ([A], 0)


async def test_an_object_made_again_waits_for_the_run_of_the_old_one() -> None:
    work = Work(0.02)
    scheduler = Scheduler(work, 2)
    scheduler.trigger(A)
    await until(lambda: scheduler.running == 1)
    scheduler.forget(A)
    scheduler.trigger(A)
    await until(lambda: scheduler.known == 0)
    assert (work.ended, work.overlaps) == ([A, A], 0)


async def test_an_exception_is_logged_and_tried_again_later_each_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "BACKOFF_BASE", 0.01)
    monkeypatch.setattr(module, "BACKOFF_CAP", 0.03)
    tries: list[float] = []

    async def run(key: Key) -> float | None:
        tries.append(asyncio.get_running_loop().time())
        if len(tries) < 5:
            raise RuntimeError("a bug")
        return None

    scheduler = Scheduler(run, 1, jitter=lambda low, high: high)
    with caplog.at_level(logging.ERROR):
        scheduler.trigger(A)
        await until(lambda: scheduler.known == 0)
    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert len(tries) == 5
    assert [round(gap, 2) for gap in gaps] == pytest.approx([0.01, 0.02, 0.03, 0.03], abs=0.011)
    assert [record.storage for record in caplog.records] == ["ns/a"] * 4  # type: ignore[attr-defined]


async def test_drain_waits_for_runs_and_takes_no_more() -> None:
    work = Work(0.05, returns=0.01)
    scheduler = Scheduler(work, 1)
    scheduler.trigger(A)
    scheduler.trigger(B)
    await until(lambda: scheduler.running == 1)
    assert await scheduler.drain(2) is True
    scheduler.trigger(A)
    await asyncio.sleep(0.05)
    assert (work.started, work.ended) == ([A], [A])


async def test_drain_cancels_what_takes_too_long() -> None:
    work = Work(60)
    scheduler = Scheduler(work, 1)
    scheduler.trigger(A)
    await until(lambda: scheduler.running == 1)
    assert await scheduler.drain(0.02) is False
    assert scheduler.running == 0


async def test_runs_do_not_inherit_the_context_of_who_triggers() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="clean")
    seen: list[str] = []

    async def run(key: Key) -> float | None:
        seen.append(variable.get())
        return 0.01 if len(seen) < 2 else None

    scheduler = Scheduler(run, 1)

    async def informer() -> None:
        variable.set("an object's body")
        scheduler.trigger(A)
        scheduler.trigger(B, 0.01)

    await asyncio.create_task(informer())
    await until(lambda: len(seen) >= 3)
    assert set(seen) == {"clean"}
