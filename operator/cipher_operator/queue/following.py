"""When a key is run next, as its run says it."""

from collections.abc import Callable
from dataclasses import dataclass

BACKOFF_BASE, BACKOFF_CAP = 2.0, 60.0
"""Seconds after the first failure of a key, doubled with each in a row, and at most."""


@dataclass(frozen=True, slots=True)
class Next:
    """What a run says of the next one: in `after` seconds, give or take `spread` of them; None where only a change
    starts another. `failed` counts one more failure in a row instead: 2 s, doubled to 60 s. `gone`: never again."""

    after: float | None = None
    spread: float = 0.1
    failed: bool = False
    gone: bool = False


def backoff(failures: int, jitter: Callable[[float, float], float]) -> float:
    """Return the seconds before the next try after so many failures in a row."""
    return min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(failures - 1, 10)) * jitter(0.75, 1.0)
