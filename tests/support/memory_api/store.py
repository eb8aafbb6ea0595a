"""The objects themselves, with a history that watches are fed from."""

import itertools
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field

from cipher_operator.kube.port import Json
from support.memory_api.kinds import Kind, address_api

Address = tuple[str, str, str]
"""The kind's API and plural, the namespace, the name."""


def address(kind: Kind, namespace: str, name: str) -> Address:
    return address_api(kind), namespace, name


@dataclass(frozen=True)
class Change:
    """A write: the object after it, and before it; None where there is none."""

    version: int
    address: Address
    before: Json | None
    after: Json | None


@dataclass
class Store:
    """Every object. What is given out is a copy."""

    objects: dict[Address, Json] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    oldest: int = 0
    """Watches that begin before this version are told 410."""
    _versions: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    version: int = 0
    listeners: set[Callable[[], None]] = field(default_factory=set)
    """Called after each write."""
    observers: list[Callable[[Change], None]] = field(default_factory=list)
    """Called with each write."""

    def get(self, where: Address) -> Json | None:
        return deepcopy(self.objects.get(where))

    def put(self, where: Address, body: Json) -> Json:
        """Store an object under a new resourceVersion and return it."""
        stored = self._versioned(body)
        self._note(where, self.objects.get(where), stored)
        self.objects[where] = stored
        return deepcopy(stored)

    def remove(self, where: Address, last: Json | None = None) -> Json:
        """Take an object out and return it as its DELETED event shows it; `last` is its state where that is new."""
        gone = self._versioned(self.objects.pop(where) if last is None else last)
        self.objects.pop(where, None)
        self._note(where, gone, None)
        return deepcopy(gone)

    def _versioned(self, body: Json) -> Json:
        self.version = next(self._versions)
        stored = deepcopy(body)
        stored["metadata"]["resourceVersion"] = str(self.version)
        return stored

    def _note(self, where: Address, before: Json | None, after: Json | None) -> None:
        change = Change(self.version, where, before, after)
        self.history.append(change)
        for observer in self.observers:
            observer(change)
        for listener in tuple(self.listeners):
            listener()

    def of(self, kind: Kind, namespace: str = "") -> Iterator[Json]:
        """Yield the objects of a kind in the order of their namespaces and names."""
        api = address_api(kind)
        for where in sorted(self.objects):
            if where[0] == api and (not namespace or where[1] == namespace):
                yield deepcopy(self.objects[where])

    def forget_history(self) -> None:
        """Make every version that is not the present one too old to be watched from."""
        self.history.clear()
        self.oldest = self.version
