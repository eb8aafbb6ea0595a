"""Finalizers, added and removed so that nobody else's change is lost and no re-created object is touched."""

from collections.abc import Sequence

from cipher_operator.kube.client import JSON_PATCH, ApiError, Json, KubeClient

TRIES = 3
_CONFLICT = frozenset({409, 422})
"""What a JSON patch whose `test` fails answers, and a write that others were faster with."""


async def add(
    kube: KubeClient, path: str, uid: str, finalizer: str, *, resource_version: str, present: Sequence[str]
) -> None:
    """Add a finalizer to the object at a path. Returns when it is there.

    `resource_version` and `present` are what was read last; they are read again on a conflict. Raises ApiError:
    404 also where the object is another one by now, 403 or 422 where it is being deleted.
    """
    for attempt in range(TRIES):
        if finalizer in present:
            return
        step: Json = (
            {"op": "add", "path": "/metadata/finalizers/-", "value": finalizer}
            if present
            else {"op": "add", "path": "/metadata/finalizers", "value": [finalizer]}
        )
        tests = [_test("uid", uid), _test("resourceVersion", resource_version)]
        try:
            await kube.patch(path, [*tests, step], JSON_PATCH)
            return
        except ApiError as error:
            if error.status not in _CONFLICT or attempt == TRIES - 1:
                raise
            metadata = (await kube.get(path))["metadata"]
            if metadata["uid"] != uid:
                raise ApiError(404, "NotFound") from None
            if metadata.get("deletionTimestamp"):
                raise
            resource_version, present = metadata["resourceVersion"], metadata.get("finalizers") or []


async def remove(kube: KubeClient, path: str, uid: str, finalizer: str, *, present: Sequence[str]) -> None:
    """Remove a finalizer from the object at a path. Returns when it is not there, or the object is gone."""
    for attempt in range(TRIES):
        if finalizer not in present:
            return
        at = f"/metadata/finalizers/{list(present).index(finalizer)}"
        steps: list[Json] = [
            _test("uid", uid),
            {"op": "test", "path": at, "value": finalizer},
            {"op": "remove", "path": at},
        ]
        try:
            await kube.patch(path, steps, JSON_PATCH)
            return
        except ApiError as error:
            if error.status == 404:
                return
            if error.status not in _CONFLICT or attempt == TRIES - 1:
                raise
            try:
                metadata = (await kube.get(path))["metadata"]
            except ApiError as gone:
                if gone.status == 404:
                    return
                raise
            if metadata["uid"] != uid:
                return
            present = metadata.get("finalizers") or []


def _test(field: str, value: str) -> Json:
    return {"op": "test", "path": f"/metadata/{field}", "value": value}
