"""What both of our kinds need of the API server: one object, pages of a list, the status."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from cipher_operator.api.spec import Resource
from cipher_operator.kube.port import JSON, JSON_PATCH, ApiError, Json, Kube, Reading

TRIES = 3
"""Of the status of an object that others change at the same time."""


async def get_object(kube: Reading, path: str) -> Json | None:
    """Return the object at a path, or None where it, or the whole kind, does not exist. Raises ApiError,
    ApiUnavailable."""
    try:
        return await kube.get(path)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


async def pages(kube: Reading, path: str, *, limit: str, accept: str = JSON, **query: str) -> AsyncIterator[Json]:
    """Yield the objects of a list, `limit` in one page. Raises ApiError, ApiUnavailable."""
    asked = {"limit": limit, **query}
    while True:
        page = await kube.get(path, accept=accept, **asked)
        for item in page.get("items") or []:
            yield item
        more = page.get("metadata", {}).get("continue")
        if not more:
            return
        asked["continue"] = more


@dataclass(frozen=True, slots=True)
class Standing:
    """An object as it was seen last, by whom its status is about to be replaced: `status` is what may be replaced."""

    uid: str
    resource_version: str
    status: Mapping[str, Any]

    @classmethod
    def of(cls, resource: Resource) -> "Standing":
        """Return what was read of a resource."""
        return cls(resource.uid, resource.resource_version, resource.status)


async def patch_status_of(kube: Kube, path: str, standing: Standing, status: dict[str, Any]) -> Json | None:
    """Write the whole status of an object and return the object; None, with nothing written, where it is gone or
    re-created.

    What stands there is replaced only by who has seen it: by a process that was stopped in the midst of its request,
    and by one that worked at an older spec, nothing newer is. Raises ApiError: 409 where another status stands there,
    422 where the schema refuses the status; and ApiUnavailable.
    """
    version = standing.resource_version
    for _ in range(TRIES):
        try:
            # Not a test of the status itself: the API server compares the bytes of its own encoding, in which
            # `<`, `>` and `&` are escaped.
            steps = [_set("/metadata/resourceVersion", version), _set("/status", status)]
            return await kube.patch(f"{path}/status", steps, JSON_PATCH)
        except ApiError as error:
            if error.status == 404:
                return None
            if error.status != 409:
                raise
            current = await get_object(kube, path)
            if current is None or current["metadata"]["uid"] != standing.uid:
                return None
            there = current.get("status") or {}
            if there == status:
                # Ours, and the answer was lost.
                return current
            if there != standing.status:
                raise ApiError(409, "Conflict", "another status was written meanwhile") from None
            version = current["metadata"]["resourceVersion"]
    raise ApiError(409, "Conflict", "the object changes all the time")


def _set(path: str, value: object) -> Json:
    return {"op": "add", "path": path, "value": value}
