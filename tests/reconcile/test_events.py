"""Which Event is posted when: transitions, what was done that nobody asked for, and what was refused."""

from dataclasses import replace
from typing import Any

import pytest

from cipher_operator.api.failures import STAGES, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import Resource, parse_resource
from cipher_operator.reconcile.report.events import ended, events, held_sentence
from cipher_operator.reconcile.result import Ended, Facts, PasswordChange, Result

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
    "first Ready": (storage(None), ready(executed=DONE), ["Created", "Ready"]),
    "made, and then it fails": (storage(None), replace(REFUSED, executed=DONE), ["Created", "ConnectionRefused"]),
    "begun again after a loss": (storage("False", "DatabaseLost"), ready(executed=DONE), ["Created", "Ready"]),
    "taken over": (storage(None), ready(taken_over=("the login",)), ["Adopted", "Ready"]),
    "a check that finds nothing": (storage(), ready(), []),
    "drift": (storage(), ready(executed=DONE), ["DriftHealed"]),
    "a new spec is no drift": (storage(observed=0), ready(executed=DONE), ["Created"]),
    "a new spec that changes what is there": (storage(observed=0), ready(executed=DONE[:1]), []),
    "a marker alone is no news": (storage(), ready(executed=DONE[2:]), []),
    "a rotation": (storage(), ready(executed=DONE, change=PasswordChange.ROTATED), ["PasswordRotated"]),
    "a lost Secret": (storage(), ready(executed=DONE, change=PasswordChange.SECRET_LOST), ["SecretRecreated"]),
    "the user's own password": (storage(), ready(executed=DONE, change=PasswordChange.BROUGHT), ["PasswordChanged"]),
    "the administrator's, in mode Shared": (
        storage(),
        ready(change=PasswordChange.ADMINISTRATORS, rewritten=("password", "uri")),
        ["PasswordChanged"],
    ),
    "a lost Secret whose password is not the operator's": (
        storage(),
        ready(change=PasswordChange.SAME_AGAIN),
        ["SecretRecreated"],
    ),
    "something else in the Secret": (storage(), ready(rewritten=("host",)), ["SecretUpdated"]),
    "that, and it is Ready again": (
        storage("False", "DNSFailure"),
        ready(rewritten=("host",)),
        ["SecretUpdated", "Ready"],
    ),
    "that, and it fails behind it": (storage(), replace(REFUSED, rewritten=("host",)), ["ConnectionRefused"]),
    "the previous login ends": (storage(), ready(executed=DONE, handled={"revokePrevious": "1"}), ["PreviousRevoked"]),
    "a request that can never be": (storage(), ready(ignored=("it changes nothing",)), ["RequestIgnored"]),
    "it fails": (storage(), REFUSED, ["ConnectionRefused"]),
    "it fails on": (storage("False", "ConnectionRefused"), REFUSED, []),
    "it fails for another reason": (storage("False", "DNSFailure"), REFUSED, ["ConnectionRefused"]),
    "it is Ready again": (storage("False", "ConnectionRefused"), ready(), ["Ready"]),
    "Observe, changes pending": (storage(None), Result(plan=("CREATE ROLE x;",)), ["ChangesPending"]),
    "Observe, nothing to do": (storage(None), Result(plan=()), ["Observed"]),
    "a Secret that somebody deletes": (storage(), ready(held=(("Secret", "pg-admin"),)), ["SecretHeld"]),
    "said already": (storage(message=held_sentence("Secret", "pg-admin")), ready(held=(("Secret", "pg-admin"),)), []),
}


@pytest.mark.parametrize("case", list(CASES))
def test_events(case: str) -> None:
    resource, result, expected = CASES[case]
    posted = list(events(resource, result, "message"))
    assert [event.reason for event in posted] == expected
    assert {event.type for event in posted} <= {"Normal", "Warning"}


NOTHING_DROPPED = (
    "Nothing of this storage was found where its connection leads to: an earlier try dropped it, or that is another "
    "server now, and what was made for it stands where it was, with all rows"
)
ENDS: dict[str, tuple[Ended, list[tuple[str, str]]]] = {
    "dropped": (
        Ended(("COMMENT ON ROLE o IS '{}';", "DROP DATABASE d;", "DROP ROLE o;")),
        [("Dropped", "DROP DATABASE d; DROP ROLE o;")],
    ),
    "a database that was there before": (
        Ended(("DROP TABLE t;",), ("database 'd', which was there before", "table 'x'")),
        [("Dropped", "DROP TABLE t;"), ("Kept", "Left on the server: database 'd', which was there before, table 'x'")],
    ),
    "left on purpose": (
        Ended((), ("everything",), "`spec.suspend`"),
        [("Kept", "Left on the server (`spec.suspend`): everything")],
    ),
    "there was nothing": (Ended(), []),
    "nothing was found": (Ended(missed=True), [("NothingDropped", NOTHING_DROPPED)]),
}


@pytest.mark.parametrize("case", list(ENDS))
def test_a_deletion_tells_what_it_dropped_and_kept(case: str) -> None:
    end, expected = ENDS[case]
    assert [(event.reason, event.note) for event in ended(end)] == expected
