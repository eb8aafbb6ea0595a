"""Why a condition is what it is: the one place that turns a Result into the status of a CipherStorage."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from cipher_operator.api.conditions import Condition, Draft, merge
from cipher_operator.api.failures import STAGES, ConditionType, Failure
from cipher_operator.api.reasons import FailureClass, Reason
from cipher_operator.reconcile.result import Result

PLAN_LINES, PLAN_LINE_LENGTH = 128, 2_048
OVERDUE = "Not ready for longer than the progress deadline, still trying"

_DONE = {
    ConditionType.CONNECTED: "Logged in to the server as administrator",
    ConditionType.DATABASE_READY: "The database exists",
    ConditionType.ACCESS_GRANTED: "The login has what Cipher needs",
    ConditionType.SCHEMA_APPLIED: "Cipher's tables and indexes are as they must be",
    ConditionType.SECRET_PUBLISHED: "The Secret holds a login that was tested",
}


def next_status(
    result: Result, previous: Mapping[str, Any], generation: int, now: str, *, progress_deadline: float
) -> dict[str, Any]:
    """Return the whole next status (JSON), keeping kstatus's and Flux's invariants.

    `now` is RFC 3339 in UTC, `progress_deadline` in seconds. `observedGeneration` moves when the generation is
    finished, by success or by stall; until then it stays, so that tools see work in progress. What the previous
    status says of a storage that was ready (database, user, binding) is kept: it is what lost data is judged by.
    """
    before = standing_conditions(previous)
    since = _attempted_since(previous, before, generation, now)
    failure = result.failure.at(ConditionType.CONNECTED) if result.failure is not None else None
    drafts = _stage_drafts(replace(result, failure=failure), before)
    if failure is not None:
        drafts += failing(failure, overdue=_overdue(before, generation, since, now, progress_deadline))
    elif result.plan:
        message = (
            f"{len(result.plan)} statements would run; they stand in `status.plan`. {Reason.CHANGES_PENDING.advice}"
        )
        drafts.append(Draft(ConditionType.READY, "False", Reason.CHANGES_PENDING, message))
        drafts.append(Draft(ConditionType.STALLED, "True", Reason.CHANGES_PENDING, message))
    else:
        drafts.append(Draft(ConditionType.READY, "True", result.reason, _ready_message(result)))
    return (
        _status(result, previous, generation if finished(drafts) else previous.get("observedGeneration", -1))
        | ({} if _ended(drafts) else {"attemptedSince": since})
        | {"conditions": [condition.to_json() for condition in merge(before.values(), drafts, generation, now)]}
    )


def failing(failure: Failure, *, overdue: bool) -> tuple[Draft, Draft]:
    """Return what is said of an object that is not ready, and whether a person must act or it is tried on; `overdue`
    where it was tried for longer than the progress deadline."""
    ready = Draft(ConditionType.READY, "False", failure.reason, failure.message)
    if failure.failure_class is FailureClass.STALLED:
        return ready, Draft(ConditionType.STALLED, "True", failure.reason, failure.message)
    if overdue and failure.reason is not Reason.BUILDING_INDEX:
        why = f"{OVERDUE}: {failure.message}"
        return ready, Draft(ConditionType.STALLED, "True", Reason.PROGRESS_DEADLINE_EXCEEDED, why)
    return ready, Draft(ConditionType.RECONCILING, "True", failure.reason, failure.message)


def finished(drafts: Iterable[Draft]) -> bool:
    """Return whether this generation has come to its end, by success or by a stall."""
    return not any(draft.type is ConditionType.RECONCILING for draft in drafts)


def progressing(previous: Mapping[str, Any], generation: int, now: str, reason: Reason) -> dict[str, Any] | None:
    """Return the status that says that a run is at work; None where the one that stands says it, or a look at a storage
    that is as it was needs no word.

    Ready turns False with it: who waits for Ready of a new generation, or of a new object, waits for its end.
    """
    before = standing_conditions(previous)
    ready = before.get(ConditionType.READY)
    told = ready is not None and ready.observed_generation == generation
    if told and (reason is Reason.PROGRESSING or (ready is not None and ready.status == "False")):
        return None
    drafts = [
        Draft(ConditionType.READY, "False", reason, reason.advice),
        Draft(ConditionType.RECONCILING, "True", reason, reason.advice),
        *(_unlooked(stage, before, reason) for stage in STAGES),
    ]
    kept = {key: value for key, value in previous.items() if key not in ("conditions", "plan")}
    return (
        {"observedGeneration": -1}
        | kept
        | {"attemptedSince": _attempted_since(previous, before, generation, now)}
        | {"conditions": [condition.to_json() for condition in merge(before.values(), drafts, generation, now)]}
    )


def summary(status: Mapping[str, Any]) -> tuple[tuple[ConditionType, str], ...]:
    """Return type and reason of Ready, Reconciling and Stalled, as far as they stand."""
    shown = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED)
    conditions = standing_conditions(status)
    return tuple((type_, conditions[type_].reason) for type_ in shown if type_ in conditions)


def _unlooked(stage: ConditionType, before: Mapping[ConditionType, Condition], reason: Reason) -> Draft:
    """Return what is said of a stage that this run has not come to: as it stood."""
    if stage in before:
        return before[stage].draft
    return Draft(stage, "Unknown", reason, f"Not checked: {reason}")


def _status(result: Result, previous: Mapping[str, Any], observed_generation: int) -> dict[str, Any]:
    status: dict[str, Any] = {"observedGeneration": observed_generation}
    kept = ("binding", "database", "user", "serverVersion", "passwordSetAt")
    status.update({key: previous[key] for key in kept if key in previous})
    if result.facts is not None:
        status["binding"] = {"name": result.facts.secret_name}
        status["database"] = result.facts.database
        status["user"] = result.facts.user
        status["serverVersion"] = result.facts.server_version
        status.pop("passwordSetAt", None)
        if result.facts.password_set_at is not None:
            status["passwordSetAt"] = result.facts.password_set_at
    handled = {**_mapping(previous.get("handledRequests")), **result.handled}
    if kept_requests := {name: value for name, value in handled.items() if value}:
        status["handledRequests"] = kept_requests
    if result.plan:
        status["plan"] = shorten(result.plan)
    return status


def shorten(plan: Sequence[str]) -> list[str]:
    """Return the plan within the schema's bounds: 128 lines of 2,048 characters."""
    lines = [line[:PLAN_LINE_LENGTH] for line in plan]
    if len(lines) > PLAN_LINES:
        lines = [*lines[: PLAN_LINES - 1], f"-- and {len(lines) - PLAN_LINES + 1} more statements"]
    return lines


def _ready_message(result: Result) -> str:
    facts = result.facts
    if facts is None:
        return "The server already is as the spec wants it"
    ready = f"Database '{facts.database}' is ready for login '{facts.user}'; Secret '{facts.secret_name}' is published"
    # Sentence by sentence: what is in one may be SQL, with names that hold anything.
    return "; ".join(dict.fromkeys((ready, *result.warnings)))


def _stage_drafts(result: Result, before: Mapping[ConditionType, Condition]) -> list[Draft]:
    """Return a condition per stage: proven, failed, or not looked at in this run."""
    failure = result.failure
    failed = failure.stage if failure is not None else None
    # Where the connection itself failed, what was seen before it broke is no proof of what is.
    reached = () if failed is ConditionType.CONNECTED else result.reached
    why = failure.reason if failure is not None else result.reason
    drafts = []
    for stage in STAGES:
        standing = before[stage].status if stage in before else "Unknown"
        if failure is not None and stage is failed:
            drafts.append(Draft(stage, "False", failure.reason, failure.message))
        elif stage in reached:
            drafts.append(Draft(stage, "True", Reason.READY, _DONE[stage]))
        elif stage is ConditionType.SECRET_PUBLISHED and result.unpublished and standing != "Unknown":
            drafts.append(
                Draft(stage, "False", why, "The Secret is missing or holds no login; it is still to come back")
            )
        elif stage is ConditionType.SECRET_PUBLISHED and standing == "True":
            # The Secret stays published whatever the server does.
            kept = before[stage].draft
            # Observe mode has looked at it; a run that failed before may know nothing of what this spec asks of it.
            drafts.append(kept if failure is not None else replace(kept, observed_generation=None))
        else:
            drafts.append(Draft(stage, "Unknown", why, f"Not checked: {why}"))
    return drafts


def _ended(drafts: Iterable[Draft]) -> bool:
    """Return whether nothing is tried any more that began with this generation, or with the failure."""
    return not any(
        draft.type is ConditionType.RECONCILING or draft.reason == Reason.PROGRESS_DEADLINE_EXCEEDED for draft in drafts
    )


def _attempted_since(
    previous: Mapping[str, Any], before: Mapping[ConditionType, Condition], generation: int, now: str
) -> str:
    """Return since when this generation has been tried without an end, RFC 3339; now where that begins.

    Reconciling itself cannot tell: its time moves only when its status flips, and a new generation gets a new deadline.
    """
    trying = before.get(ConditionType.RECONCILING) or before.get(ConditionType.STALLED)
    if trying is None or trying.observed_generation != generation or _ended([trying.draft]):
        return now
    return str(previous.get("attemptedSince") or trying.last_transition_time)


def _overdue(before: Mapping[ConditionType, Condition], generation: int, since: str, now: str, deadline: float) -> bool:
    """Return whether this generation has been tried for longer than the deadline; once exceeded it stays so until the
    storage is ready or changed."""
    stalled = before.get(ConditionType.STALLED)
    if stalled is not None and stalled.reason == Reason.PROGRESS_DEADLINE_EXCEEDED:
        return stalled.observed_generation == generation
    return (datetime.fromisoformat(now) - datetime.fromisoformat(since)).total_seconds() > deadline


def standing_conditions(previous: Mapping[str, Any]) -> dict[ConditionType, Condition]:
    """Return the conditions that stand in a status, by type."""
    conditions = previous.get("conditions")
    found = [Condition.from_json(raw) for raw in conditions] if isinstance(conditions, list) else []
    return {condition.type: condition for condition in found if condition is not None}


def _mapping(value: Any) -> Mapping[str, str]:
    return value if isinstance(value, Mapping) else {}
