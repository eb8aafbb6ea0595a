"""From a watch event to the storages that are run: only for changes that are not our own."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cipher_operator.api.names import (
    ANNOTATION_FORCE_DELETE,
    IN_USE_FINALIZER,
    REQUEST_ANNOTATIONS,
    default_secret_name,
)
from cipher_operator.controller.inputs import Inputs, Ref
from cipher_operator.controller.inventory import Key
from cipher_operator.controller.scheduler import Scheduler
from cipher_operator.kube.secrets import decode_configmap, decode_secret

_ANNOTATIONS = (*REQUEST_ANNOTATIONS.values(), ANNOTATION_FORCE_DELETE)

Fingerprint = tuple[str | None, ...]
Body = Mapping[str, Any]


class Triggers:
    """What the informer calls. Events may be repeated: every relist brings all objects again, `type` None.

    `held` is called with namespace and name of a Secret whose deletion waits for our finalizer.
    """

    def __init__(self, scheduler: Scheduler, inputs: Inputs, held: Callable[[Key], None] = lambda key: None) -> None:
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
        self._inputs.set_references(key, references(key, body.get("spec")))
        self._scheduler.trigger(key)

    def secret(self, type_: str | None, body: Body) -> None:
        """Run the storages that read this Secret, if its content is not what they read."""
        ref = self._ref("Secret", body)
        metadata = body["metadata"]
        if metadata.get("deletionTimestamp") and IN_USE_FINALIZER in (metadata.get("finalizers") or ()):
            self._held((ref[1], ref[2]))
        if self._inputs.watched(ref):
            self._changed(ref, None if type_ == "DELETED" else self._inputs.digest(decode_secret(body)))

    def configmap(self, type_: str | None, body: Body) -> None:
        """Run the storages that read this ConfigMap, if its content is not what they read."""
        ref = self._ref("ConfigMap", body)
        if self._inputs.watched(ref):
            self._changed(ref, None if type_ == "DELETED" else self._inputs.digest(decode_configmap(body)))

    def _changed(self, ref: Ref, digest: str | None) -> None:
        for key in self._inputs.changed(ref, digest):
            self._scheduler.trigger(key)

    @staticmethod
    def _ref(kind: str, body: Body) -> Ref:
        return kind, body["metadata"]["namespace"], body["metadata"]["name"]


def fingerprint(metadata: Body) -> Fingerprint:
    """Return what a storage's run depends on: which object it is, its spec, its deletion, what people ask of us."""
    annotations = metadata.get("annotations") or {}
    return (
        metadata.get("uid"),
        str(metadata.get("generation")),
        metadata.get("deletionTimestamp"),
        *(annotations.get(name) for name in _ANNOTATIONS),
    )


def references(key: Key, spec: object) -> set[Ref]:
    """Return the Secrets and ConfigMaps that a spec reads or writes. Whatever has another shape counts as absent."""
    namespace, name = key
    found = {("Secret", namespace, text) for text in _secret_names(spec)}
    ca = _get(spec, "connection", "caRef")
    ca_name = _get(ca, "name")
    if isinstance(ca_name, str):
        found.add(("ConfigMap" if _get(ca, "kind") == "ConfigMap" else "Secret", namespace, ca_name))
    app = _get(spec, "app", "secretName")
    found.add(("Secret", namespace, app if isinstance(app, str) else default_secret_name(name)))
    return found


def _secret_names(spec: object) -> Iterator[str]:
    for path in (("connection", "secretRef", "name"), ("user", "passwordSecretRef", "name")):
        value = _get(spec, *path)
        if isinstance(value, str):
            yield value


def _get(node: object, *path: str) -> object:
    for part in path:
        node = node.get(part) if isinstance(node, Mapping) else None
    return node
