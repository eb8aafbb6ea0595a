"""When a storage is looked at next: a row for each way in which a run can end."""

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.queue.following import Next
from cipher_operator.reconcile.report.requeue import requeue
from cipher_operator.reconcile.result import Facts, Result

FACTS = Facts("db", "app", "chat-cipher", "16.4")
READY = Result(facts=FACTS)


def failed(reason: Reason, **more: object) -> Result:
    return Result(failure=Failure(reason, "why"), **more)  # type: ignore[arg-type]


CASES: dict[str, tuple[Result, float | None, bool]] = {
    "ready: at the operator's interval": (READY, 300.0, False),
    "ready: at the spec's own": (Result(facts=FACTS, interval=10.0), 10.0, False),
    "ready, 0s: only on change": (Result(facts=FACTS, interval=0.0), None, False),
    "a rotation that is due sooner": (Result(facts=FACTS, soon=7.0), 7.0, False),
    "a rotation that is due later": (Result(facts=FACTS, soon=9_000.0), 300.0, False),
    "a rotation of a storage without checks": (Result(facts=FACTS, interval=0.0, soon=9_000.0), 9_000.0, False),
    "transient: backed off": (failed(Reason.CONNECTION_REFUSED), None, True),
    "waiting for somebody": (failed(Reason.SECRET_NOT_FOUND), 60.0, False),
    "stalled": (failed(Reason.CONFLICT), 120.0, False),
    "a blocked deletion": (failed(Reason.DELETION_BLOCKED), 15.0, False),
    "waiting, 0s: a database that shall sleep is not woken each minute": (
        failed(Reason.INSUFFICIENT_PRIVILEGE, interval=0.0),
        3_600.0,
        False,
    ),
    "stalled, 0s: likewise": (failed(Reason.CONFLICT, interval=0.0), 3_600.0, False),
    "a password that was just set: in a moment": (failed(Reason.AUTHENTICATION_FAILED, soon=2.0), 2.0, False),
    "what the lane knew: it has the news, the deadline is ours": (
        failed(Reason.CONNECTION_REFUSED, remembered=True),
        660.0,
        False,
    ),
    "Observe, changes pending": (Result(plan=("CREATE ROLE x;",)), 300.0, False),
}


@pytest.mark.parametrize("case", list(CASES))
def test_next_look(case: str) -> None:
    result, after, backed_off = CASES[case]
    look: Next = requeue(result, 300.0, 600.0)
    assert look.failed is backed_off
    if not backed_off:
        assert look.after == pytest.approx(after)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_next_look(reason: Reason) -> None:
    if reason in (Reason.READY, Reason.OBSERVED, Reason.PROGRESSING, Reason.DELETING):
        return
    look = requeue(failed(reason), 300.0, 600.0)
    assert look.failed or (look.after is not None and look.after > 0), "nobody is left waiting for ever"
