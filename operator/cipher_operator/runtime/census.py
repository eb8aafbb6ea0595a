"""How all storages are, in numbers that do not grow with them: counted as runs end, looked up when asked."""

from bisect import bisect_right
from collections import Counter

from cipher_operator.queue.following import Next
from cipher_operator.reconcile.inputs import Key
from cipher_operator.reconcile.report.metrics import Sample

SUSPENDED = ("suspended", "Suspended")
"""State and reason of a storage that `spec.suspend` leaves alone."""


class Census:
    """`now` is in seconds since the epoch everywhere; what has no answer is None."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        """How many storages are in which state, by the reason of Ready; what was there once stays, with 0."""
        self._standing: dict[Key, tuple[str, str]] = {}
        self._checked: dict[Key, float] = {}
        self._due: dict[Key, float] = {}
        self._passwords: dict[Key, float] = {}
        self._cas: dict[Key, tuple[float, ...]] = {}
        self._distinct_cas: Counter[tuple[float, ...]] = Counter()

    def run(self, key: Key, sample: Sample, following: Next, now: float) -> str | None:
        """Take note of a run that ended; return the reason for which the one before had failed, None where not."""
        before = self._standing.get(key)
        self._stands(key, (sample.state, sample.reason))
        if sample.checked:
            self._checked[key] = now
        if sample.state == "ready" and following.after is not None:
            self._due[key] = now + following.after * (1 + following.spread)
        else:
            self._due.pop(key, None)
        if sample.password_set_at is not None:
            self._passwords[key] = sample.password_set_at
        else:
            self._passwords.pop(key, None)
        if sample.ca_ends is not None:
            self._trusts(key, sample.ca_ends)
        return before[1] if before is not None and before[0] in ("reconciling", "stalled") else None

    def suspended(self, key: Key) -> None:
        """Take note of a storage that is left alone: nothing of it is due."""
        self.forget(key)
        self._stands(key, SUSPENDED)

    def forget(self, key: Key) -> None:
        """Drop a storage that is gone."""
        self._stands(key, None)
        self._trusts(key, ())
        for facts in (self._checked, self._due, self._passwords):
            facts.pop(key, None)

    def clear(self) -> None:
        """Drop all storages."""
        for key in list(self._standing):
            self.forget(key)

    def oldest_check(self) -> float | None:
        """Return when the storage that was checked with success least lately was."""
        return min(self._checked.values(), default=None)

    def overdue(self, now: float) -> float:
        """Return by how many seconds the look at a Ready storage that is latest is late; 0 where none is."""
        return max(0.0, now - min(self._due.values(), default=now))

    def oldest_password(self) -> float | None:
        """Return when the oldest published password was set."""
        return min(self._passwords.values(), default=None)

    def earliest_ca_end(self, now: float) -> float | None:
        """Return when the next certificate of a trusted CA ends.

        Bundles keep what has ended: it counts only where nothing else is left of a storage's CAs.
        """
        return min((ends[min(bisect_right(ends, now), len(ends) - 1)] for ends in self._distinct_cas), default=None)

    def _stands(self, key: Key, standing: tuple[str, str] | None) -> None:
        before = self._standing.pop(key, None)
        if before is not None:
            self.counts[before] -= 1
        if standing is not None:
            self._standing[key] = standing
            self.counts[standing] += 1

    def _trusts(self, key: Key, ends: tuple[float, ...]) -> None:
        before = self._cas.pop(key, ())
        if before:
            self._distinct_cas[before] -= 1
            if not self._distinct_cas[before]:
                del self._distinct_cas[before]
        if ends:
            self._cas[key] = ends
            self._distinct_cas[ends] += 1
