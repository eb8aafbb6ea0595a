"""The one place that turns what a run found into the status of a CipherStorage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cipher_operator.api.conditions import Condition, Draft, merge
from cipher_operator.api.failures import STAGES, ConditionType, Failure
from cipher_operator.api.reasons import FailureClass, Reason

PLAN_LINES, PLAN_LINE_LENGTH = 128, 2_048


@dataclass(frozen=True, slots=True)
class Facts:
    """What a storage that is ready publishes in its status; known as a whole or not at all."""

    database: str
    user: str
    secret_name: str
    server_version: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one run: ready (`facts`), or `failure`; `reached` are the stages proven before it.

    `plan` is what Observe mode would have run, None in Manage mode. `handled` are the requests that this run
    carried out.
    """

    facts: Facts | None = None
    failure: Failure | None = None
    reached: tuple[ConditionType, ...] = ()
    plan: tuple[str, ...] | None = None
    handled: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    unpublished: bool = False
    """The app Secret is known to be missing, or to hold no login."""

    @property
    def result(self) -> str:
        """Return the reason that the Ready condition gets."""
        if self.failure is not None:
            return self.failure.reason
        if self.plan is not None:
            return Reason.CHANGES_PENDING if self.plan else Reason.OBSERVED
        return Reason.READY


_DONE = {
    ConditionType.CONNECTED: "Logged in to the server as administrator",
    ConditionType.DATABASE_READY: "The database exists",
    ConditionType.ACCESS_GRANTED: "The login has what Cipher needs",
    ConditionType.SCHEMA_APPLIED: "Cipher's tables and indexes are as they must be",
    ConditionType.SECRET_PUBLISHED: "The Secret holds a login that was tested",
}


def next_status(
    outcome: Outcome, previous: Mapping[str, Any], generation: int, now: str, *, progress_deadline: float
) -> dict[str, Any]:
    """Return the whole next status (JSON), keeping kstatus's and Flux's invariants.

    `now` is RFC 3339 in UTC, `progress_deadline` in seconds. `observedGeneration` moves when the generation is
    finished, by success or by stall; until then it stays, so that tools see work in progress. What the previous
    status says of a storage that was ready (database, user, binding) is kept: it is what lost data is judged by.
    """
    before = _previous_conditions(previous)
    drafts = _stage_drafts(outcome, before)
    failure = outcome.failure
    stalled: tuple[Reason, str] | None = None
    if failure is not None:
        drafts.append(Draft(ConditionType.READY, "False", failure.reason, failure.message))
        if failure.failure_class is FailureClass.STALLED:
            stalled = failure.reason, failure.message
        elif _overdue(before, generation, now, progress_deadline):
            stalled = (
                Reason.PROGRESS_DEADLINE_EXCEEDED,
                f"Not ready for longer than the progress deadline, still trying: {failure.message}",
            )
        else:
            drafts.append(Draft(ConditionType.RECONCILING, "True", failure.reason, failure.message))
    elif outcome.plan:
        message = (
            f"{len(outcome.plan)} statements would run; they stand in `status.plan`. {Reason.CHANGES_PENDING.advice}"
        )
        drafts.append(Draft(ConditionType.READY, "False", Reason.CHANGES_PENDING, message))
        stalled = Reason.CHANGES_PENDING, message
    else:
        drafts.append(Draft(ConditionType.READY, "True", outcome.result, _ready_message(outcome)))
    if stalled is not None:
        drafts.append(Draft(ConditionType.STALLED, "True", *stalled))
    finished = failure is None or stalled is not None
    return _status(outcome, previous, generation if finished else previous.get("observedGeneration", -1)) | {
        "conditions": [
            condition.to_json() for condition in merge(_standing(before, generation), drafts, generation, now)
        ]
    }


def _status(outcome: Outcome, previous: Mapping[str, Any], observed_generation: int) -> dict[str, Any]:
    status: dict[str, Any] = {"observedGeneration": observed_generation}
    kept = ("binding", "database", "user", "serverVersion")
    status.update({key: previous[key] for key in kept if key in previous})
    if outcome.facts is not None:
        status["binding"] = {"name": outcome.facts.secret_name}
        status["database"] = outcome.facts.database
        status["user"] = outcome.facts.user
        status["serverVersion"] = outcome.facts.server_version
    handled = {**_mapping(previous.get("handledRequests")), **outcome.handled}
    if kept_requests := {name: value for name, value in handled.items() if value}:
        status["handledRequests"] = kept_requests
    if outcome.plan:
        status["plan"] = shorten(outcome.plan)
    return status


def shorten(plan: Sequence[str]) -> list[str]:
    """Return the plan within the schema's bounds: 128 lines of 2,048 characters."""
    lines = [line[:PLAN_LINE_LENGTH] for line in plan]
    if len(lines) > PLAN_LINES:
        lines = [*lines[: PLAN_LINES - 1], f"-- and {len(lines) - PLAN_LINES + 1} more statements"]
    return lines


def _ready_message(outcome: Outcome) -> str:
    facts = outcome.facts
    if facts is None:
        return "The server already is as the spec wants it"
    ready = f"Database '{facts.database}' is ready for login '{facts.user}'; Secret '{facts.secret_name}' is published"
    return "; ".join((ready, *outcome.warnings))


def _stage_drafts(outcome: Outcome, before: Mapping[ConditionType, Condition]) -> list[Draft]:
    """Return a condition per stage: proven, failed, or not looked at in this run."""
    failure = outcome.failure
    failed = failure.stage if failure is not None else None
    # Where the connection itself failed, what was seen before it broke is no proof of what is.
    reached = () if failed is ConditionType.CONNECTED else outcome.reached
    why = failure.reason if failure is not None else outcome.result
    drafts = []
    for stage in STAGES:
        standing = before[stage].status if stage in before else "Unknown"
        if failure is not None and stage is failed:
            drafts.append(Draft(stage, "False", failure.reason, failure.message))
        elif stage in reached:
            drafts.append(Draft(stage, "True", Reason.READY, _DONE[stage]))
        elif stage is ConditionType.SECRET_PUBLISHED and outcome.unpublished and standing != "Unknown":
            drafts.append(
                Draft(stage, "False", why, "The Secret is missing or holds no login; it is still to come back")
            )
        elif stage is ConditionType.SECRET_PUBLISHED and standing == "True":
            # The Secret stays published whatever the server does.
            drafts.append(Draft(stage, "True", before[stage].reason, before[stage].message))
        else:
            drafts.append(Draft(stage, "Unknown", why, f"Not checked: {why}"))
    return drafts


def _overdue(before: Mapping[ConditionType, Condition], generation: int, now: str, deadline: float) -> bool:
    """Return whether this generation has been tried for longer than the deadline.

    The start is where Reconciling began; once exceeded it stays so until the storage is ready or changed.
    """
    stalled = before.get(ConditionType.STALLED)
    if stalled is not None and stalled.reason == Reason.PROGRESS_DEADLINE_EXCEEDED:
        return stalled.observed_generation == generation
    since = before.get(ConditionType.RECONCILING)
    if since is None or since.observed_generation != generation:
        return False
    started = datetime.fromisoformat(since.last_transition_time)
    return (datetime.fromisoformat(now) - started).total_seconds() > deadline


def _standing(before: Mapping[ConditionType, Condition], generation: int) -> tuple[Condition, ...]:
    """Return what keeps its time: not Reconciling of another generation, since the deadline counts from its start."""
    return tuple(
        condition
        for condition in before.values()
        if condition.type is not ConditionType.RECONCILING or condition.observed_generation == generation
    )


def _previous_conditions(previous: Mapping[str, Any]) -> dict[ConditionType, Condition]:
    conditions = previous.get("conditions")
    found = [Condition.from_json(raw) for raw in conditions] if isinstance(conditions, list) else []
    return {condition.type: condition for condition in found if condition is not None}


def _mapping(value: Any) -> Mapping[str, str]:
    return value if isinstance(value, Mapping) else {}
