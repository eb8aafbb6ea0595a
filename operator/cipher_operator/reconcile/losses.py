"""Which storages did not find their data when they were looked at last: what makes their server another one."""

from collections.abc import Iterable

from cipher_operator.api.reasons import Reason
from cipher_operator.reconcile.inputs import Key

_FOUND = frozenset({Reason.READY, Reason.OBSERVED, Reason.CHANGES_PENDING})
"""What a run ends with that has found the data: what is not ready for a plan alone has lost none."""


class Losses:
    """The storages whose last run ended with DatabaseLost, of this process: none before it has looked at them."""

    def __init__(self) -> None:
        self._lost: set[Key] = set()

    def saw(self, key: Key, reason: str) -> None:
        """Note how a run of a storage ended. What was only refused or disturbed says nothing of the data."""
        if reason == Reason.DATABASE_LOST:
            self._lost.add(key)
        elif reason in _FOUND:
            self._lost.discard(key)

    def forget(self, key: Key) -> None:
        """Drop what is known of a storage that is gone."""
        self._lost.discard(key)

    def clear(self) -> None:
        """Drop everything: another process works on the storages."""
        self._lost.clear()

    def among(self, keys: Iterable[Key]) -> int:
        """Return how many of these storages did not find their data."""
        return len(self._lost.intersection(keys))
