"""What a run tells the log and the metrics, beside its status."""

import logging

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.reconcile.report.log import line
from cipher_operator.reconcile.report.metrics import sample
from cipher_operator.reconcile.result import Result
from cipher_operator.reconcile.sessions import ACCEPTED
from support.certificates import authorities
from support.runs import Runs

AWAY = Failure(Reason.CONNECTION_REFUSED, "the server refuses")
READY = [{"type": "Ready", "status": "True"}]


@pytest.mark.parametrize(
    ("result", "news", "level"),
    [
        (Result(plan=()), False, logging.INFO),
        (Result(failure=AWAY), True, logging.WARNING),
        (Result(failure=AWAY), False, logging.DEBUG),
        (Result(failure=AWAY, remembered=True), True, logging.DEBUG),
    ],
    ids=["done", "who found it out", "as it was", "who only heard of it: one line is enough for all"],
)
def test_how_loud_it_is(result: Result, news: bool, level: int) -> None:
    assert line(result, "text", 0.1, news=news)[0] == level


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        (READY, "ready"),
        ([{"type": "Ready", "status": "False"}, {"type": "Stalled", "status": "True"}], "stalled"),
        ([{"type": "Ready", "status": "False"}, {"type": "Reconciling", "status": "True"}], "reconciling"),
        (
            [
                {"type": "Ready", "status": "False", "reason": "ConnectionRefused"},
                {"type": "Stalled", "status": "True", "reason": "ProgressDeadlineExceeded"},
            ],
            "reconciling",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_its_state(conditions: list[dict[str, str]], state: str) -> None:
    assert sample(Result(plan=()), {"conditions": conditions}, 0.1).state == state


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("2026-01-01T00:00:00Z", 1_767_225_600.0), (None, None), ("of old", None)],
    ids=["a time", "none", "what is no time"],
)
def test_since_when_its_password_stands(told: str | None, seconds: float | None) -> None:
    status = {"conditions": READY, **({"passwordSetAt": told} if told else {})}
    assert sample(Result(plan=()), status, 0.1).password_set_at == seconds


def test_the_ends_of_its_cas() -> None:
    pem = authorities(2).decode()
    counted = sample(Result(plan=(), cas=(pem,)), {"conditions": READY}, 0.1)
    assert counted.ca_ends is not None and len(counted.ca_ends) == 2
    assert sample(Result(plan=(), cas=()), {"conditions": READY}, 0.1).ca_ends == ()
    assert sample(Result(plan=()), {"conditions": READY}, 0.1).ca_ends is None, "it did not come to know them"


async def test_of_a_first_run_and_of_one_with_another_password(runs: Runs) -> None:
    await runs.ready()
    counted = runs.counts.samples[-1]
    assert (counted.state, counted.checked, counted.ca_ends) == ("ready", True, ())
    assert counted.password_set_at == pytest.approx(runs.base.timestamp(), abs=60)
    assert set(runs.counts.logins) == {("admin", ACCEPTED), ("login", ACCEPTED)}
    runs.admin_secret(password="wrong")
    await runs.run()
    assert runs.counts.logins["admin", "AuthenticationFailed"] == 1
    counted = runs.counts.samples[-1]
    assert (counted.state, counted.reason, counted.checked) == ("reconciling", "AuthenticationFailed", False)


async def test_the_log_says_what_was_done_beside_the_outcome(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    def said() -> tuple[str, str]:
        (record,) = caplog.records
        caplog.clear()
        return record.message.partition(":")[0], getattr(record, "done", "")

    with caplog.at_level(logging.INFO, logger="cipher_operator"):
        await runs.ready()
        assert said()[1].startswith("Created: CREATE ROLE")
        runs.sql("DROP TABLE cipher_lists", runs.database)
        await runs.run()
        reason, done = said()
        assert reason == "Ready" and done.startswith("DriftHealed: ") and "CREATE TABLE" in done
        await runs.run()
        assert said() == ("Ready", "")


async def test_the_line_at_the_progress_deadline_says_that_it_has_passed(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    runs.storage()
    with caplog.at_level(logging.INFO, logger="cipher_operator"):
        for _ in range(4):
            await runs.run()
            runs.seconds += 601
    first, late = (record.message for record in caplog.records if record.levelname == "WARNING")
    cause = first.removeprefix("SecretNotFound: ")
    assert late == f"SecretNotFound: Not ready for longer than the progress deadline, still trying: {cause}"
