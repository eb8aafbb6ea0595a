"""What is counted of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cipher_operator.reconcile.result import Result


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: Ready's reason, how long it took, statements that changed something, (type, status) of conditions."""

    reason: str
    seconds: float
    statements: int
    conditions: frozenset[tuple[str, str]]


def sample(result: Result, conditions: Sequence[Mapping[str, Any]], seconds: float) -> Sample:
    """Return what is counted of a run."""
    shown = frozenset((str(condition["type"]), str(condition["status"])) for condition in conditions)
    return Sample(str(result.reason), seconds, result.statements, shown)
