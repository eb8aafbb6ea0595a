"""What an hour of failure leaves behind: a handful of Events, log lines and status writes, on a clock that is moved."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from cipher_operator.queue.following import Next, backoff
from support.memory_api.kinds import kind_of
from support.runs import Runs

HOUR, HANDFUL = 3_600.0, 5


def wrong_password(runs: Runs, number: int) -> None:
    runs.admin_secret(password="wrong")


def forbidden_by_a_policy(runs: Runs, number: int) -> None:
    if number == 0:
        runs.api.policy("secrets", "labels", "label team is required")


def foreign_table(runs: Runs, number: int) -> None:
    if number == 0:
        runs.sql("DROP TABLE cipher_store; CREATE TABLE cipher_store (key int)", runs.database)


def someone_drops_a_table(runs: Runs, number: int) -> None:
    runs.sql("DROP TABLE IF EXISTS cipher_lists", runs.database)


def the_secret_comes_and_goes(runs: Runs, number: int) -> None:
    if number % 2:
        runs.admin_secret()
    else:
        runs.api.delete("secrets", "pg-admin")


@dataclass(frozen=True)
class Hour:
    """What befalls a storage before each look at it, and how often it is looked at where its own word is not taken."""

    befalls: Callable[[Runs, int], None]
    looks: int
    """At least so many in this hour."""
    every: float | None = None
    lines: int = HANDFUL
    fresh: bool = False
    """It has never been Ready."""


HOURS = {
    "a wrong password": Hour(wrong_password, 5),
    "an admission policy refuses the app Secret": Hour(forbidden_by_a_policy, 50, fresh=True),
    "a table that is none of ours": Hour(foreign_table, 25),
    "somebody drops a table again and again": Hour(someone_drops_a_table, 50, every=60, lines=61),
    "the Secret comes and goes": Hour(the_secret_comes_and_goes, 110, every=30, lines=121),
}


async def an_hour(runs: Runs, hour: Hour) -> int:
    """Run the storage as the queue would, and return how often."""
    looks, failures, end = 0, 0, runs.seconds + HOUR
    while runs.seconds < end:
        hour.befalls(runs, looks)
        following: Next = await runs.run()
        looks, failures = looks + 1, failures + 1 if following.failed else 0
        after = backoff(failures, lambda low, high: high) if following.failed else following.after
        runs.seconds += hour.every or after or HOUR
    return looks


@pytest.mark.parametrize("case", list(HOURS))
async def test_an_hour_of_failure(case: str, runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    hour = HOURS[case]
    if hour.fresh:
        runs.admin_secret()
        runs.storage()
    else:
        await runs.ready()
    before: dict[str, Any] = {each["metadata"]["name"]: each for each in runs.api.store.of(kind_of("events"), "ns")}
    requests = runs.api.count(path="/events"), runs.api.count("PATCH", path="/status")
    with caplog.at_level(logging.INFO, logger="cipher_operator"):
        caplog.clear()
        looks = await an_hour(runs, hour)
    lines = [each for each in caplog.records if each.name.startswith("cipher_operator")]
    found = [
        each for each in runs.api.store.of(kind_of("events"), "ns") if before.get(each["metadata"]["name"]) != each
    ]
    written = runs.api.count(path="/events") - requests[0]
    statuses = runs.api.count("PATCH", path="/status") - requests[1]
    shown = {each["reason"]: each.get("series", {}).get("count", 1) for each in found}
    print(
        f"{case}: {looks} looks, {len(found)} Events {shown}, {written} writes of Events, {len(lines)} log lines, "
        f"{statuses} status writes"
    )
    assert looks >= hour.looks
    assert 1 <= len(found) <= HANDFUL
    assert written <= len(found) * 62, "a series is written once a minute at most"
    assert 1 <= len(lines) <= hour.lines
    if hour.every is None:
        assert statuses <= HANDFUL
        assert written <= HANDFUL
