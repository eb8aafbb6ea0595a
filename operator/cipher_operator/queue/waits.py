"""Which keys wait for what is closed."""

from collections.abc import Hashable, Set
from typing import Generic, TypeVar

from cipher_operator.queue.needs import Need

K = TypeVar("K", bound=Hashable)


class Waits(Generic[K]):
    """The keys by what they wait for: a lane (with None), or a credential of it."""

    def __init__(self) -> None:
        self._needs: dict[K, Set[Need]] = {}
        self._keys: dict[Need, set[K]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def of(self, need: Need) -> Set[K]:
        """Return the keys that wait for something."""
        return self._keys.get(need, frozenset())

    def settle(self, key: K, needs: Set[Need]) -> None:
        """Note what a key waits for, in place of that before."""
        before = self._needs.pop(key, frozenset())
        if needs:
            self._needs[key] = frozenset(needs)
        for need in before - needs:
            self._keys[need].discard(key)
            if not self._keys[need]:
                del self._keys[need]
        for need in needs - before:
            self._keys.setdefault(need, set()).add(key)
