"""Conditions: merging keeps what kstatus and Flux rely on, and the checker finds every way to break it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipher_operator.api.conditions import MAX_MESSAGE, Condition, Draft, merge, violations
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
    [
        [draft()],
        [draft(status="False"), draft(RECONCILING)],
        [draft(status="False"), draft(STALLED)],
    ]
)


@given(st.lists(CONDITIONS, max_size=10), STAGE_DRAFTS, SUMMARIES, st.integers(1, 9))
def test_merging_keeps_the_invariants(
    previous: list[Condition], stages: list[Draft], summary: list[Draft], generation: int
) -> None:
    merged = merge(previous, [*stages, *summary], generation, NOW)
    status = {"observedGeneration": generation, "conditions": [condition.to_json() for condition in merged]}
    assert violations(status, generation) == []
    # A second run that finds the same writes the same: nothing moves, whatever the time.
    assert merge(merged, [*summary, *stages], generation, LATER) == merged
    assert {condition.type for condition in merged} == {wanted.type for wanted in (*stages, *summary)}
    assert all(condition.last_transition_time in {BEFORE, NOW} for condition in merged)


def ready(status: str = "True", type_: str = "Ready", **changes: Any) -> dict[str, Any]:
    whole = {
        "type": type_,
        "status": status,
        "reason": "Some",
        "message": "m",
        "observedGeneration": 2,
        "lastTransitionTime": NOW,
    }
    return {key: value for key, value in (whole | changes).items() if value is not None}


def abnormal(type_: str, status: str = "True") -> dict[str, Any]:
    return ready(status, type_)


@pytest.mark.parametrize(
    ("root", "conditions", "rule"),
    [
        (2, [ready(), ready()], "a condition type stands twice"),
        (2, [], "Ready is missing"),
        (2, [ready(), abnormal("Stalled")], "Ready=True beside Reconciling or Stalled"),
        (2, [ready("Unknown")], "Ready=Unknown at the end of a run"),
        (2, [ready("Unknown"), abnormal("Reconciling")], "Reconciling=True without Ready=False"),
        (2, [ready("Unknown"), abnormal("Stalled")], "Stalled=True without Ready=False"),
        (2, [ready("False"), abnormal("Stalled"), abnormal("Reconciling")], "Reconciling and Stalled at once"),
        (2, [ready("False")], "Ready=False without Reconciling or Stalled"),
        (2, [ready(), abnormal("Stalled", "False")], "Reconciling or Stalled is kept as False"),
        (3, [ready()], "observedGeneration is ahead of the generation"),
        (1, [ready()], "Ready=True for an old generation"),
        (-1, [ready()], "Ready=True for an old generation"),
        (2, [ready(), ready(type_="Connected", observedGeneration=1)], "Ready=True beside a condition of another"),
        (2, [ready(observedGeneration=None)], "a condition without observedGeneration"),
        (2, [ready(observedGeneration=0)], "a condition without observedGeneration"),
        (2, [ready(reason="")], "a condition without reason or time"),
        (2, [ready(lastTransitionTime=None)], "a condition without reason or time"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_checker_finds(root: int, conditions: list[dict[str, Any]], rule: str) -> None:
    found = violations({"observedGeneration": root, "conditions": conditions}, 2)
    assert [broken for broken in found if broken.startswith(rule)]


@pytest.mark.parametrize(
    ("root", "conditions"),
    [
        (2, [ready()]),
        (2, [ready("False"), abnormal("Stalled")]),
        (1, [ready("False"), abnormal("Reconciling")]),
        (-1, [ready("False"), abnormal("Reconciling"), ready("Unknown", "Connected")]),
    ],
    ids=["ready", "stalled", "at work on a new generation", "at work on the first generation"],
)
def test_checker_passes(root: int, conditions: list[dict[str, Any]]) -> None:
    assert violations({"observedGeneration": root, "conditions": conditions}, 2) == []


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
