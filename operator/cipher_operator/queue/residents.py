"""Which keys need which lane, as far as it is known: by what their runs entered, before that by the way they name."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Set
from typing import Generic, TypeVar

from cipher_operator.queue.needs import Name

K = TypeVar("K", bound=Hashable)


class Residents(Generic[K]):
    """The keys by lane. `namespace` tells whose one is: '' of nobody's, which never makes a lane a shared one. `left`
    is called with a way that no key names any more."""

    def __init__(self, namespace: Callable[[K], str], left: Callable[[Hashable], None] = lambda way: None) -> None:
        self._namespace, self._left = namespace, left
        self._lanes: dict[K, frozenset[Name]] = {}
        self._keys: dict[Name, set[K]] = {}
        self._namespaces: dict[Name, Counter[str]] = {}
        self._population: Counter[str] = Counter()
        self._ways: dict[K, Hashable] = {}
        self._members: dict[Hashable, set[K]] = {}

    @property
    def several(self) -> bool:
        """Return whether keys of several namespaces need lanes at all."""
        return len(self._population) > 1

    def of(self, name: Name) -> Set[K]:
        """Return the keys that need a lane."""
        return self._keys.get(name, frozenset())

    def shared(self, name: Name) -> bool:
        """Return whether keys of several namespaces need a lane."""
        return len(self._namespaces.get(name, ())) > 1

    def go(self, key: K, way: Hashable | None, names: Iterable[Name]) -> None:
        """Note which way a key names, and which lanes that is known to lead to. Where it is not, the key stays where
        it was."""
        if way != self._ways.get(key):
            self._leave_way(key)
            if way is not None:
                self._ways[key] = way
                self._members.setdefault(way, set()).add(key)
        if wanted := frozenset(names):
            self.settle(key, wanted)

    def learn(self, way: Hashable, names: Iterable[Name]) -> None:
        """Note where a way leads: all who name it will need these lanes, whether they have run or not."""
        wanted = frozenset(names)
        for key in self._members.get(way, ()):
            if not wanted <= self._lanes.get(key, frozenset()):
                self.settle(key, wanted)

    def settle(self, key: K, names: Iterable[Name]) -> None:
        """Note which lanes a key needs, in place of those before."""
        before, now = self._lanes.get(key, frozenset()), frozenset(names)
        whose = self._namespace(key)
        for name in before - now:
            self._keys[name].discard(key)
            if not self._keys[name]:
                del self._keys[name]
            self._count(name, whose, -1)
        for name in now - before:
            self._keys.setdefault(name, set()).add(key)
            self._count(name, whose, 1)
        _add(self._population, whose, bool(now) - bool(before))
        if now:
            self._lanes[key] = now
        else:
            self._lanes.pop(key, None)

    def forget(self, key: K) -> None:
        """Drop a key."""
        self.settle(key, ())
        self._leave_way(key)

    def _leave_way(self, key: K) -> None:
        way = self._ways.pop(key, None)
        if way is not None:
            self._members[way].discard(key)
            if not self._members[way]:
                del self._members[way]
                self._left(way)

    def _count(self, name: Name, namespace: str, more: int) -> None:
        counts = self._namespaces.setdefault(name, Counter())
        _add(counts, namespace, more)
        if not counts:
            del self._namespaces[name]


def _add(counts: Counter[str], namespace: str, more: int) -> None:
    if namespace:
        counts[namespace] += more
        if not counts[namespace]:
            del counts[namespace]
