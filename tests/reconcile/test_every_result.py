"""Whatever a run can come to: its status keeps the contract, fits the schema, and its Events are few."""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cipher_operator.api.failures import STAGES, ConditionType, Failure
from cipher_operator.api.reasons import _CLASSES, Reason
from cipher_operator.api.spec import parse_resource
from cipher_operator.kube.events import MAX_NOTE
from cipher_operator.reconcile.report.events import events
from cipher_operator.reconcile.report.status import next_status, progressing
from cipher_operator.reconcile.result import Facts, PasswordChange, Result
from support import crd
from support.kstatus import violations
from support.memory_api.kinds import violations as against_schema

DEADLINE = 600.0
MOST_EVENTS = 9
"""Of one run: what was made, taken over, done, ignored (3), the change of Ready, what is held (2)."""
FAILING = sorted(set(_CLASSES) - {Reason.PROGRESS_DEADLINE_EXCEEDED, Reason.CHANGES_PENDING})
TEXT = st.text(max_size=9) | st.text(st.sampled_from("ab; \n"), max_size=9) | st.just("x" * 5_000)


def _says_each_thing_once(text: str) -> bool:
    said = [part.strip() for part in text.split(";")]
    return len(set(said)) == len(said)


WORDS = st.tuples(st.sampled_from(["a role", "b"]), TEXT).map("".join).filter(_says_each_thing_once)
"""What somebody says: never nothing, and nothing twice."""
NAME = st.text(string.ascii_lowercase, min_size=1, max_size=63)
LINES = st.lists(
    st.sampled_from(["CREATE DATABASE d;", "SET LOCAL ROLE o;", "COMMENT ON ROLE o IS '{}';", "ALTER ROLE a;"]) | TEXT,
    max_size=6,
).map(tuple)
REQUESTS = st.dictionaries(
    st.sampled_from(["reconcile", "rotate", "revokePrevious", "recreate", "adoptFrom"]), st.text(max_size=256)
)
WARNINGS = st.lists(WORDS, max_size=4).map(tuple)
FACTS = st.builds(Facts, NAME, NAME, NAME, st.just("16.4"), st.none() | st.just("2026-01-01T00:00:00Z"))


def reached() -> st.SearchStrategy[tuple[ConditionType, ...]]:
    return st.integers(0, len(STAGES)).map(lambda count: STAGES[:count])


def result(**fields: Any) -> st.SearchStrategy[Result]:
    return st.builds(
        Result,
        handled=REQUESTS,
        executed=LINES,
        statements=st.integers(0, 99),
        held=st.lists(st.tuples(st.sampled_from(["Secret", "CipherServer"]), NAME), max_size=2, unique=True).map(tuple),
        soon=st.none() | st.floats(0, 9),
        interval=st.none() | st.sampled_from([0.0, 300.0]),
        **fields,
    )


READY = result(
    facts=FACTS,
    reached=st.just(STAGES),
    ignored=st.lists(WORDS, max_size=3, unique=True).map(tuple),
    warnings=WARNINGS,
    change=st.none() | st.sampled_from(PasswordChange),
    rewritten=st.just(()) | st.just(("host", "uri")),
)
PLANNED = result(
    plan=st.lists(TEXT, max_size=4).map(tuple) | st.just(("SELECT 1;",) * 200), reached=reached(), warnings=WARNINGS
)
FAILED = result(
    failure=st.builds(
        Failure,
        st.sampled_from(FAILING),
        WORDS,
        stage=st.none() | st.sampled_from(STAGES),
        sqlstate=st.none() | st.just("42501"),
    ),
    reached=reached(),
    unpublished=st.booleans(),
    warnings=WARNINGS,
    change=st.none() | st.sampled_from(PasswordChange),
    rewritten=st.just(()) | st.just(("host", "uri")),
    remembered=st.booleans(),
)


@dataclass(frozen=True)
class Happening:
    """One thing after another in the life of a storage: minutes pass, somebody edits or deletes it, and a run ends, or
    is still at work after a second where `result` is None."""

    result: Result | None
    edited: bool
    deleted: bool
    minutes: int


LIVES = st.lists(
    st.builds(
        Happening, st.none() | READY | PLANNED | FAILED, st.booleans(), st.integers(0, 9).map(lambda n: n == 9),
        st.integers(0, 30),
    ),
    min_size=1,
    max_size=10,
)  # fmt: skip


def at(minute: int) -> str:
    return f"2026-01-01T{minute // 60:02}:{minute % 60:02}:00Z"


def stored(status: dict[str, Any], generation: int, deleting: bool) -> dict[str, Any]:
    metadata: dict[str, Any] = {"namespace": "ns", "name": "chat", "uid": "u", "generation": generation}
    if deleting:
        metadata["deletionTimestamp"] = at(0)
    return {"metadata": metadata, "spec": {}, "status": status}


def said(happening: Happening, status: dict[str, Any], generation: int, minute: int, deleting: bool) -> dict[str, Any]:
    """Return the status after it."""
    if happening.result is None:
        reason = Reason.DELETING if deleting else Reason.PROGRESSING
        return progressing(status, generation, at(minute), reason) or status
    return next_status(happening.result, status, generation, at(minute), progress_deadline=DEADLINE)


@given(LIVES)
def test_every_status_keeps_the_contract(life: Sequence[Happening]) -> None:
    generation, minute, deleting = 1, 0, False
    before = stored({"observedGeneration": -1}, 1, deleting)
    for happening in life:
        generation += happening.edited + (happening.deleted and not deleting)
        deleting = deleting or happening.deleted
        minute += happening.minutes
        status = said(happening, before["status"], generation, minute, deleting)
        after = stored(status, generation, deleting)
        assert violations(after, before) == []
        assert against_schema(crd.schema("status"), status) == []
        if happening.result is not None:
            again = next_status(happening.result, status, generation, at(minute + 1), progress_deadline=DEADLINE)
            assert violations(stored(again, generation, deleting), after) == []
            overdue = {each["type"] for each in again["conditions"]} != {each["type"] for each in status["conditions"]}
            assert overdue or again == status, "an equal result writes nothing"
        before = after


@given(READY | PLANNED | FAILED, LIVES)
def test_the_events_of_a_run_are_few_and_none_where_nothing_changed(end: Result, life: Sequence[Happening]) -> None:
    status: dict[str, Any] = {"observedGeneration": -1}
    for happening in life:
        status = said(happening, status, 1, 0, False)
    once = next_status(end, status, 1, at(1), progress_deadline=DEADLINE)
    posted = list(events(parse_resource(stored(status, 1, False)), end, "m"))
    assert len(posted) <= MOST_EVENTS
    assert all(event.type in ("Normal", "Warning") and event.reason.isalpha() for event in posted)
    assert len({(event.type, event.reason, event.note) for event in posted}) == len(posted)
    quiet = Result(facts=end.facts, failure=end.failure, plan=end.plan, reached=end.reached, warnings=end.warnings)
    assert list(events(parse_resource(stored(once, 1, False)), quiet, "m")) == []
    assert MAX_NOTE == 1_024
