"""What is kept of an object that is watched: that it exists, and what tells that it is another."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from cipher_operator.api.names import IN_USE_FINALIZER
from cipher_operator.kube.port import Json

Ref = tuple[str, str, str]
"""Kind (`Secret`), namespace and name."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is kept of an object. `deleting`: its deletion waits for finalizers; `held`: one of them is ours;
    `generation`: of its spec, 0 where it has none; `labels` where they are asked for."""

    uid: str
    version: str
    deleting: bool = False
    held: bool = False
    generation: int = 0
    labels: Mapping[str, str] | None = None


def key_of(body: Json) -> tuple[str, str]:
    """Return namespace ('' of what is in none) and name. Raises KeyError and TypeError for what is no object."""
    metadata = body["metadata"]
    return sys.intern(str(metadata.get("namespace", ""))), str(metadata["name"])


def seen_of(body: Json, *, labelled: bool) -> Seen:
    """Return what is kept of an object, its labels too where it is `labelled`. Raises as `key_of`."""
    metadata = body["metadata"]
    generation = metadata.get("generation")
    return Seen(
        str(metadata["uid"]),
        str(metadata["resourceVersion"]),
        deleting="deletionTimestamp" in metadata,
        held=IN_USE_FINALIZER in (metadata.get("finalizers") or ()),
        generation=generation if type(generation) is int else 0,
        labels=dict(metadata.get("labels") or {}) if labelled else None,
    )


def is_older(version: str, than: str) -> bool:
    """Return whether a resourceVersion comes before another, as they are on every API server with etcd (KEP-5504);
    False where one of them is no number."""
    return version.isdecimal() and than.isdecimal() and (len(version), version) < (len(than), than)
