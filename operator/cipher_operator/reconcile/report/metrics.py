"""What is counted of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cipher_operator.api.reasons import Reason
from cipher_operator.core.connection.certificates import expiries
from cipher_operator.reconcile.result import Result


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: Ready's reason, whether the storage is `ready`, `reconciling` (tried on, also past the progress
    deadline) or `stalled` (waits for a person), how many seconds the run took, statements that changed something, and
    whether the check succeeded. Times are seconds since the epoch."""

    reason: str
    state: str
    seconds: float
    statements: int = 0
    checked: bool = False
    password_set_at: float | None = None
    ca_ends: tuple[float, ...] | None = None
    """When the certificates of its CAs end, the first one first; None where this run did not come to know them."""


def sample(result: Result, status: Mapping[str, Any], seconds: float) -> Sample:
    """Return what is counted of a run; `status` is what it published."""
    true = {each["type"]: each.get("reason") for each in status["conditions"] if each["status"] == "True"}
    # What is only late is tried on: nobody need decide anything.
    waits = true.get("Stalled", Reason.PROGRESS_DEADLINE_EXCEEDED) != Reason.PROGRESS_DEADLINE_EXCEEDED
    return Sample(
        reason=str(result.reason),
        state="ready" if "Ready" in true else "stalled" if waits else "reconciling",
        seconds=seconds,
        statements=result.statements,
        checked=result.failure is None,
        password_set_at=_seconds(status.get("passwordSetAt")),
        ca_ends=None if result.cas is None else tuple(sorted(end for ca in result.cas for end in expiries(ca))),
    )


def _seconds(time: object) -> float | None:
    try:
        return datetime.fromisoformat(str(time)).timestamp()
    except ValueError:
        return None
