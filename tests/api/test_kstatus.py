"""The checker of statuses finds every way to break the contract, and nothing else."""

from typing import Any

import pytest

from cipher_operator.api.failures import STAGES
from support.kstatus import kstatus, violations

NOW, LATER = "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"
FACTS: dict[str, Any] = {"database": "db", "user": "app", "binding": {"name": "s"}, "serverVersion": "16.4"}
REFUSED = "ConnectionRefused"


def of(type_: str = "Ready", status: str = "True", reason: str = "Ready", **changes: Any) -> dict[str, Any]:
    whole = {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": "m",
        "observedGeneration": 2,
        "lastTransitionTime": NOW,
    }
    return {key: value for key, value in (whole | changes).items() if value is not None}


def ready(**changes: Any) -> list[dict[str, Any]]:
    return [of(**changes), *(of(stage) for stage in STAGES)]


def failed(*abnormal: dict[str, Any], reason: str = REFUSED, **changes: Any) -> list[dict[str, Any]]:
    beside = abnormal or (of("Reconciling", reason=reason),)
    stages = [of(STAGES[0], "False", reason), *(of(stage, "Unknown", reason) for stage in STAGES[1:])]
    return [of(**{"status": "False", "reason": reason} | changes), *beside, *stages]


def storage(conditions: list[dict[str, Any]], root: int = 2, **status: Any) -> dict[str, Any]:
    trying = any(each["type"] == "Reconciling" or each["reason"] == "ProgressDeadlineExceeded" for each in conditions)
    facts = {} if trying or not conditions else FACTS
    since = {"attemptedSince": NOW} if trying else {}
    whole = {"observedGeneration": root, "conditions": conditions or None, **facts, **since, **status}
    kept = {key: value for key, value in whole.items() if value is not None}
    return {"metadata": {"uid": "u", "generation": 2}, "status": kept}


OVERDUE = of("Stalled", reason="ProgressDeadlineExceeded")
CONFLICT = of("Stalled", reason="Conflict")
ALONE: list[tuple[str, dict[str, Any]]] = [
    ("FAIL 1", storage([*ready(), CONFLICT])),
    ("FAIL 2", storage(ready()[1:])),
    ("FAIL 3", storage(failed(status="Unknown"))),
    ("FAIL 4", storage(failed(CONFLICT, reason="Conflict", status="Unknown"))),
    ("FAIL 5", storage(failed(of("Reconciling", reason=REFUSED), OVERDUE))),
    ("FAIL 6", storage(ready(), 3)),
    ("FAIL 7", storage(ready(), 1)),
    ("FAIL 7", storage(ready(), -1)),
    ("FAIL 8, 9", storage([of(), of("Connected", observedGeneration=1), *ready()[2:]])),
    ("FAIL 11", storage(failed(status="Unknown"), -1)),
    ("a condition type stands twice", storage([*ready(), of()])),
    ("a written status without conditions", storage([], database="db")),
    ("Ready=False without Reconciling or Stalled", storage([of(status="False", reason=REFUSED), *ready()[1:]])),
    ("Reconciling or Stalled is kept as False", storage([*ready(), of("Stalled", "False", "Conflict")])),
    ("Stalled=True for a generation that is not observed", storage(failed(CONFLICT, reason="Conflict"), 1)),
    ("conditions are about a generation", storage([each | {"observedGeneration": 3} for each in ready()], 3)),
    ("a condition is about a later generation", storage(failed(observedGeneration=1), 1)),
    ("kstatus says", storage(failed(of("Reconciling", reason=REFUSED), OVERDUE))),
    ("condition Ready has no observedGeneration", storage(ready(observedGeneration=None))),
    ("condition Ready has no observedGeneration", storage(ready(observedGeneration=0), 0)),
    ("condition Ready has no reason of the table", storage(ready(reason="Happy"))),
    ("condition Ready has no time", storage(ready(lastTransitionTime=None))),
    ("condition Ready has no message", storage(ready(message=" "))),
    ("condition Ready has a message that is too long", storage(ready(message="x" * 2_049))),
    ("condition Ready has a message that is not one printable line", storage(ready(message="a\nb"))),
    ("condition Ready says a sentence twice", storage(ready(message="a; b; a"))),
    ("Ready=True with reason ConnectionRefused", storage(ready(reason=REFUSED))),
    ("Ready=False with reason Ready", storage(failed(reason="Ready"))),
    ("Ready has not kept its own reason", storage(failed(OVERDUE, reason="ProgressDeadlineExceeded"))),
    ("the progress deadline counts for Conflict", storage(failed(OVERDUE, reason="Conflict"))),
    ("Reconciling stands beside Ready's reason Conflict", storage(failed(reason="Conflict"), -1)),
    ("Stalled stands beside Ready's reason ConnectionRefused", storage(failed(of("Stalled", reason=REFUSED)))),
    ("Reconciling or Stalled says another thing", storage(failed(of("Reconciling", reason="DNSFailure")), -1)),
    ("no stage says ConnectionRefused", storage([*failed()[:2], *ready()[1:]], -1)),
    ("stages are missing", storage(ready()[:-1])),
    ("Ready before SchemaApplied", storage([*ready()[:4], of("SchemaApplied", "Unknown"), ready()[5]])),
    ("Ready without database", storage(ready(), database=None)),
    ("`plan` and ChangesPending", storage(ready(), plan=["SELECT 1"])),
    ("`attemptedSince` and unfinished work", storage(failed(), -1, attemptedSince=None)),
    ("`attemptedSince` and unfinished work", storage(ready(), attemptedSince=NOW)),
    ("it tells a login", storage(ready(message="see postgres://me:pw@db/x"))),
    ("it tells a login", storage(ready(message="password=x was refused"))),
    ("it tells a secret", storage(ready(message="nothing listens at 10.1.2.3:5432"))),
]


@pytest.mark.parametrize(("rule", "stored"), ALONE, ids=[rule for rule, _ in ALONE])
def test_it_finds(rule: str, stored: dict[str, Any]) -> None:
    assert [broken for broken in violations(stored, secrets=["10.1.2.3"]) if broken.startswith(rule)]


def before(**status: Any) -> dict[str, Any]:
    return storage(ready(), **status)


SINCE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("a written status without conditions", storage([], -1), before()),
    ("observedGeneration went back", storage(failed(), 1), before()),
    ("conditions went back", storage([of(observedGeneration=1), *ready()[1:]], 1), before()),
    ("database, user, binding was forgotten", storage(failed(), 2), before()),
    ("the time of condition Ready moved", storage(ready(lastTransitionTime=LATER)), before()),
    ("the time of condition Ready went back", storage(failed(), 2, **FACTS), storage(ready(lastTransitionTime=LATER))),
]


@pytest.mark.parametrize(("rule", "stored", "stood"), SINCE, ids=[rule for rule, _, _ in SINCE])
def test_it_finds_what_may_not_become_of_a_status(rule: str, stored: dict[str, Any], stood: dict[str, Any]) -> None:
    assert [broken for broken in violations(stored, stood) if broken.startswith(rule)]
    other = {**stood, "metadata": {**stood["metadata"], "uid": "another"}}
    assert violations(stored, other) == violations(stored), "another object's status counts for nothing"


GOOD: dict[str, tuple[dict[str, Any], str]] = {
    "never looked at": (storage([], -1), "InProgress"),
    "ready": (storage(ready()), "Current"),
    "stalled": (storage(failed(CONFLICT, reason="Conflict"), 2), "Failed"),
    "overdue": (storage(failed(OVERDUE)), "Failed"),
    "at work on a new generation": (storage(failed(), 1), "InProgress"),
    "at work on the first generation": (storage(failed(), -1), "InProgress"),
    "ready for the spec before": (storage([each | {"observedGeneration": 1} for each in ready()], 1), "InProgress"),
    "observed": (storage([of(reason="Observed"), *ready()[1:]]), "Current"),
}


@pytest.mark.parametrize("case", list(GOOD))
def test_it_passes_what_keeps_the_contract(case: str) -> None:
    stored, computed = GOOD[case]
    assert violations(stored, stored) == []
    assert kstatus(stored) == computed
    deleting = {**stored, "metadata": {**stored["metadata"], "deletionTimestamp": NOW}}
    assert (violations(deleting), kstatus(deleting)) == ([], "Terminating")


def test_a_new_object_without_the_default_of_the_crd_would_be_taken_for_finished() -> None:
    assert kstatus({"metadata": {"generation": 1}}) == "Current"


def test_a_secret_is_found_as_a_word_only() -> None:
    assert violations(storage(ready(message="port 54321 and db54")), secrets=["5432", "54"]) == []
    assert violations(storage(ready(message="port 5432.")), secrets=["5432"]) != []
