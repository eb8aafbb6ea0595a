"""Who reads which Secret and ConfigMap, and whether its content is what was read last."""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping

from cipher_operator.reconcile.inventory import Key

Ref = tuple[str, str, str]
"""Kind (`Secret` or `ConfigMap`), namespace and name."""


class Inputs:
    """A reverse map from inputs to storages, and a digest of what each input held when it was last read or written.

    The digests are keyed with a random key of this process: they tell equal from different, and nothing else.
    `trigger` is called for storages whose input changed while it was being read for the first time.
    """

    def __init__(self, trigger: Callable[[Key], None] = lambda key: None) -> None:
        self._key = secrets.token_bytes(32)
        self._trigger = trigger
        self._references: dict[Key, frozenset[Ref]] = {}
        self._users: dict[Ref, set[Key]] = {}
        self._seen: dict[Ref, str | None] = {}
        self._early: dict[Ref, str | None] = {}

    def digest(self, data: Mapping[str, bytes]) -> str:
        """Return a digest of a Secret's or ConfigMap's decoded content, independent of the order of its keys."""
        mac = hmac.new(self._key, digestmod=hashlib.sha256)
        for name in sorted(data):
            for part in (name.encode(), data[name]):
                mac.update(len(part).to_bytes(8, "big"))
                mac.update(part)
        return mac.hexdigest()

    def set_references(self, key: Key, references: Iterable[Ref]) -> frozenset[Ref]:
        """Say which inputs a storage reads, in place of what was said before; return those that it reads no more."""
        wanted = frozenset(references)
        before = self._references.get(key, frozenset())
        for ref in wanted - before:
            self._users.setdefault(ref, set()).add(key)
        for ref in before - wanted:
            self._drop(ref, key)
        if wanted:
            self._references[key] = wanted
        else:
            self._references.pop(key, None)
        return before - wanted

    def forget(self, key: Key) -> None:
        """Drop a storage that is gone."""
        self.set_references(key, ())

    def watched(self, ref: Ref) -> bool:
        """Return whether any storage reads this input."""
        return ref in self._users

    def seen(self, ref: Ref, digest: str | None, by: Key) -> None:
        """Note what a storage's run has just read, or is about to write; None where the input does not exist."""
        first = ref not in self._seen
        news = not first and self._seen[ref] != digest
        self._seen[ref] = digest
        early = self._early.pop(ref, digest)
        users = self._users.get(ref, set())
        started: set[Key] = set()
        if first and early != digest:
            # The watch was faster than the answer to the first read: which of both is newer cannot be known.
            started = users
        elif news:
            # This run was faster than the watch, which will have no news for the others any more.
            started = users - {by}
        for key in started:
            self._trigger(key)

    def changed(self, ref: Ref, digest: str | None) -> set[Key]:
        """Return the storages to run, now that the watch reports this content; None where the input was deleted.

        Empty where the content is what was read or written last, and where nothing has been read yet: then a run
        that reads it is still to come.
        """
        users = self._users.get(ref)
        if not users:
            return set()
        if ref not in self._seen:
            self._early[ref] = digest
            return set()
        if self._seen[ref] == digest:
            return set()
        self._seen[ref] = digest
        return set(users)

    def _drop(self, ref: Ref, key: Key) -> None:
        users = self._users[ref]
        users.discard(key)
        if not users:
            del self._users[ref]
            self._seen.pop(ref, None)
            self._early.pop(ref, None)
