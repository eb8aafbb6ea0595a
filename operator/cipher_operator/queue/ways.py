"""What is needed on the ways that keys name, as a run of one of them has learnt it."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cipher_operator.queue.needs import Need

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Way:
    """A way for which what it leads through does not say all; `beside` is what keys themselves say of it. A way that is
    none of this kind leads through what it is."""

    through: Hashable
    beside: Hashable


class Ways(Generic[K]):
    """The ways that are known, and who learns one now."""

    def __init__(self) -> None:
        self._needs: dict[Hashable, tuple[Need, ...]] = {}
        self._through: dict[Hashable, set[Hashable]] = {}
        """The ways that are known or learnt, by what they lead through."""
        self._learning: dict[Hashable, K] = {}

    def __len__(self) -> int:
        return sum(map(len, self._through.values()))

    def needs(self, way: Hashable | None) -> tuple[Need, ...] | None:
        """Return what is needed on a way, None where that is not known."""
        return self._needs.get(way)

    def learnt_now(self, way: Hashable) -> bool:
        """Return whether somebody learns a way."""
        return way in self._learning

    def begin(self, way: Hashable, key: K) -> None:
        """Note that a key learns a way."""
        self._learning[way] = key
        self._through.setdefault(_through(way), set()).add(way)

    def learn(self, way: Hashable, key: K, needs: tuple[Need, ...]) -> bool:
        """Note what a key has learnt of a way; return whether it counts: what that leads through may have changed."""
        if self._learning.get(way) != key:
            return False
        del self._learning[way]
        self._needs[way] = needs
        return True

    def leave(self, way: Hashable, key: K) -> None:
        """Note that a key learns a way no more, where it has not learnt it."""
        if self._learning.get(way) != key:
            return
        self.drop(way)

    def forget(self, through: Hashable) -> bool:
        """Forget what is known, or about to be learnt, of all that leads through something, which has changed; return
        whether there was anything."""
        ways = tuple(self._through.get(through, ()))
        for way in ways:
            self.drop(way)
        return bool(ways)

    def drop(self, way: Hashable) -> None:
        """Forget what is known, or about to be learnt, of one way."""
        self._needs.pop(way, None)
        self._learning.pop(way, None)
        ways = self._through.get(_through(way), set())
        ways.discard(way)
        if not ways:
            self._through.pop(_through(way), None)


def _through(way: Hashable) -> Hashable:
    return way.through if isinstance(way, Way) else way
