"""A CipherServer with a status of every reason, as the code itself writes it, and what Argo CD shall say of each."""

from collections.abc import Iterator, Mapping
from typing import Any

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import FailureClass, Reason
from cipher_operator.core.observed import Admin
from cipher_operator.reconcile.report.server import ServerResult, server_status
from support import crd
from support.argo_fixtures import DEADLINE, NEW, PENDING, UNFINISHED, Fixture, at, ready_message, snake
from support.servers import LEAST

READY = ServerResult(3, version=170002, admin=Admin("postgres", superuser=False, createrole=True, createdb=True))
_OF_STORAGES = frozenset(
    {
        *(Reason.OBSERVED, Reason.CHANGES_PENDING, Reason.PROGRESSING, Reason.DELETING, Reason.BUILDING_INDEX),
        *(Reason.DATABASE_MISSING, Reason.SERVER_NOT_AVAILABLE, Reason.LOCK_TIMEOUT, Reason.DISK_FULL, Reason.CONFLICT),
        *(Reason.ALREADY_EXISTS, Reason.SCHEMA_CONFLICT, Reason.TARGET_CHANGED, Reason.DATABASE_LOST),
        *(Reason.DELETION_BLOCKED, Reason.LIMIT_EXCEEDED),
    }
)
"""Reasons that a server itself never has: they are about a database, or about one storage."""


def server_fixtures() -> list[Fixture]:
    """Return one of every reason, and those whose spec or deletion decides."""
    return [*_of_reasons(), *_of_specs()]


def _of_reasons() -> Iterator[Fixture]:
    ready = status_of(READY)
    yield Fixture("ready", "Healthy", ready_message(ready), server(ready), Reason.READY)
    for reason in Reason:
        if reason in _OF_STORAGES | {Reason.READY, Reason.PROGRESS_DEADLINE_EXCEEDED}:
            continue
        health = "Degraded" if reason.failure_class is FailureClass.STALLED else "Progressing"
        yield Fixture(snake(reason), health, reason.advice, server(status_of(failed(reason))), reason)
    late = Reason.CONNECTION_REFUSED
    overdue = status_of(failed(late), status_of(failed(late)), minute=11)
    message = f"Not ready for longer than the progress deadline, still trying: {late.advice}"
    exceeded = Reason.PROGRESS_DEADLINE_EXCEEDED
    yield Fixture("progress_deadline_exceeded", "Degraded", message, server(overdue), exceeded)


def _of_specs() -> Iterator[Fixture]:
    ready, refused = status_of(READY), status_of(failed(Reason.INVALID_SPEC))
    yield Fixture("new", "Progressing", UNFINISHED, server(NEW))
    yield Fixture("edited", "Progressing", UNFINISHED, server(ready, generation=2))
    yield Fixture("edited_when_stalled", "Progressing", UNFINISHED, server(refused, generation=2))
    waiting = status_of(failed(Reason.CONNECTION_REFUSED), ready, generation=2)
    message = Reason.CONNECTION_REFUSED.advice
    yield Fixture("edited_and_waiting", "Progressing", message, server(waiting, generation=2))
    held = server(ready)
    going = {"deletionTimestamp": at(1), "finalizers": ["storage.cipher.dev/in-use"]}
    yield Fixture("in_use", "Progressing", PENDING, {**held, "metadata": {**held["metadata"], **going}})


def failed(reason: Reason) -> ServerResult:
    """Return the end of a look that failed for this reason, with its documented sentence as message."""
    return ServerResult(3, failure=Failure(reason, reason.advice, stage=ConditionType.CONNECTED))


def status_of(
    result: ServerResult, previous: Mapping[str, Any] = NEW, *, generation: int = 1, minute: int = 0
) -> dict[str, Any]:
    """Return the status that the operator writes for a look's end."""
    return server_status(result, previous, generation, at(minute), progress_deadline=DEADLINE)


def server(status: Mapping[str, Any], *, generation: int = 1) -> dict[str, Any]:
    """Return a CipherServer as `kubectl get -o yaml` shows it."""
    return {
        "apiVersion": "storage.cipher.dev/v1alpha1",
        "kind": "CipherServer",
        "metadata": {
            "creationTimestamp": at(0),
            "generation": generation,
            "name": "prod-eu",
            "resourceVersion": "4711",
            "uid": "0f4d2a63-5a4e-4c0b-9a55-6f0f8f5f7d21",
        },
        "spec": crd.with_defaults(LEAST, crd.schema("spec", crd.SERVERS)),
        "status": dict(status),
    }
