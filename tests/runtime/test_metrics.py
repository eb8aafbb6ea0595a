"""What is counted of runs, storages and queues, and that a scrape's work does not grow with the storages."""

import asyncio
import sys
import time
from types import FrameType
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cipher_operator.queue.following import Next
from cipher_operator.queue.needs import Busy
from cipher_operator.queue.ticket import Ticket
from cipher_operator.reconcile.inputs import Key
from cipher_operator.reconcile.report.metrics import Sample
from cipher_operator.runtime.census import Census
from cipher_operator.runtime.metrics import Metrics
from cipher_operator.runtime.workqueue import Workqueue
from support.metered import lanes_of

KEY, OTHER = ("ns", "chat"), ("ns", "other")
READY = Sample("Ready", "ready", 0.1, checked=True)
REFUSED = Sample("ConnectionRefused", "reconciling", 0.1)
CONFLICT = Sample("Conflict", "stalled", 0.1)
LATER = Next(after=300.0)


def value(metrics: Metrics, name: str, /, **labels: str) -> float | None:
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return None


def test_a_storage_counts_once_as_what_it_said_last() -> None:
    metrics = Metrics()
    metrics.run(KEY, REFUSED, LATER)
    metrics.run(OTHER, CONFLICT, LATER)
    metrics.run(KEY, READY, LATER)
    counted = "cipher_operator_storages"
    assert value(metrics, counted, state="ready", reason="Ready") == 1
    assert value(metrics, counted, state="stalled", reason="Conflict") == 1
    assert value(metrics, counted, state="reconciling", reason="ConnectionRefused") == 0
    metrics.suspended(OTHER)
    metrics.forget(KEY)
    metrics.forget(KEY)
    assert value(metrics, counted, state="ready", reason="Ready") == 0
    assert value(metrics, counted, state="stalled", reason="Conflict") == 0
    assert value(metrics, counted, state="suspended", reason="Suspended") == 1
    assert value(metrics, "cipher_operator_reconcile_total", result="ConnectionRefused") == 1


def test_a_retry_is_a_run_after_one_that_failed() -> None:
    metrics = Metrics()
    for sample in (REFUSED, REFUSED, READY, READY, CONFLICT, READY):
        metrics.run(KEY, sample, LATER)
    name = "cipher_operator_reconcile_retries_total"
    assert value(metrics, name, reason="ConnectionRefused") == 2
    assert value(metrics, name, reason="Conflict") == 1
    assert value(metrics, name, reason="Ready") is None


def test_only_what_is_ready_and_planned_can_be_late() -> None:
    census = Census()
    assert census.overdue(1_000.0) == 0
    census.run(KEY, READY, Next(after=100.0, spread=0.1), 1_000.0)
    assert census.overdue(1_110.0) == 0
    assert census.overdue(1_200.0) == pytest.approx(90)
    for sample, following in ((REFUSED, LATER), (READY, Next(after=None))):
        census.run(KEY, sample, following, 1_000.0)
        assert census.overdue(9_000.0) == 0
    census.run(KEY, READY, LATER, 1_000.0)
    census.suspended(KEY)
    assert census.overdue(9_000.0) == 0


def test_the_oldest_check_and_password_are_those_of_what_is_there() -> None:
    census = Census()
    assert (census.oldest_check(), census.oldest_password()) == (None, None)
    census.run(KEY, Sample("Ready", "ready", 0.1, checked=True, password_set_at=50.0), LATER, 1_000.0)
    census.run(OTHER, Sample("Ready", "ready", 0.1, checked=True, password_set_at=60.0), LATER, 2_000.0)
    census.run(KEY, Sample("Disconnected", "reconciling", 0.1, password_set_at=50.0), LATER, 3_000.0)
    assert (census.oldest_check(), census.oldest_password()) == (1_000.0, 50.0)
    census.forget(KEY)
    assert (census.oldest_check(), census.oldest_password()) == (2_000.0, 60.0)
    census.run(OTHER, READY, LATER, 4_000.0)
    assert (census.oldest_check(), census.oldest_password()) == (4_000.0, None)


@pytest.mark.parametrize(
    ("storages", "end"),
    [
        ([None], None),
        ([()], None),
        ([(500.0,), (600.0, 700.0)], 500.0),
        ([(10.0, 700.0)], 700.0),
        ([(10.0, 20.0), (700.0,)], 20.0),
        ([(500.0,), None], 500.0),
    ],
    ids=[
        "no CA is known",
        "no CA is named",
        "the next of two storages",
        "what has ended in a bundle does not count",
        "unless nothing else is left",
        "a run that came to no CA changes nothing",
    ],
)
def test_the_end_of_a_ca(storages: list[tuple[float, ...] | None], end: float | None) -> None:
    census = Census()
    for number, ends in enumerate(storages):
        key = KEY if ends is None else ("ns", str(number))
        if ends is None:
            census.run(key, Sample("Ready", "ready", 0.1, ca_ends=(900.0,)), LATER, 1.0)
            census.run(key, Sample("Ready", "ready", 0.1, ca_ends=ends), LATER, 1.0)
            assert census.earliest_ca_end(100.0) in (900.0, 500.0)
            census.run(key, Sample("Ready", "ready", 0.1, ca_ends=()), LATER, 1.0)
        else:
            census.run(key, Sample("Ready", "ready", 0.1, ca_ends=ends), LATER, 1.0)
    assert census.earliest_ca_end(100.0) == end


class Clock:
    time = 10.0

    def __call__(self) -> float:
        return self.time


async def test_a_queue_in_numbers() -> None:
    clock = Clock()
    metrics = Metrics()
    ended: list[Key] = []
    queue = metrics.storages = Workqueue(metrics.families, "q", ended.append, clock)
    ticket = Ticket(lanes_of(), "ns")

    async def fails(key: Key, _: Ticket) -> Next:
        clock.time += 4
        assert value(metrics, "workqueue_unfinished_work_seconds", name="q") == 4
        assert value(metrics, "workqueue_longest_running_processor_seconds", name="q") == 4
        assert value(metrics, "cipher_operator_workers_busy") == 1
        return Next(failed=True)

    async def finds_no_room(key: Key, _: Ticket) -> Next:
        raise Busy

    async def breaks(key: Key, _: Ticket) -> Next:
        raise ZeroDivisionError

    for key in (KEY, OTHER):
        queue.added(key)
    assert value(metrics, "workqueue_depth", name="q") == 2
    clock.time += 3
    queue.taken(KEY)
    queue.dropped(OTHER)
    assert value(metrics, "workqueue_depth", name="q") == 0
    assert value(metrics, "workqueue_queue_duration_seconds_sum", name="q") == 3
    await queue.run(fails, KEY, ticket)
    for work, error in ((finds_no_room, Busy), (breaks, ZeroDivisionError)):
        with pytest.raises(error):
            await queue.run(work, KEY, ticket)
    assert value(metrics, "workqueue_adds_total", name="q") == 2
    assert value(metrics, "workqueue_retries_total", name="q") == 2
    assert value(metrics, "workqueue_work_duration_seconds_sum", name="q") == 4
    assert value(metrics, "workqueue_longest_running_processor_seconds", name="q") == 0
    assert ended == [KEY] * 3


async def _end(metrics: Metrics, key: Key) -> None:
    async def work(key: Key, _: Ticket) -> Next:
        return LATER

    await metrics.storages.run(work, key, Ticket(lanes_of(), "ns"))


async def test_the_first_pass_ends_when_all_that_there_were_have_been_looked_at() -> None:
    metrics, name = Metrics(), "cipher_operator_first_pass_seconds"
    metrics.begin_pass([KEY, OTHER, ("ns", "third")])
    for key in (KEY, OTHER, KEY):
        await _end(metrics, key)
    assert value(metrics, name) == 0
    await _end(metrics, ("ns", "third"))
    passed = value(metrics, name)
    assert passed is not None and passed > 0
    await _end(metrics, KEY)
    assert value(metrics, name) == passed


def test_nothing_there_is_a_pass_too() -> None:
    metrics = Metrics()
    metrics.begin_pass([])
    assert value(metrics, "cipher_operator_first_pass_seconds") != 0


def test_who_leads() -> None:
    metrics, name = Metrics(), "leader_election_master_status"
    assert value(metrics, name, name="cipher-operator") == 1
    states = iter((False, True, True))
    metrics.watch_leadership(lambda: next(states))
    for leads in (False, True, True):
        assert value(metrics, name, name="cipher-operator") == leads


def test_who_stands_by_counts_no_storages() -> None:
    metrics = Metrics()
    metrics.run(KEY, READY, LATER)
    metrics.clear()
    assert value(metrics, "cipher_operator_storages", state="ready", reason="Ready") == 0
    assert value(metrics, "cipher_operator_oldest_check_timestamp_seconds") == 0


async def test_a_loop_that_is_held_up_shows() -> None:
    metrics = Metrics()
    metrics.loop_lag.start()
    await asyncio.sleep(0.3)
    before = value(metrics, "cipher_operator_event_loop_lag_seconds_sum") or 0
    time.sleep(1.0)
    await asyncio.sleep(0.3)
    metrics.loop_lag.stop()
    late = (value(metrics, "cipher_operator_event_loop_lag_seconds_sum") or 0) - before
    assert late > 0.6, "of the second, the part after the timer was due"


def crowded(storages: int) -> Metrics:
    """Return metrics of so many storages, each with a CA and a password of its own age."""
    metrics = Metrics()
    metrics.watch_lanes(lanes_of().counts)
    for number in range(storages):
        sample = (READY, REFUSED, CONFLICT)[number % 3]
        age = float(number)
        told = Sample(sample.reason, sample.state, 0.1, 1, checked=True, password_set_at=age, ca_ends=(2e9,))
        metrics.run(("ns", str(number)), told, LATER)
    return metrics


def calls_of_a_scrape(metrics: Metrics) -> int:
    count = 0

    def seen(frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        metrics.render()
    finally:
        sys.setprofile(None)
    return count


def test_a_scrape_of_ten_thousand_storages_is_that_of_thirty() -> None:
    few, many = crowded(30), crowded(10_000)
    assert few.render().count(b"\n") == many.render().count(b"\n")
    # A few calls depend on how long a number's text is; one per storage would be ten thousand.
    assert abs(calls_of_a_scrape(many) - calls_of_a_scrape(few)) < 100


def test_the_first_pass_of_each_term_is_measured_from_its_beginning() -> None:
    metrics = Metrics()
    name = "cipher_operator_first_pass_seconds"
    metrics.begin_pass([KEY], takeover=True)
    metrics._seen(KEY)
    assert (value(metrics, name) or 0) > 0
    metrics.clear()
    assert value(metrics, name) == 0, "it follows"
    metrics.begin_pass([KEY, OTHER], takeover=True)
    metrics._seen(KEY)
    assert value(metrics, name) == 0, "not every storage was looked at in this term"
    metrics._seen(OTHER)
    assert (value(metrics, name) or 0) > 0


def test_a_pass_that_ends_when_its_term_has_ended_is_none() -> None:
    metrics = Metrics()
    metrics.begin_pass([KEY], takeover=True)
    metrics.clear()
    metrics._seen(KEY)
    assert value(metrics, "cipher_operator_first_pass_seconds") == 0
