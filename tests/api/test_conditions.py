"""Conditions: merging keeps what kstatus and Flux rely on."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipher_operator.api.conditions import MAX_MESSAGE, Condition, Draft, merge
from cipher_operator.api.failures import STAGES, ConditionType

BEFORE, NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"
READY, RECONCILING, STALLED = ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED


def draft(type_: ConditionType = READY, status: str = "True", reason: str = "Ready", message: str = "m") -> Draft:
    return Draft(type_, status, reason, message)


def old(status: str, time: str = BEFORE, type_: ConditionType = READY) -> Condition:
    return Condition(type_, status, "Before", "before", 1, time)


@pytest.mark.parametrize(
    ("previous", "wanted", "expected"),
    [
        pytest.param([], draft(), NOW, id="new: now"),
        pytest.param([old("True")], draft(), BEFORE, id="same status: kept, though reason and message changed"),
        pytest.param([old("False")], draft(), NOW, id="status flips: now"),
        pytest.param([old("Unknown")], draft(status="False"), NOW, id="from unknown: now"),
        pytest.param([old("True", time="")], draft(), NOW, id="a time that is missing is made"),
        pytest.param([old("True", type_=STALLED)], draft(), NOW, id="another type's time is not taken"),
    ],
)
def test_time_moves_only_when_the_status_flips(previous: list[Condition], wanted: Draft, expected: str) -> None:
    assert merge(previous, [wanted], 2, NOW) == (Condition(READY, wanted.status, "Ready", "m", 2, expected),)


def test_what_is_not_wanted_is_gone() -> None:
    assert merge([old("False"), old("True", type_=STALLED)], [draft()], 1, NOW)[0].type is READY
    assert merge([old("True")], [], 1, NOW) == ()


def test_ready_stands_first_then_the_abnormal_ones() -> None:
    # kstatus takes the first of Reconciling and Stalled that it meets; people look for Ready.
    wanted = [draft(type_) for type_ in (*STAGES, STALLED, READY)]
    types = [condition.type for condition in merge([], wanted, 1, NOW)]
    assert types == [READY, STALLED, *sorted(STAGES)]


def test_a_long_message_is_cut() -> None:
    assert len(merge([], [draft(message="x" * 40_000)], 1, NOW)[0].message) == MAX_MESSAGE


def test_a_type_wanted_twice_is_an_error() -> None:
    # The API server would refuse the whole status.
    with pytest.raises(ValueError, match="wanted twice"):
        merge([], [draft(), draft(status="False")], 1, NOW)


CONDITIONS = st.builds(
    Condition,
    type=st.sampled_from(ConditionType),
    status=st.sampled_from(["True", "False", "Unknown"]),
    reason=st.text(max_size=5),
    message=st.text(max_size=5),
    observed_generation=st.integers(0, 9),
    last_transition_time=st.sampled_from(["", BEFORE]),
)
MESSAGES = st.text(max_size=20) | st.just("x" * 5_000)
STAGE_DRAFTS = st.lists(
    st.builds(
        Draft,
        type=st.sampled_from(STAGES),
        status=st.sampled_from(["True", "False", "Unknown"]),
        reason=st.just("Some"),
        message=MESSAGES,
    ),
    unique_by=lambda wanted: wanted.type,
)
SUMMARIES = st.sampled_from(
    [[draft()], [draft(status="False"), draft(RECONCILING)], [draft(status="False"), draft(STALLED)]]
)


@given(st.lists(CONDITIONS, max_size=10), STAGE_DRAFTS, SUMMARIES, st.integers(1, 9))
def test_merging_is_settled_at_once(
    previous: list[Condition], stages: list[Draft], summary: list[Draft], generation: int
) -> None:
    merged = merge(previous, [*stages, *summary], generation, NOW)
    # A second run that finds the same writes the same: nothing moves, whatever the time.
    assert merge(merged, [*summary, *stages], generation, LATER) == merged
    assert {condition.type for condition in merged} == {wanted.type for wanted in (*stages, *summary)}
    assert all(condition.last_transition_time in {BEFORE, NOW} for condition in merged)
    assert all(condition.observed_generation == generation for condition in merged)


def test_what_stands_as_it_was_is_still_about_the_generation_that_was_looked_at() -> None:
    merged = merge([old("True")], [old("True").draft], 7, NOW)
    assert (merged[0].observed_generation, merged[0].last_transition_time) == (1, BEFORE)


@pytest.mark.parametrize(
    ("message", "written"),
    [
        pytest.param("one\ntwo\x1b", "one two ", id="what a terminal would act on"),
    ],
)
def test_a_message_is_one_printable_line(message: str, written: str) -> None:
    assert merge([], [draft(message=message)], 1, NOW)[0].message == written


@given(CONDITIONS)
def test_json_and_back(condition: Condition) -> None:
    assert Condition.from_json(condition.to_json()) == condition


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(JSON | st.fixed_dictionaries({"type": JSON | st.just("Ready")}, optional={"observedGeneration": JSON}))
def test_any_json_is_a_condition_or_none(raw: Any) -> None:
    found = Condition.from_json(raw)
    assert found is None or isinstance(found.observed_generation, int)
