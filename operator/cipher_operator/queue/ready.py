"""The keys that could be run, in the order in which they are: what changed first, round robin over namespaces, each
with a share of the workers, then over what its keys need."""

from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from cipher_operator.queue.needs import kept_free
from cipher_operator.queue.observer import Nobody, Observer

K = TypeVar("K", bound=Hashable)

Group = tuple[Any, ...]
"""Keys with the same needs."""

URGENT, DUE = 0, 1


class Ready(Generic[K]):
    """`share` is how many keys of one namespace may be under way at once, of so many `workers` for all; `observer` is
    told who waits. The namespace '' is nobody's."""

    def __init__(self, workers: int, share: int, observer: Observer[K] | None = None) -> None:
        self._workers, self._share, self._observer = workers, share, observer or Nobody()
        self._waiting: tuple[dict[str, dict[Group, deque[K]]], ...] = ({}, {})
        self._where: dict[K, tuple[int, Group, str]] = {}
        self._under_way: Counter[str] = Counter()
        self._checks: Counter[str] = Counter()

    @property
    def checks(self) -> int:
        """Return how many keys are under way that are not urgent."""
        return self._checks.total()

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, key: object) -> bool:
        return key in self._where

    def put(self, key: K, namespace: str, group: Group, *, urgent: bool) -> None:
        """Add a key; one that is there already keeps its place, unless it becomes urgent or its group another."""
        priority = URGENT if urgent else DUE
        standing = self._where.get(key)
        if standing is not None:
            if standing[0] <= priority and standing[1] == group:
                return
            priority = min(priority, standing[0])
            self._take_out(key)
        else:
            self._observer.added(key)
        self._waiting[priority].setdefault(namespace, {}).setdefault(group, deque()).append(key)
        self._where[key] = priority, group, namespace

    def remove(self, key: K) -> None:
        """Take a key out."""
        if key in self._where:
            self._take_out(key)
            self._observer.dropped(key)

    def regroup(self, group: Group, other: Group) -> None:
        """Move all keys of a group to another."""
        for priority, waiting in enumerate(self._waiting):
            for namespace, groups in waiting.items():
                keys = groups.pop(group, None)
                if keys is None:
                    continue
                groups.setdefault(other, deque()).extend(keys)
                for key in keys:
                    self._where[key] = priority, other, namespace

    def pick(self, admits: Callable[[Group, str], bool], *, places: int, kept: int) -> tuple[K, Group, bool] | None:
        """Take the next key whose group is admitted for its namespace, which has a share left, with whether it is
        urgent. None where there is none.

        At most `places` that are not urgent are under way, and the last `kept` of them are for namespaces with none; so
        are the last workers, since a run may take a minute, and what it holds cannot be taken back.
        """
        free = places - self.checks
        scarce = self._workers - self._under_way.total() <= kept_free(self._workers)
        for priority, waiting in enumerate(self._waiting[: DUE + (free > 0)]):
            for namespace, groups in waiting.items():
                under_way = self._under_way[namespace]
                if under_way >= self._share or (scarce and under_way and namespace):
                    continue
                if priority == DUE and free <= kept and self._checks[namespace]:
                    continue
                group = next((each for each in groups if admits(each, namespace)), None)
                if group is None:
                    continue
                key = groups[group][0]
                self._take_out(key)
                # To the end: the next turn is another's.
                if group in groups:
                    groups[group] = groups.pop(group)
                if namespace in waiting:
                    waiting[namespace] = waiting.pop(namespace)
                self._observer.taken(key)
                return key, group, priority == URGENT
        return None

    def begin(self, namespace: str, *, urgent: bool) -> None:
        """Note that a key of a namespace is under way."""
        self._under_way[namespace] += 1
        if not urgent:
            self._checks[namespace] += 1

    def end(self, namespace: str, *, urgent: bool) -> None:
        """Note that it is not any more."""
        for counts in (self._under_way,) if urgent else (self._under_way, self._checks):
            counts[namespace] -= 1
            if not counts[namespace]:
                del counts[namespace]
        if namespace not in self._under_way:
            # Who came while it had the only place comes before it.
            for waiting in self._waiting:
                if namespace in waiting:
                    waiting[namespace] = waiting.pop(namespace)

    def clear(self) -> None:
        """Take all keys out."""
        for key in list(self._where):
            self.remove(key)

    def _take_out(self, key: K) -> None:
        priority, group, namespace = self._where.pop(key)
        waiting = self._waiting[priority]
        groups = waiting[namespace]
        keys = groups[group]
        keys.remove(key)
        if not keys:
            del groups[group]
        if not groups:
            del waiting[namespace]
