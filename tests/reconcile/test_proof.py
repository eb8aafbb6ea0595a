"""When a login is tested: the table of reasons, with a clock."""

from dataclasses import replace

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.reconcile.proof import Proof, Subject, due

INTERVAL = 21_600.0
OF = Subject("doors, login and password", rev=3, started=1_000.0)
PROOF = Proof(OF, at=1_000.0)
REFUSED = replace(PROOF, failure=Failure(Reason.AUTHENTICATION_FAILED, "refused"))

CASES: dict[str, tuple[Proof | None, Subject, float, dict[str, bool], bool]] = {
    "proven a moment ago": (PROOF, OF, 1.0, {}, False),
    "just before the interval is over": (PROOF, OF, INTERVAL - 1, {}, False),
    "the interval is over": (PROOF, OF, INTERVAL + 1, {}, True),
    "never tested: after a new start every login is, once": (None, OF, 1.0, {}, True),
    "the last test failed": (REFUSED, OF, 1.0, {}, True),
    "somebody asks": (PROOF, OF, 1.0, {"asked": True}, True),
    "something was mended, or is still to be published": (PROOF, OF, 1.0, {"acted": True}, True),
    "another door, login, password or database": (PROOF, replace(OF, digest="other"), 1.0, {}, True),
    "other terms: which doors are tested, and how they are asked": (PROOF, replace(OF, terms="other"), 1.0, {}, True),
    "a marker of an older revision: restored, or failed over": (PROOF, replace(OF, rev=2), 1.0, {}, True),
    "a marker of a newer revision: another writer": (PROOF, replace(OF, rev=4), 1.0, {}, True),
    "the server was restarted": (PROOF, replace(OF, started=2_000.0), 1.0, {}, True),
}


@pytest.mark.parametrize("case", list(CASES))
def test_due(case: str) -> None:
    proof, of, later, facts, expected = CASES[case]
    asked = {"acted": False, "asked": False} | facts
    assert due(proof, of, now=1_000.0 + later, interval=INTERVAL, **asked) is expected
