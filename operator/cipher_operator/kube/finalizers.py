"""Finalizers, added and removed so that nobody else's change is lost and no re-created object is touched."""

from collections.abc import Sequence
from dataclasses import dataclass

from cipher_operator.kube.port import JSON_PATCH, METADATA_ONLY, ApiError, Json, Kube

TRIES = 3
_CONFLICT = frozenset({409, 422})
"""What a JSON patch whose `test` fails answers, and a write that others were faster with."""


@dataclass(frozen=True, slots=True)
class Holdable:
    """An object on the API server, as it was read last."""

    path: str
    uid: str
    resource_version: str
    finalizers: Sequence[str]
    deleting: bool = False

    @property
    def name(self) -> str:
        """Return the object's name."""
        return self.path.rpartition("/")[2]


async def find(kube: Kube, path: str) -> Holdable | None:
    """Return the object at a path, without its content; None where there is none. Raises ApiError, ApiUnavailable."""
    try:
        metadata = (await kube.get(path, accept=METADATA_ONLY))["metadata"]
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    return Holdable(
        path,
        metadata["uid"],
        metadata["resourceVersion"],
        metadata.get("finalizers") or (),
        bool(metadata.get("deletionTimestamp")),
    )


async def find_again(kube: Kube, before: Holdable) -> Holdable | None:
    """Return an object as it is now; None where it is gone, or another one by now. Raises as `find`."""
    found = await find(kube, before.path)
    return found if found is not None and found.uid == before.uid else None


async def add(kube: Kube, held: Holdable, finalizer: str) -> str:
    """Add a finalizer. Returns the object's resourceVersion when it is there; what was read is read again on a
    conflict.

    Raises ApiError: 404 also where the object is another one by now, 403 or 422 where it is being deleted.
    """
    now = held
    for attempt in range(TRIES):
        if finalizer in now.finalizers:
            return now.resource_version
        step: Json = (
            {"op": "add", "path": "/metadata/finalizers/-", "value": finalizer}
            if now.finalizers
            else {"op": "add", "path": "/metadata/finalizers", "value": [finalizer]}
        )
        tests = [_test("uid", now.uid), _test("resourceVersion", now.resource_version)]
        try:
            return str((await kube.patch(now.path, [*tests, step], JSON_PATCH))["metadata"]["resourceVersion"])
        except ApiError as error:
            if error.status not in _CONFLICT or attempt == TRIES - 1:
                raise
            found = await find_again(kube, now)
            if found is None:
                raise ApiError(404, "NotFound") from None
            if found.deleting:
                raise
            now = found
    return now.resource_version


async def remove(kube: Kube, held: Holdable, finalizer: str, *, as_seen: bool = False) -> bool:
    """Remove a finalizer. Returns whether it is not there, or the object is gone or another one. Raises ApiError.

    With `as_seen` only off the object as it was read: False where somebody changed it since, who may need it.
    """
    now = held
    for attempt in range(TRIES):
        if finalizer not in now.finalizers:
            return True
        at = f"/metadata/finalizers/{list(now.finalizers).index(finalizer)}"
        steps: list[Json] = [
            _test("uid", now.uid),
            *([_test("resourceVersion", now.resource_version)] if as_seen else ()),
            {"op": "test", "path": at, "value": finalizer},
            {"op": "remove", "path": at},
        ]
        try:
            await kube.patch(now.path, steps, JSON_PATCH)
            return True
        except ApiError as error:
            if error.status == 404:
                return True
            if error.status not in _CONFLICT or attempt == TRIES - 1:
                raise
            found = await find_again(kube, now)
            if found is None:
                return True
            if as_seen:
                return False
            now = found
    return False


def _test(field: str, value: str) -> Json:
    return {"op": "test", "path": f"/metadata/{field}", "value": value}
