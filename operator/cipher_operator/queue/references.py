"""Who reads which input, and whether it is still what was read: the reverse map from inputs to keys.

A watch tells revisions and no contents, so a revision alone says "perhaps": the content is looked at once, by whoever
owns the watch, and only another digest starts anybody.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
R = TypeVar("R", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Version:
    """What an input was when it was read: `revision` grows with each change of it, `digest` tells contents apart."""

    revision: int
    digest: str


ABSENT = Version(0, "")
"""Of an input that is not there."""


class References(Generic[K, R]):
    """Which keys read which inputs, and what each has read last. `enqueue` is called for those that must read again,
    and who listens is told what a key begins and ceases to read, whoever says so: a watch, or a run that was faster."""

    def __init__(self, enqueue: Callable[[K], None]) -> None:
        self._enqueue = enqueue
        self._references: dict[K, frozenset[R]] = {}
        self._users: dict[R, dict[K, Version | None]] = {}
        self._newest: dict[R, int] = {}
        self._gone: dict[R, set[K]] = {}
        """Who has not said yet, of an input that went, whether it was read before that."""
        self._listeners: list[Callable[[K, frozenset[R], frozenset[R]], None]] = []

    def listen(self, listener: Callable[[K, frozenset[R], frozenset[R]], None]) -> None:
        """Call `listener` from now on with a key, the inputs that it begins to read, and those that it ceases to."""
        self._listeners.append(listener)

    def set_references(self, key: K, references: Iterable[R]) -> frozenset[R]:
        """Say which inputs a key reads, in place of what was said before; return those that it reads no more."""
        wanted = frozenset(references)
        before = self._references.get(key, frozenset())
        begun, ceased = wanted - before, before - wanted
        for ref in begun:
            self._users.setdefault(ref, {})[key] = None
        for ref in ceased:
            self._drop(ref, key)
        if wanted:
            self._references[key] = wanted
        else:
            self._references.pop(key, None)
        if begun or ceased:
            for listener in self._listeners:
                listener(key, begun, ceased)
        return ceased

    def references(self, key: K) -> frozenset[R]:
        """Return the inputs that a key reads."""
        return self._references.get(key, frozenset())

    def forget(self, key: K) -> None:
        """Drop a key that is gone."""
        self.set_references(key, ())

    def watched(self, ref: R) -> bool:
        """Return whether any key reads this input."""
        return ref in self._users

    def users(self, ref: R) -> Iterable[K]:
        """Return the keys that read this input."""
        return tuple(self._users.get(ref, ()))

    def read(self, key: K, ref: R, version: Version) -> None:
        """Note what a key's run has read, or is about to write. What the watch saw meanwhile starts another run."""
        users = self._users.get(ref)
        if users is None or key not in users:
            return
        waited, newest = self._gone.get(ref, set()), self._newest.get(ref, 0)
        went = key in waited and version != ABSENT
        waited.discard(key)
        # What went was read for nothing, and what comes after it may hold the same.
        before, users[key] = users[key], None if went else version
        # Of what was not there the watch told nobody as long as nobody had read it.
        came = version == ABSENT and before is None and newest > 0
        if went or came or newest > version.revision > 0:
            self._enqueue(key)

    def seen(self, ref: R, revision: int) -> bool:
        """Note what the watch says; return whether anybody has read an older revision: the content tells more."""
        users = self._users.get(ref)
        if users is None:
            return False
        self._newest[ref] = max(revision, self._newest.get(ref, 0))
        self._gone.pop(ref, None)
        return any(version is not None and version.revision < revision for version in users.values())

    def changed(self, ref: R, version: Version) -> None:
        """Take the content of an input as it is now: who has read another is run again."""
        users = self._users.get(ref, {})
        for key, before in users.items():
            if before is None or before.revision >= version.revision > 0:
                continue
            if before.digest == version.digest:
                users[key] = version
            else:
                self._enqueue(key)

    def newest(self, ref: R) -> int:
        """Return the newest revision that the watch has told of, 0 where it has told of none that is there."""
        return self._newest.get(ref, 0)

    def gone(self, ref: R, *, newest: int | None = None) -> None:
        """Take note that an input was deleted; `newest` is what it was when a look began that did not find it, None
        where the watch says so. Of what the watch has told meanwhile a look knows nothing."""
        users = self._users.get(ref)
        if users is None or newest not in (None, self.newest(ref)):
            return
        self._gone[ref] = {key for key, before in users.items() if before is None or before == ABSENT}
        self._newest.pop(ref, None)
        for key, before in list(users.items()):
            if before is not None and before != ABSENT:
                # What comes under its name may hold the same, and is still to be read.
                users[key] = None
                self._enqueue(key)

    def _drop(self, ref: R, key: K) -> None:
        users = self._users[ref]
        users.pop(key, None)
        if not users:
            del self._users[ref]
            self._newest.pop(ref, None)
            self._gone.pop(ref, None)
