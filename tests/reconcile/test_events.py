"""Which Event is posted when: transitions, what was done that nobody asked for, and what was refused."""

from typing import Any

import pytest

from cipher_operator.api.failures import STAGES, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import Resource, parse_resource
from cipher_operator.reconcile.report.events import events, held_sentence, removed
from cipher_operator.reconcile.result import Facts, PasswordChange, Result

FACTS = Facts("db", "app", "chat-cipher", "16.4")
DONE = ("SET LOCAL ROLE NONE;", "CREATE TABLE x ();", "COMMENT ON ROLE o IS '{}';")


def storage(status: str | None = "True", reason: str = "Ready", observed: int = 1, message: str = "it is") -> Resource:
    ready = {"type": "Ready", "status": status, "reason": reason, "message": message, "observedGeneration": observed}
    body: dict[str, Any] = {"metadata": {"name": "chat", "namespace": "team", "uid": "u", "generation": 1}}
    if status is not None:
        body["status"] = {"conditions": [ready]}
    return parse_resource(body)


def ready(**more: Any) -> Result:
    return Result(facts=FACTS, reached=STAGES, **more)


REFUSED = Result(failure=Failure(Reason.CONNECTION_REFUSED, "why"))

CASES: dict[str, tuple[Resource, Result, list[str]]] = {
    "first Ready": (storage(None), ready(executed=DONE), ["Ready"]),
    "a check that finds nothing": (storage(), ready(), []),
    "drift": (storage(), ready(executed=DONE), ["DriftHealed"]),
    "a new spec is no drift": (storage(observed=0), ready(executed=DONE), []),
    "a marker alone is no news": (storage(), ready(executed=DONE[2:]), []),
    "a rotation": (storage(), ready(executed=DONE, change=PasswordChange.ROTATED), ["PasswordRotated"]),
    "a lost Secret": (storage(), ready(executed=DONE, change=PasswordChange.SECRET_LOST), ["SecretRecreated"]),
    "the user's own password": (storage(), ready(executed=DONE, change=PasswordChange.BROUGHT), ["PasswordChanged"]),
    "the previous login ends": (storage(), ready(executed=DONE, handled={"revokePrevious": "1"}), ["PreviousRevoked"]),
    "a request that can never be": (storage(), ready(ignored=("it changes nothing",)), ["RequestIgnored"]),
    "it fails": (storage(), REFUSED, ["ConnectionRefused"]),
    "it fails on": (storage("False", "ConnectionRefused"), REFUSED, []),
    "it fails for another reason": (storage("False", "DNSFailure"), REFUSED, ["ConnectionRefused"]),
    "it is Ready again": (storage("False", "ConnectionRefused"), ready(), ["Ready"]),
    "Observe, changes pending": (storage(None), Result(plan=("CREATE ROLE x;",)), ["ChangesPending"]),
    "Observe, nothing to do": (storage(None), Result(plan=()), ["Observed"]),
    "a Secret that somebody deletes": (storage(), ready(held=("pg-admin",)), ["SecretHeld"]),
    "said already": (storage(message=held_sentence("pg-admin")), ready(held=("pg-admin",)), []),
}


@pytest.mark.parametrize("case", list(CASES))
def test_events(case: str) -> None:
    resource, result, expected = CASES[case]
    posted = list(events(resource, result, "message"))
    assert [event.reason for event in posted] == expected
    assert {event.type for event in posted} <= {"Normal", "Warning"}


def test_a_deletion_tells_what_it_dropped() -> None:
    event = removed(("COMMENT ON ROLE o IS '{}';", "DROP DATABASE d;", "DROP ROLE o;"))
    assert event is not None
    assert event.note == "DROP DATABASE d; DROP ROLE o;"
    assert removed(()) is None
