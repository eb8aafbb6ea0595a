"""The status: every one that a run can write keeps the rules of kstatus and Flux."""

import json
from dataclasses import replace
from typing import Any

import pytest

from cipher_operator.api.failures import STAGES, ConditionType, Failure
from cipher_operator.api.reasons import _CLASSES, FailureClass, Reason
from cipher_operator.reconcile.report.status import next_status, progressing, shorten
from cipher_operator.reconcile.result import Facts, Result
from support.golden import check_golden
from support.kstatus import violations

FACTS = Facts("cipher_db", "app", "chat-cipher", "16.4")
READY = Result(facts=FACTS, reached=STAGES)
DEADLINE = 600.0


def failed(
    reason: Reason, stage: ConditionType = ConditionType.CONNECTED, message: str = "why; and the remedy"
) -> Result:
    return Result(failure=Failure(reason, message, stage=stage), reached=STAGES[: STAGES.index(stage)])


def at(minute: int) -> str:
    return f"2026-01-01T{minute // 60:02}:{minute % 60:02}:00Z"


def step(result: Result, previous: dict[str, Any], generation: int = 1, minute: int = 0) -> dict[str, Any]:
    return next_status(result, previous, generation, at(minute), progress_deadline=DEADLINE)


def storage(status: dict[str, Any], generation: int = 1) -> dict[str, Any]:
    return {"metadata": {"uid": "u", "generation": generation}, "status": status}


def condition(status: dict[str, Any], type_: str) -> dict[str, Any] | None:
    return next((found for found in status["conditions"] if found["type"] == type_), None)


CASES = {
    "ready": READY,
    "refused": failed(Reason.CONNECTION_REFUSED),
    "waiting for the Secret": failed(Reason.SECRET_NOT_FOUND),
    "stalled by a conflict": failed(Reason.CONFLICT, ConditionType.ACCESS_GRANTED),
    "schema conflict": failed(Reason.SCHEMA_CONFLICT, ConditionType.SCHEMA_APPLIED),
    "observe, nothing to do": Result(reached=(ConditionType.CONNECTED,), plan=()),
    "observe, changes pending": Result(reached=(ConditionType.CONNECTED,), plan=("CREATE ROLE x;",)),
}


@pytest.mark.parametrize("name", list(CASES))
def test_status_golden(name: str) -> None:
    status = step(CASES[name], {"observedGeneration": -1})
    assert violations(storage(status)) == []
    check_golden(f"status-{name.replace(' ', '-').replace(',', '')}.json", json.dumps(status, indent=2) + "\n")


def test_an_equal_result_gives_an_equal_status_so_that_nothing_is_written() -> None:
    once = step(READY, {"observedGeneration": -1})
    assert step(READY, once, minute=9) == once


def test_time_moves_only_when_a_status_flips() -> None:
    first = step(failed(Reason.CONNECTION_REFUSED), {})
    second = step(failed(Reason.DNS_FAILURE), first, minute=3)
    third = step(READY, second, minute=4)
    times = [condition(status, "Ready")["lastTransitionTime"] for status in (first, second, third)]  # type: ignore[index]
    assert times == [at(0), at(0), at(4)]


@pytest.mark.parametrize("kind", [FailureClass.TRANSIENT, FailureClass.WAITING], ids=lambda kind: kind.value)
def test_endless_retry_becomes_stalled_and_recovers(kind: FailureClass) -> None:
    reason = next(reason for reason, of in _CLASSES.items() if of is kind)
    status = step(failed(reason), {})
    status = step(failed(reason), status, minute=9)
    assert condition(status, "Stalled") is None
    status = step(failed(reason), status, minute=11)
    assert condition(status, "Stalled")["reason"] == Reason.PROGRESS_DEADLINE_EXCEEDED  # type: ignore[index]
    assert condition(status, "Ready")["reason"] == reason, "Ready keeps its own reason"  # type: ignore[index]
    status = step(failed(reason), status, minute=12)
    assert condition(status, "Stalled") is not None, "it stays exceeded until something changes"
    edited = step(failed(reason), status, generation=2, minute=13)
    assert condition(edited, "Stalled") is None, "a new spec gets a new deadline"
    assert condition(step(READY, status, minute=13), "Ready")["status"] == "True"  # type: ignore[index]


def test_the_deadline_of_a_new_generation_begins_with_it() -> None:
    status = step(failed(Reason.CONNECTION_REFUSED), {})
    status = step(failed(Reason.CONNECTION_REFUSED), status, generation=2, minute=9)
    assert (status["attemptedSince"], condition(status, "Reconciling")["lastTransitionTime"]) == (at(9), at(0))  # type: ignore[index]
    status = step(failed(Reason.CONNECTION_REFUSED), status, generation=2, minute=18)
    assert condition(status, "Stalled") is None
    status = step(failed(Reason.CONNECTION_REFUSED), status, generation=2, minute=20)
    assert condition(status, "Stalled")["reason"] == Reason.PROGRESS_DEADLINE_EXCEEDED  # type: ignore[index]


def test_the_generation_is_observed_when_it_is_finished() -> None:
    ready = step(READY, {"observedGeneration": -1})
    trying = step(failed(Reason.CONNECTION_REFUSED), ready, generation=2)
    assert trying["observedGeneration"] == 1
    assert step(failed(Reason.INVALID_SPEC), trying, generation=2)["observedGeneration"] == 2


def test_a_published_secret_stays_published_while_the_server_is_away() -> None:
    status = step(failed(Reason.CONNECTION_REFUSED), step(READY, {}), minute=1)
    assert condition(status, "SecretPublished")["status"] == "True"  # type: ignore[index]
    assert condition(status, "SchemaApplied")["status"] == "Unknown"  # type: ignore[index]


def test_a_secret_that_is_gone_is_not_called_published_while_the_server_is_away() -> None:
    gone = replace(failed(Reason.CONNECTION_REFUSED), unpublished=True)
    status = step(gone, step(READY, {}), minute=1)
    for minute in (2, 3):
        assert violations(storage(status)) == []
        assert condition(status, "SecretPublished")["status"] == "False"  # type: ignore[index]
        status = step(gone, status, minute=minute)
    first = step(gone, {})
    assert condition(first, "SecretPublished")["status"] == "Unknown", "not lost, only to come"  # type: ignore[index]
    assert condition(step(READY, status, minute=4), "SecretPublished")["status"] == "True"  # type: ignore[index]


def test_a_long_plan_fits_the_schema() -> None:
    lines = shorten([f"SELECT {'x' * 5_000};"] * 300)
    assert len(lines) == 128
    assert max(map(len, lines)) == 2_048
    assert lines[-1] == "-- and 173 more statements"


def test_every_failure_reason_has_its_class_and_its_advice() -> None:
    assert all(reason.advice for reason in Reason)
    others = {Reason.READY, Reason.OBSERVED, Reason.PROGRESSING, Reason.DELETING}
    assert set(_CLASSES) == set(Reason) - others


SAID: dict[str, tuple[dict[str, Any], int, Reason, bool]] = {
    "a new object": ({}, 1, Reason.PROGRESSING, True),
    "a look at one that is Ready": (step(READY, {}), 1, Reason.PROGRESSING, False),
    "a try of one that fails": (step(failed(Reason.CONNECTION_REFUSED), {}), 1, Reason.PROGRESSING, False),
    "a new generation": (step(READY, {}), 2, Reason.PROGRESSING, True),
    "a deletion": (step(READY, {}), 1, Reason.DELETING, True),
    "a deletion that waits already": (step(failed(Reason.DELETION_BLOCKED), {}), 1, Reason.DELETING, False),
}


@pytest.mark.parametrize("case", list(SAID))
def test_a_long_run_says_so_where_somebody_waits_for_it(case: str) -> None:
    before, generation, reason, expected = SAID[case]
    said = progressing(before, generation, at(1), reason)
    assert (said is not None) is expected
    if said is None:
        return
    assert violations(storage(said, generation), storage(before, generation)) == []
    assert condition(said, "Ready")["reason"] == condition(said, "Reconciling")["reason"] == reason  # type: ignore[index]
    assert {key: said.get(key) for key in ("database", "binding")} == {
        key: before.get(key) for key in ("database", "binding")
    }
    assert progressing(said, generation, at(2), reason) is None, "it is said once"


def test_what_was_not_looked_at_since_the_spec_changed_is_about_the_spec_before() -> None:
    # `kubectl wait --for=condition=SchemaApplied` must not take it for the new one's.
    for status in (
        progressing(step(READY, {}), 2, at(1), Reason.PROGRESSING),
        step(failed(Reason.CONNECTION_REFUSED), step(READY, {}), generation=2),
    ):
        assert status is not None
        assert condition(status, "SecretPublished")["observedGeneration"] == 1  # type: ignore[index]
        assert condition(status, "Ready")["observedGeneration"] == 2  # type: ignore[index]


def test_the_deadline_of_a_status_of_an_older_version_counts_from_reconciling() -> None:
    status = step(failed(Reason.CONNECTION_REFUSED), {})
    del status["attemptedSince"]
    assert condition(step(failed(Reason.CONNECTION_REFUSED), status, minute=11), "Stalled") is not None


def test_a_long_build_is_no_endless_retry() -> None:
    building = failed(Reason.BUILDING_INDEX, ConditionType.SCHEMA_APPLIED)
    status = step(building, {})
    status = step(building, status, minute=55)
    assert condition(status, "Stalled") is None
    assert condition(status, "Reconciling")["reason"] == Reason.BUILDING_INDEX  # type: ignore[index]


def test_the_time_of_the_password_goes_with_a_password_that_is_not_ours() -> None:
    ours = replace(READY, facts=replace(FACTS, password_set_at=at(0)))
    status = step(ours, {})
    assert status["passwordSetAt"] == at(0)
    assert step(failed(Reason.CONNECTION_REFUSED), status)["passwordSetAt"] == at(0)
    assert "passwordSetAt" not in step(READY, status)
