"""How many checks run at once: so many as are faster together, and few beside what is new.

On servers that are far away or idle, twice as many checks at once are done in half the time. Where this process, or the
server, is busy without pause, each of them only takes twice as long, and what is new waits for those that have begun.
That is seen by what they take, against the quickest of late with the same needs, as TCP Vegas does.
"""

import math
from collections.abc import Hashable

ALONE, BESIDE, BUSY = 2, 8, 8
"""The part of the workers that checks may take: at most, beside what is new, and at first, when it is learnt what they
take without waiting for each other."""
LONG = 1.5
"""How many times as long as the quickest a check takes where checks wait for each other."""
STEP = 0.25
"""By how many the checks at once change after each of them."""
WINDOW = 600.0
"""Seconds for which the quickest counts, and once more as long: a server may become slower for good."""


class Share:
    """What checks may take of so many `workers`."""

    def __init__(self, workers: int) -> None:
        self._most, self._beside = max(1, workers // ALONE), max(1, workers // BESIDE)
        self._least = max(1, workers // BUSY)
        self._alone = float(self._least)
        self._since = 0.0
        self._quickest: dict[Hashable, float] = {}
        self._before: dict[Hashable, float] = {}

    def places(self, *, alone: bool) -> int:
        """Return how many checks may be under way, `alone` or beside what is new."""
        return int(self._alone) if alone else self._beside

    def took(self, needs: Hashable, seconds: float, now: float) -> None:
        """Note how long a check took that ended well, by the same clock as `now`."""
        if now - self._since > WINDOW:
            # What is not run any more goes with it, and the quickest is learnt anew.
            self._before, self._quickest, self._since = self._quickest, {}, now
            self._alone = float(self._least)
        quickest = min(self._quickest.get(needs, math.inf), self._before.get(needs, math.inf))
        self._quickest[needs] = min(seconds, self._quickest.get(needs, seconds))
        if quickest < math.inf:
            step = -STEP if seconds > LONG * quickest else STEP
            self._alone = min(float(self._most), max(float(self._least), self._alone + step))
