"""A CipherStorage with a status of every reason, as the code itself writes it, and what Argo CD shall say of each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cipher_operator.api.failures import STAGES, ConditionType, Failure
from cipher_operator.api.reasons import FailureClass, Reason
from cipher_operator.reconcile.report.status import next_status, progressing
from cipher_operator.reconcile.result import Facts, Result
from support import crd

DEADLINE = 600.0
NEW = {"observedGeneration": -1}
"""What the API server gives a new object."""
READY = Result(facts=Facts("cipher_db", "cipher_team_chat_1b2c3d4e", "chat-cipher", "17.2"), reached=STAGES)
SUSPENDED = "Suspended by spec.suspend: the operator leaves this storage alone"
UNFINISHED = "Waiting for the operator to finish the latest spec"
PENDING = "Pending deletion"
_NO_FAILURE = {
    *(Reason.READY, Reason.OBSERVED, Reason.CHANGES_PENDING, Reason.PROGRESSING, Reason.DELETING),
    Reason.PROGRESS_DEADLINE_EXCEEDED,
}
_STAGES = {
    Reason.DATABASE_MISSING: ConditionType.DATABASE_READY,
    Reason.DATABASE_LOST: ConditionType.DATABASE_READY,
    Reason.CONFLICT: ConditionType.ACCESS_GRANTED,
    Reason.ALREADY_EXISTS: ConditionType.ACCESS_GRANTED,
    Reason.INSUFFICIENT_PRIVILEGE: ConditionType.ACCESS_GRANTED,
    Reason.SCHEMA_CONFLICT: ConditionType.SCHEMA_APPLIED,
    Reason.LOCK_TIMEOUT: ConditionType.SCHEMA_APPLIED,
    Reason.BUILDING_INDEX: ConditionType.SCHEMA_APPLIED,
}
"""Where a reason has a stage of its own; the others fail at the connection."""


@dataclass(frozen=True, slots=True)
class Fixture:
    """A stored CipherStorage and the health that it has."""

    name: str
    health: str
    message: str
    storage: Mapping[str, Any]
    reason: Reason | None = None
    """The reason that this one is for."""

    @property
    def path(self) -> str:
        """Return the file's place beside health_test.yaml."""
        return f"testdata/{self.health.lower()}_{self.name}.yaml"


def fixtures() -> list[Fixture]:
    """Return one of every reason, and those whose spec, not whose reason, decides."""
    return [*_of_reasons(), *_of_specs()]


def _of_reasons() -> Iterator[Fixture]:
    ready = status_of(READY)
    yield Fixture("ready", "Healthy", ready_message(ready), stored(ready), Reason.READY)
    observed = status_of(Result(reached=STAGES[:1], plan=()))
    observing = {"managementPolicy": "Observe"}
    yield Fixture("observed", "Healthy", ready_message(observed), stored(observed, observing), Reason.OBSERVED)
    planned = status_of(Result(reached=STAGES[:1], plan=('CREATE DATABASE "cipher_db" TEMPLATE template0;',)))
    found = stored(planned, observing)
    yield Fixture("changes_pending", "Degraded", ready_message(planned), found, Reason.CHANGES_PENDING)
    at_work = progressing(NEW, 1, at(0), Reason.PROGRESSING)
    assert at_work is not None
    advice = Reason.PROGRESSING.advice
    yield Fixture("progressing", "Progressing", advice, stored(at_work), Reason.PROGRESSING)
    deleting = progressing(ready, 1, at(1), Reason.DELETING)
    assert deleting is not None
    yield Fixture("deleting", "Progressing", PENDING, deleted(stored(deleting)), Reason.DELETING)
    for reason in Reason:
        if reason not in _NO_FAILURE:
            yield _failed(reason)
    late = Reason.CONNECTION_REFUSED
    overdue = status_of(failed(late), status_of(failed(late)), minute=11)
    message = f"Not ready for longer than the progress deadline, still trying: {late.advice}"
    exceeded = Reason.PROGRESS_DEADLINE_EXCEEDED
    yield Fixture("progress_deadline_exceeded", "Degraded", message, stored(overdue), exceeded)


def _failed(reason: Reason) -> Fixture:
    storage = stored(status_of(failed(reason)))
    if reason is Reason.DELETION_BLOCKED:
        return Fixture(snake(reason), "Progressing", PENDING, deleted(storage), reason)
    health = "Degraded" if reason.failure_class is FailureClass.STALLED else "Progressing"
    return Fixture(snake(reason), health, reason.advice, storage, reason)


def _of_specs() -> Iterator[Fixture]:
    ready, refused = status_of(READY), status_of(failed(Reason.INVALID_URL))
    yield Fixture("new", "Progressing", UNFINISHED, stored(NEW))
    yield Fixture("edited", "Progressing", UNFINISHED, stored(ready, generation=2))
    yield Fixture("edited_when_stalled", "Progressing", UNFINISHED, stored(refused, generation=2))
    waiting = failed(Reason.SECRET_NOT_FOUND)
    edited = stored(status_of(waiting, ready, generation=2), generation=2)
    yield Fixture("edited_and_waiting", "Progressing", Reason.SECRET_NOT_FOUND.advice, edited)
    off = {"suspend": True}
    yield Fixture("from_the_start", "Suspended", SUSPENDED, stored(NEW, off))
    yield Fixture("when_ready", "Suspended", SUSPENDED, stored(ready, off, generation=2))
    yield Fixture("when_stalled", "Suspended", SUSPENDED, stored(refused, off, generation=2))
    yield Fixture("suspended_and_deleted", "Progressing", PENDING, deleted(stored(ready, off, generation=2)))


def failed(reason: Reason) -> Result:
    """Return the end of a run that failed for this reason, with its documented sentence as message."""
    stage = _STAGES.get(reason, ConditionType.CONNECTED)
    return Result(failure=Failure(reason, reason.advice, stage=stage), reached=STAGES[: STAGES.index(stage)])


def status_of(
    result: Result, previous: Mapping[str, Any] = NEW, *, generation: int = 1, minute: int = 0
) -> dict[str, Any]:
    """Return the status that the operator writes for a run's end."""
    return next_status(result, previous, generation, at(minute), progress_deadline=DEADLINE)


def stored(status: Mapping[str, Any], spec: Mapping[str, Any] | None = None, *, generation: int = 1) -> dict[str, Any]:
    """Return a CipherStorage as `kubectl get -o yaml` shows it."""
    given = {"connection": {"secretRef": {"name": "pg-admin"}}, "database": {"name": "cipher_db"}} | dict(spec or {})
    return {
        "apiVersion": "storage.cipher.dev/v1alpha1",
        "kind": "CipherStorage",
        "metadata": {
            "creationTimestamp": at(0),
            "generation": generation,
            "name": "chat",
            "namespace": "team",
            "resourceVersion": "4711",
            "uid": "6b1d7c1e-8a0e-4a52-9d0b-3f5c2e8a9b10",
        },
        "spec": crd.with_defaults(given, crd.schema("spec")),
        "status": dict(status),
    }


def deleted(storage: Mapping[str, Any]) -> dict[str, Any]:
    """Return it while its deletion goes on."""
    going = {"deletionTimestamp": at(1), "finalizers": ["storage.cipher.dev/finalizer"]}
    return {
        **storage,
        "metadata": {**storage["metadata"], **going},
        "spec": {**storage["spec"], "deletionPolicy": "Delete"},
    }


def ready_message(status: Mapping[str, Any]) -> str:
    """Return the message of the Ready condition."""
    return next(str(each["message"]) for each in status["conditions"] if each["type"] == "Ready")


def snake(reason: Reason) -> str:
    """Return the reason as part of a file's name."""
    return reason.name.lower()


def at(minute: int) -> str:
    """Return a fixed time and some minutes, RFC 3339."""
    return f"2026-01-01T00:{minute:02}:00Z"
