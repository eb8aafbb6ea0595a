"""From a watch event to the storages that are run: only for changes that are not our own."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cipher_operator.api.names import ANNOTATION_FORCE_DELETE, FINALIZER, REQUEST_ANNOTATIONS
from cipher_operator.kube.access import MANAGER
from cipher_operator.kube.seen import Seen
from cipher_operator.queue.queue import Queue
from cipher_operator.queue.references import References
from cipher_operator.reconcile.contents import revision
from cipher_operator.reconcile.inputs import Key, Ref, references, way
from cipher_operator.runtime.standby import Standby

LEFT_AFTER = 2.0
"""Seconds after which a held input that a storage has left is looked at: the run that ends it lets it go itself."""

_OUTDATED = ""
"""Stands for the version of a storage of which a list told after the watch."""
_ANNOTATIONS = (*REQUEST_ANNOTATIONS.values(), ANNOTATION_FORCE_DELETE)

Body = Mapping[str, Any]


class Look(Protocol):
    """Looks at an input, in `after` seconds."""

    def __call__(self, ref: Ref, /, *, after: float = 0.0) -> None:
        """Return at once."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a storage's run depends on: which object it is, its spec, its deletion, what people ask of us, whether our
    finalizer is on it, whether its status says anything, and who else wrote that, and when: it may be untrue."""

    uid: str | None
    generation: int | None
    deleted_at: str | None
    asked: tuple[str | None, ...]
    held: bool
    told: bool
    writers: frozenset[tuple[str, str]]

    def is_as(self, before: "Fingerprint | None") -> bool:
        """Return whether nothing is new since `before` but a status that we wrote, over that of others perhaps."""
        if before is None or self.told < before.told or not self.writers <= before.writers:
            return False
        return replace(self, told=before.told, writers=before.writers) == before

    def without_hold(self) -> "Fingerprint":
        """Return it as if our finalizer were not there."""
        return replace(self, held=False)


class Triggers:
    """What the informers call. Events may be repeated: every relist brings all objects again, `type` None.

    `look` is called with an input of which somebody has read another revision, and with a Secret that has our finalizer
    and that no known storage needs, or that is being deleted. Between `follow` and `lead` nothing is run or looked at:
    another process does that, and `standby` keeps what this one must know when its turn comes.
    """

    def __init__(
        self,
        queue: Queue[Key],
        inputs: "References[Key, Ref]",
        look: Look = lambda ref, /, *, after=0.0: None,
        standby: Standby | None = None,
    ) -> None:
        self._queue, self._inputs, self._look = queue, inputs, look
        self._standby, self._follows = standby, False
        self._known: dict[Key, Fingerprint] = {}
        self._told: dict[Key, str] = {}
        """The last version of a storage that a watch has told of. kopf brings those of one object in their order, but
        not those of two with the same name, nor a list's and a watch's."""
        self._coming: set[Key] = set()
        """Of which kopf has been given a version that it has not brought yet."""
        self._existing: dict[Key, str] = {}
        self._held: dict[Ref, bool] = {}
        """Secrets with our finalizer, and whether they are being deleted."""
        self._complete = False
        inputs.listen(self._named)

    def knows(self, key: Key) -> bool:
        """Return whether an event for this storage has come, and it is not gone."""
        return key in self._known

    @property
    def storages(self) -> tuple[Key, ...]:
        """Return the storages that there are, as far as events have come."""
        return tuple(self._known)

    def complete(self) -> None:
        """Note that all storages are known: Secrets that an operator before held for one that is gone are let go."""
        self._complete = True
        if not self._follows:
            self._look_at_held()

    def follow(self, unlooked: Iterable[Ref] = ()) -> None:
        """Run nothing from now on. `unlooked` are inputs that were to be looked at, and were not."""
        self._follows = True
        if self._standby is not None:
            self._standby.keep((*self._queue.undone(), *(key for ref in unlooked for key in self._inputs.users(ref))))

    def lead(self, *, warm: bool) -> None:
        """Run what there is, in the order that `standby` says, and whatever changes from now on."""
        self._follows = False
        for look in self._standby.looks(warm=warm) if self._standby is not None else ():
            self._queue.enqueue(look.key, urgent=look.urgent, after=look.after, changed=True, way=look.way)
        self._look_at_held()

    def status(self, type_: str, body: Body) -> bool:
        """Take in a change of a storage's status alone, and return True; False for all else, which kopf is to bring.

        What kopf has been given of a storage comes later than what is taken in here: until then, all goes its way.
        """
        metadata = body["metadata"]
        key: Key = (metadata["namespace"], metadata["name"])
        self._told[key] = metadata["resourceVersion"]
        now = fingerprint(body)
        if type_ == "MODIFIED" and key not in self._coming and now.is_as(self._known.get(key)):
            self._known[key] = now
            if self._standby is not None:
                self._standby.saw(key, body)
            return True
        self._coming.add(key)
        return False

    def listed(self, namespace: str | None) -> None:
        """Note that a list of a namespace's storages, of all where that is None, is about to come, and a watch that
        goes on from there: what the one before has told is outdated."""
        for key in [key for key in self._told if namespace in (None, key[0])]:
            self._coming.discard(key)
            if self._told[key] == _OUTDATED:
                # Nothing is on its way any more from before the list before.
                del self._told[key]
            else:
                self._told[key] = _OUTDATED

    def storage(self, type_: str | None, body: Body) -> None:
        """Run a storage that is new, changed or gone. A status changes nothing here, unless somebody else wrote it.

        Our finalizer that somebody takes away (a PUT without it) is a change, that we put it there is none.
        """
        metadata = body["metadata"]
        key: Key = (metadata["namespace"], metadata["name"])
        now, before, told = fingerprint(body), self._known.get(key), self._told.get(key)
        last = told is not None and told == metadata.get("resourceVersion")
        if last:
            self._coming.discard(key)
        if type_ == "DELETED":
            # Where the name is in use again already, what is known is about the new object. After the last that a watch
            # has told of a name it is free, whichever object had it.
            if before is not None and (last or before.uid == now.uid):
                self.gone(key)
            if last:
                del self._told[key]
            return
        if told is not None and not (told == _OUTDATED if type_ is None else last):
            # What is newer has come, or is to come.
            return
        self._known[key] = now
        if self._standby is not None:
            self._standby.saw(key, body)
        if now.is_as(before) or (before is not None and not before.held and now.without_hold().is_as(before)):
            return
        spec = body.get("spec")
        self._inputs.set_references(key, references(key, spec))
        if self._follows:
            self._touched(key)
        else:
            self._queue.enqueue(key, changed=True, way=way(key[0], spec))

    def gone(self, key: Key) -> None:
        """Let a storage go that does not exist any more."""
        if self._known.pop(key, None) is not None:
            self._inputs.forget(key)
        if self._standby is not None:
            self._standby.drop(key)
        if self._follows:
            self._queue.forget(key)
            return
        # The run finds nothing and forgets the storage, after a run that may still be under way.
        self._queue.enqueue(key)

    def exists(self, ref: Ref, seen: Seen | None) -> None:
        """Let a storage go that vanished while kopf did not watch: a relist of kopf tells of no deletion.

        By uid: where the name is in use again already, and kopf was faster, what is known is about the new object.
        """
        key: Key = ref[1:]
        if seen is not None:
            self._existing[key] = seen.uid
            return
        uid, known = self._existing.pop(key, None), self._known.get(key)
        if known is not None and known.uid == uid:
            self.gone(key)

    def input(self, ref: Ref, seen: Seen | None) -> None:
        """Run the storages that read this Secret or ConfigMap, if it is not as they read it; None where it is gone."""
        if seen is not None and seen.held:
            self._held[ref] = seen.deleting
            if not self._follows and (seen.deleting or (self._complete and not self._inputs.watched(ref))):
                self._look(ref)
        else:
            self._held.pop(ref, None)
        if self._follows:
            self._touched(*self._inputs.users(ref))
        if seen is None:
            self._queue.relearn(ref)
            self._inputs.gone(ref)
        elif self._inputs.seen(ref, revision(seen.version)):
            self._queue.relearn(ref)
            self._look(ref)

    def _named(self, key: Key, begun: frozenset[Ref], ceased: frozenset[Ref]) -> None:
        for ref in ceased:
            # Held perhaps for this storage alone, and its deletion may be waiting already.
            if ref in self._held and not self._follows:
                self._look(ref, after=LEFT_AFTER)

    def _touched(self, *keys: Key) -> None:
        # The first lists bring everything once, and tell of no change.
        if self._complete and self._standby is not None:
            self._standby.touch(keys)

    def _look_at_held(self) -> None:
        for ref, deleting in self._held.items():
            if deleting or not self._inputs.watched(ref):
                self._look(ref)


def fingerprint(body: Body) -> Fingerprint:
    """Return what a storage's run depends on, without its spec, which its generation stands for."""
    metadata, status = body["metadata"], body.get("status")
    annotations = metadata.get("annotations") or {}
    return Fingerprint(
        metadata.get("uid"),
        metadata.get("generation"),
        metadata.get("deletionTimestamp"),
        tuple(annotations.get(name) for name in _ANNOTATIONS),
        FINALIZER in (metadata.get("finalizers") or ()),
        isinstance(status, Mapping) and bool(status.get("conditions")),
        frozenset(_status_writers(metadata.get("managedFields"))),
    )


def _status_writers(fields: Any) -> Iterator[tuple[str, str]]:
    """Yield who wrote a status, but for us, and when. Whoever may write an object may write any of this."""
    for entry in fields if isinstance(fields, list) else ():
        if isinstance(entry, dict) and entry.get("subresource") == "status" and entry.get("manager") != MANAGER:
            yield str(entry.get("manager")), str(entry.get("time"))
