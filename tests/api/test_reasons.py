"""Reasons: one word each, one class, one sentence of advice."""

import pytest

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import FailureClass, Reason

NO_FAILURES = {Reason.READY, Reason.OBSERVED, Reason.PROGRESSING, Reason.DELETING}


@pytest.mark.parametrize("reason", Reason)
def test_advice_is_one_documented_sentence(reason: Reason) -> None:
    assert reason.advice.endswith(".") and len(reason.advice) <= 200


def test_every_failure_has_a_class() -> None:
    classed = {reason: reason.failure_class for reason in Reason if reason not in NO_FAILURES}
    assert set(classed.values()) == set(FailureClass)


@pytest.mark.parametrize("reason", sorted(NO_FAILURES))
def test_what_is_no_failure_has_none(reason: Reason) -> None:
    with pytest.raises(KeyError):
        _ = reason.failure_class


def test_a_stage_is_set_once() -> None:
    # The place that knows best is the first: callers only fill in what is missing.
    failure = Failure(Reason.DISCONNECTED, "gone")
    assert failure.at(ConditionType.DATABASE_READY).at(ConditionType.CONNECTED).stage is ConditionType.DATABASE_READY
