"""What both of our kinds need of the API server: one object, pages of a list, the status."""

from collections.abc import AsyncIterator
from typing import Any

from cipher_operator.kube.port import JSON, JSON_PATCH, ApiError, Json, Kube, Reading


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


async def patch_status_of(kube: Kube, path: str, uid: str, status: dict[str, Any]) -> bool:
    """Write the whole status of an object; return False, with nothing written, where it is gone or re-created.

    Raises ApiError, status 422 where the schema refuses the status, and ApiUnavailable.
    """
    steps: list[Json] = [
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "add", "path": "/status", "value": status},
    ]
    try:
        await kube.patch(f"{path}/status", steps, JSON_PATCH)
    except ApiError as error:
        if error.status == 404:
            return False
        # A failed test and a status that the schema refuses both answer 422 Invalid.
        if error.status == 422:
            current = await get_object(kube, path)
            if current is None or current["metadata"]["uid"] != uid:
                return False
        raise
    return True
