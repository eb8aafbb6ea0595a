"""What every stored status must keep: the rules of kstatus and Flux, and the contract of this project's own reasons.

Sources: cli-utils pkg/kstatus/status; fluxcd/pkg runtime/conditions/check (FAIL codes, at the end of a run); the
Kubernetes API conventions for conditions.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from cipher_operator.api.conditions import MAX_MESSAGE
from cipher_operator.api.failures import STAGES
from cipher_operator.api.reasons import FailureClass, Reason

Json = Mapping[str, Any]
Conditions = Mapping[str, Json]

ABNORMAL = ("Reconciling", "Stalled")
DONE = frozenset({Reason.READY, Reason.OBSERVED})
AT_WORK = frozenset({Reason.PROGRESSING, Reason.DELETING})
NEW: Json = {"observedGeneration": -1}
"""The status that the CRD gives a new object."""
KEPT = ("database", "user", "binding")
"""What lost data is judged by: once said, it is never forgotten."""
_QUOTES = re.compile("['\"]")
"""What is between them is a name, with semicolons of its own."""
_EXAMPLE = "postgresql://USER:PASSWORD@HOST/DATABASE"
"""How a message says a URL is written."""
_LOGIN = re.compile(r"\w+://\S*@|password\s*=", re.IGNORECASE)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def violations(storage: Json, previous: Json | None = None, secrets: Iterable[str] = ()) -> list[str]:
    """Return which rules the status of a stored version breaks, [] when none; `previous` is the version before it.

    A status is judged by the generation that its Ready is about: that one may be older than the object's, because
    somebody changed the spec since. `secrets` are texts that must stand nowhere in it.
    """
    if previous is not None and previous["metadata"].get("uid") != storage["metadata"].get("uid"):
        previous = None
    status, listed = _status(storage), _status(storage).get("conditions") or []
    if not listed:
        return [] if status in ({}, NEW) and not _conditions(previous) else ["a written status without conditions"]
    conditions = {condition.get("type", ""): condition for condition in listed}
    generation = conditions.get("Ready", {}).get("observedGeneration", 0)
    if len(conditions) != len(listed):
        return ["a condition type stands twice"]
    return [
        *_fluxs(status, conditions, generation),
        *_kstatuss(storage, conditions, generation),
        *(rule for condition in listed for rule in _shape(condition)),
        *_reasons(conditions),
        *_facts(status, conditions),
        *(_changes(storage, conditions, previous) if previous is not None else ()),
        *(f"it tells {what}" for what in _told(status, secrets)),
    ]


def server_violations(server: Json, previous: Json | None = None, secrets: Iterable[str] = ()) -> list[str]:
    """Return which rules a CipherServer's status breaks: the same, without stages and a storage's own facts."""
    if previous is not None and previous["metadata"].get("uid") != server["metadata"].get("uid"):
        previous = None
    listed = _status(server).get("conditions") or []
    if not listed:
        return [] if _status(server) in ({}, NEW) and not _conditions(previous) else ["a status without conditions"]
    conditions = {condition["type"]: condition for condition in listed}
    generation = conditions.get("Ready", {}).get("observedGeneration", 0)
    return [
        *_fluxs(_status(server), conditions, generation),
        *_kstatuss(server, conditions, generation),
        *(rule for condition in listed for rule in _shape(condition)),
        *(rule for rule in _reasons(conditions) if not rule.startswith("no stage says")),
        *(_changes(server, conditions, previous) if previous is not None else ()),
        *(f"it tells {what}" for what in _told(_status(server), secrets)),
    ]


def kstatus(storage: Json) -> str:
    """Return what kstatus computes: Current, InProgress, Failed or Terminating."""
    metadata, status = storage["metadata"], _status(storage)
    if metadata.get("deletionTimestamp"):
        return "Terminating"
    if status.get("observedGeneration", metadata.get("generation")) != metadata.get("generation"):
        return "InProgress"
    conditions = status.get("conditions") or []
    for condition in conditions:
        if condition["status"] == "True" and condition["type"] in ABNORMAL:
            return "InProgress" if condition["type"] == "Reconciling" else "Failed"
    ready = next((condition["status"] for condition in conditions if condition["type"] == "Ready"), "True")
    return "Current" if ready == "True" else "InProgress"


def _fluxs(status: Json, conditions: Conditions, generation: int) -> list[str]:
    """Return Flux's FAIL rules for a finished run that are broken."""
    root = status.get("observedGeneration", -1)
    ready = conditions.get("Ready", {}).get("status")
    reconciling = conditions.get("Reconciling", {}).get("status") == "True"
    stalled = conditions.get("Stalled", {}).get("status") == "True"
    rules = {
        "FAIL 1: Ready=True beside Reconciling or Stalled": ready == "True" and (reconciling or stalled),
        "FAIL 2: Ready is missing": ready is None,
        "FAIL 3: Reconciling=True without Ready=False": reconciling and ready != "False",
        "FAIL 4: Stalled=True without Ready=False": stalled and ready != "False",
        "FAIL 5: Reconciling and Stalled at once": reconciling and stalled,
        "FAIL 6: observedGeneration is ahead of the generation": root > generation,
        "FAIL 7: Ready=True for an old generation": ready == "True" and root != generation,
        "FAIL 8, 9: Ready=True beside a condition of another generation": ready == "True"
        and any(condition.get("observedGeneration") != generation for condition in conditions.values()),
        "a condition is about a later generation than Ready": any(
            condition.get("observedGeneration", 0) > generation for condition in conditions.values()
        ),
        "Reconciling or Stalled is about another generation than Ready": any(
            conditions[name].get("observedGeneration") != generation for name in ABNORMAL if name in conditions
        ),
        "FAIL 11: Ready=Unknown at the end of a run": ready not in (None, "True", "False"),
        "Reconciling or Stalled is kept as False": any(
            conditions.get(name, {}).get("status", "True") != "True" for name in ABNORMAL
        ),
        "Ready=False without Reconciling or Stalled": ready == "False" and not (reconciling or stalled),
        "Stalled=True for a generation that is not observed": stalled and root != generation,
    }
    return [rule for rule, broken in rules.items() if broken]


def _kstatuss(storage: Json, conditions: Conditions, generation: int) -> Iterator[str]:
    """Yield where kstatus says another thing than the conditions, in this order of them or in the reverse."""
    metadata, status = storage["metadata"], _status(storage)
    if generation > metadata.get("generation", 0):
        yield "conditions are about a generation that does not exist"
    deleting = metadata.get("deletionTimestamp") is not None
    if "Stalled" in conditions:
        means = "Failed"
    else:
        means = "Current" if conditions.get("Ready", {}).get("status") == "True" else "InProgress"
    expected = "Terminating" if deleting else means if generation == metadata.get("generation") else "InProgress"
    turned = {**storage, "status": {**status, "conditions": list(reversed(status["conditions"]))}}
    if {kstatus(storage), kstatus(turned)} != {expected}:
        yield f"kstatus says {kstatus(storage)}, the conditions {expected}"


def _shape(condition: Json) -> list[str]:
    """Return what a single condition lacks, or has too much of."""
    of, message = condition.get("observedGeneration"), str(condition.get("message", ""))
    rules = {
        "has no observedGeneration": not isinstance(of, int) or of < 1,
        "has no reason of the table": condition.get("reason") not in list(Reason),
        "has no time": _TIME.fullmatch(str(condition.get("lastTransitionTime", ""))) is None,
        "has no message": not message.strip(),
        "has a message that is too long": len(message) > MAX_MESSAGE,
        "has a message that is not one printable line": not message.isprintable(),
        "says a sentence twice": not _QUOTES.search(message) and len(set(parts := message.split("; "))) != len(parts),
    }
    return [f"condition {condition.get('type')} {rule}" for rule, broken in rules.items() if broken]


def _reasons(conditions: Conditions) -> Iterator[str]:
    """Yield where the class of Ready's reason and what stands beside it differ."""
    ready = conditions.get("Ready", {})
    status, reason = ready.get("status"), ready.get("reason")
    if reason not in list(Reason):
        return
    beside = {name: conditions[name] for name in ABNORMAL if name in conditions}
    if (status == "True") != (reason in DONE):
        yield f"Ready={status} with reason {reason}"
    if status == "True":
        return
    stalls = reason not in AT_WORK | DONE and Reason(reason).failure_class is FailureClass.STALLED
    overdue = beside.get("Stalled", {}).get("reason") == Reason.PROGRESS_DEADLINE_EXCEEDED
    if reason == Reason.PROGRESS_DEADLINE_EXCEEDED:
        yield "Ready has not kept its own reason"
    elif overdue and (stalls or reason in AT_WORK):
        yield f"the progress deadline counts for {reason}"
    elif list(beside) != (["Stalled"] if stalls or overdue else ["Reconciling"]):
        yield f"{', '.join(beside) or 'nothing'} stands beside Ready's reason {reason}"
    elif not overdue and any(
        (each.get("reason"), each.get("message")) != (reason, ready.get("message")) for each in beside.values()
    ):
        yield "Reconciling or Stalled says another thing than Ready"
    if reason not in AT_WORK | {Reason.CHANGES_PENDING} and not any(
        (stage.get("status"), stage.get("reason")) == ("False", reason)
        for stage in conditions.values()
        if stage != ready
    ):
        yield f"no stage says {reason}"


def _facts(status: Json, conditions: Conditions) -> Iterator[str]:
    """Yield what a storage that is ready must say beside its conditions."""
    ready = conditions.get("Ready", {})
    if missing := [stage for stage in STAGES if stage not in conditions]:
        yield f"stages are missing: {', '.join(missing)}"
    if ready.get("reason") == Reason.READY:
        if unproven := [stage for stage in STAGES if conditions.get(stage, {}).get("status") != "True"]:
            yield f"Ready before {', '.join(unproven)}"
        if unsaid := [name for name in (*KEPT, "serverVersion") if not status.get(name)]:
            yield f"Ready without {', '.join(unsaid)}"
    if ("plan" in status) != (ready.get("reason") == Reason.CHANGES_PENDING):
        yield "`plan` and ChangesPending stand without each other"
    unfinished = "Reconciling" in conditions or (
        conditions.get("Stalled", {}).get("reason") == Reason.PROGRESS_DEADLINE_EXCEEDED
    )
    if ("attemptedSince" in status) != unfinished:
        yield "`attemptedSince` and unfinished work stand without each other"


def _changes(storage: Json, conditions: Conditions, previous: Json) -> Iterator[str]:
    """Yield what may not become of a status from one version to the next."""
    status, before, stood = _status(storage), _status(previous), _conditions(previous)
    if status.get("observedGeneration", -1) < before.get("observedGeneration", -1):
        yield "observedGeneration went back"
    if conditions.get("Ready", {}).get("observedGeneration", 0) < stood.get("Ready", {}).get("observedGeneration", 0):
        yield "conditions went back to an older generation"
    if forgotten := [name for name in KEPT if name in before and name not in status]:
        yield f"{', '.join(forgotten)} was forgotten"
    for type_, now in conditions.items():
        if type_ not in stood:
            continue
        then, same = stood[type_], stood[type_]["status"] == now["status"]
        if same and now["lastTransitionTime"] != then["lastTransitionTime"]:
            yield f"the time of condition {type_} moved though its status did not"
        if _at(now["lastTransitionTime"]) < _at(then["lastTransitionTime"]):
            yield f"the time of condition {type_} went back"


def _told(status: Json, secrets: Iterable[str]) -> Iterator[str]:
    """Yield what stands in a status that may not: something of a login, or one of the secrets."""
    texts = list(_texts(status))
    # Plain words first: there are many texts and many secrets, and few of them stand in one another.
    if any(_LOGIN.search(text.replace(_EXAMPLE, "")) for text in texts if "=" in text or "://" in text):
        yield "a login"
    for secret in secrets:
        holding = [text for text in texts if secret in text]
        if holding and any(re.search(rf"(?<![\w.-]){re.escape(secret)}(?![\w-])", text) for text in holding):
            yield f"a secret of {len(secret)} characters"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _status(storage: Json) -> Json:
    found = storage.get("status")
    return found if isinstance(found, Mapping) else {}


def _conditions(storage: Json | None) -> Conditions:
    return {each["type"]: each for each in _status(storage or {}).get("conditions") or []}


def _at(time: str) -> datetime:
    return datetime.fromisoformat(time)
