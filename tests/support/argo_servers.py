"""A CipherServer in every state that tools tell apart, and what Argo CD shall say of each."""

from collections.abc import Iterator, Mapping
from typing import Any

from cipher_operator.api.conditions import Draft, merge
from cipher_operator.api.failures import ConditionType
from support import crd
from support.argo_fixtures import NEW, PENDING, UNFINISHED, Fixture, at
from support.servers import LEAST

LOGGED_IN = "Logged in as 'postgres', which has CREATEROLE, CREATEDB"
DOWN = "The server refuses connections; it is tried again"
WAITING = {
    "ConnectionRefused": DOWN,
    "SecretNotFound": "Secret 'pg-admin' (`spec.connection.secretRef.name`) does not exist; create it",
    "AuthenticationFailed": "The server refuses the login; correct the password in the Secret",
    "InsufficientPrivilege": "Role 'postgres' may not create roles; run: ALTER ROLE \"postgres\" CREATEROLE",
    "IdentityUnavailable": "STS refuses the operator's identity: InvalidIdentityToken",
}
STALLED = {
    "InvalidSpec": "`spec.limits.databaseNames` cannot be used",
    "UnsupportedServer": "The server is PostgreSQL 12; use 13 to 18",
    "ProgressDeadlineExceeded": DOWN,
}


def server_fixtures() -> list[Fixture]:
    """Return one of each state."""
    return [*_of_reasons(), *_of_specs()]


def _of_reasons() -> Iterator[Fixture]:
    yield Fixture("ready", "Healthy", LOGGED_IN, server(ready()))
    for reason, message in WAITING.items():
        yield Fixture(_snake(reason), "Progressing", message, server(failing(reason, message)))
    for reason, message in STALLED.items():
        yield Fixture(_snake(reason), "Degraded", message, server(failing(reason, message, stalled=True)))


def _of_specs() -> Iterator[Fixture]:
    wrong = failing("InvalidSpec", STALLED["InvalidSpec"], stalled=True)
    yield Fixture("new", "Progressing", UNFINISHED, server(NEW))
    yield Fixture("edited", "Progressing", UNFINISHED, server(ready(), generation=2))
    yield Fixture("edited_when_stalled", "Progressing", UNFINISHED, server(wrong, generation=2))
    waiting = failing("ConnectionRefused", DOWN, generation=2)
    yield Fixture("edited_and_waiting", "Progressing", DOWN, server(waiting, generation=2))
    held = server(ready())
    going = {"deletionTimestamp": at(1), "finalizers": ["storage.cipher.dev/in-use"]}
    yield Fixture("in_use", "Progressing", PENDING, {**held, "metadata": {**held["metadata"], **going}})


def ready(generation: int = 1) -> dict[str, Any]:
    """Return the status of a server that is ready and in use."""
    conditions = merge((), [Draft(ConditionType.READY, "True", "Ready", LOGGED_IN)], generation, at(0))
    return {
        "observedGeneration": generation,
        "serverVersion": "17.2",
        "storages": 3,
        "rights": ["CREATEROLE", "CREATEDB"],
        "conditions": [each.to_json() for each in conditions],
    }


def failing(reason: str, message: str, *, generation: int = 1, stalled: bool = False) -> dict[str, Any]:
    """Return the status of a server that is not ready; a stall finishes its generation."""
    summary = ConditionType.STALLED if stalled else ConditionType.RECONCILING
    cause = "ConnectionRefused" if reason == "ProgressDeadlineExceeded" else reason
    drafts = [Draft(ConditionType.READY, "False", cause, message), Draft(summary, "True", reason, message)]
    conditions = [each.to_json() for each in merge((), drafts, generation, at(0))]
    return {"observedGeneration": generation if stalled else -1, "storages": 0, "conditions": conditions}


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


def _snake(reason: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in reason).lstrip("_")
