"""From a watch event to the storages that are run: only for changes that are not our own."""

from collections.abc import Callable, Mapping
from typing import Any

from cipher_operator.api.names import ANNOTATION_FORCE_DELETE, IN_USE_FINALIZER, REQUEST_ANNOTATIONS
from cipher_operator.kube.secrets import decode_configmap, decode_secret
from cipher_operator.queue.inputs import Inputs, Ref
from cipher_operator.queue.scheduler import Scheduler
from cipher_operator.reconcile.inventory import Key
from cipher_operator.reconcile.references import references

_ANNOTATIONS = (*REQUEST_ANNOTATIONS.values(), ANNOTATION_FORCE_DELETE)

Fingerprint = tuple[str | None, ...]
Body = Mapping[str, Any]


class Triggers:
    """What the informer calls. Events may be repeated: every relist brings all objects again, `type` None.

    `held` is called with a Secret or ConfigMap whose deletion waits for our finalizer, or that a storage has left.
    """

    def __init__(
        self, scheduler: Scheduler[Key], inputs: Inputs, held: Callable[[Ref], None] = lambda ref: None
    ) -> None:
        self._scheduler, self._inputs, self._held = scheduler, inputs, held
        self._known: dict[Key, Fingerprint] = {}

    def knows(self, key: Key) -> bool:
        """Return whether an event for this storage has come, and it is not gone."""
        return key in self._known

    def storage(self, type_: str | None, body: Body) -> None:
        """Run a storage that is new, changed or gone. A status or finalizer, ours or not, changes nothing here."""
        metadata = body["metadata"]
        key: Key = (metadata["namespace"], metadata["name"])
        now = fingerprint(metadata)
        before = self._known.get(key)
        if type_ == "DELETED":
            # Where the name is in use again already, what is known is about the new object.
            if before is not None and before[0] == now[0]:
                del self._known[key]
                self._inputs.forget(key)
            # The run finds nothing and forgets the storage, after a run that may still be under way.
            self._scheduler.trigger(key)
            return
        if before == now:
            return
        self._known[key] = now
        for ref in self._inputs.set_references(key, references(key, body.get("spec"))):
            # Held perhaps for this storage alone, and its deletion may be waiting already.
            self._held(ref)
        self._scheduler.trigger(key)

    def secret(self, type_: str | None, body: Body) -> None:
        """Run the storages that read this Secret, if its content is not what they read."""
        self._input("Secret", type_, body, decode_secret)

    def configmap(self, type_: str | None, body: Body) -> None:
        """Run the storages that read this ConfigMap, if its content is not what they read."""
        self._input("ConfigMap", type_, body, decode_configmap)

    def _input(self, kind: str, type_: str | None, body: Body, decode: Callable[[Body], dict[str, bytes]]) -> None:
        metadata = body["metadata"]
        ref: Ref = (kind, metadata["namespace"], metadata["name"])
        if metadata.get("deletionTimestamp") and IN_USE_FINALIZER in (metadata.get("finalizers") or ()):
            self._held(ref)
        if self._inputs.watched(ref):
            digest = None if type_ == "DELETED" else self._inputs.digest(decode(body))
            for key in self._inputs.changed(ref, digest):
                self._scheduler.trigger(key)


def fingerprint(metadata: Body) -> Fingerprint:
    """Return what a storage's run depends on: which object it is, its spec, its deletion, what people ask of us."""
    annotations = metadata.get("annotations") or {}
    return (
        metadata.get("uid"),
        str(metadata.get("generation")),
        metadata.get("deletionTimestamp"),
        *(annotations.get(name) for name in _ANNOTATIONS),
    )
