"""How long to wait before the next try of what keeps failing."""

import random


class Backoff:
    """Seconds before one try after the other: growing, with jitter, up to `cap`."""

    def __init__(self, base: float, cap: float) -> None:
        self._base, self._cap, self._failures = base, cap, 0

    def next(self, at_least: float | None = None) -> float:
        """Return the seconds before the next try, `at_least` so many where the server asks for them."""
        grown = min(self._cap, self._base * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return max(at_least or 0.0, random.uniform(0.7, 1.0) * grown)  # noqa: S311 - spreads tries

    def reset(self) -> None:
        """Begin again with the shortest."""
        self._failures = 0
