"""CipherStorages on the API server: reading, the status, our finalizer."""

from collections.abc import AsyncIterator
from typing import Any

from cipher_operator.api.names import API_VERSION, GROUP, PLURAL
from cipher_operator.api.spec import Resource
from cipher_operator.kube import finalizers
from cipher_operator.kube.finalizers import Holdable
from cipher_operator.kube.port import JSON_PATCH, METADATA_LIST, ApiError, Json, Kube

FEW, MANY = "20", "500"
"""Objects in one page of a list."""


def _path(namespace: str | None, name: str | None = None) -> str:
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{API_VERSION}{scope}/{PLURAL}" + (f"/{name}" if name else "")


async def get_storage(kube: Kube, namespace: str, name: str) -> Json | None:
    """Return the object, or None where it, or the whole kind, does not exist. Raises ApiError, ApiUnavailable."""
    try:
        return await kube.get(_path(namespace, name))
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def storages(kube: Kube, namespace: str) -> AsyncIterator[Json]:
    """Yield the objects of a namespace, few at a time for whoever stops early. Raises ApiError, ApiUnavailable."""
    return _pages(kube, namespace, limit=FEW)


async def storage_keys(kube: Kube, namespace: str | None) -> AsyncIterator[tuple[str, str]]:
    """Yield (namespace, name) of every storage, of all namespaces where `namespace` is None.

    Raises ApiError, status 404 where the kind is not installed, and ApiUnavailable.
    """
    async for item in _pages(kube, namespace, limit=MANY, accept=METADATA_LIST):
        yield item["metadata"]["namespace"], item["metadata"]["name"]


async def kind_is_served(kube: Kube) -> bool:
    """Return whether discovery names the kind; it follows a CRD that is established after a moment.

    Raises ApiError where discovery is refused, and ApiUnavailable.
    """
    groups = (await kube.get("/apis"))["groups"]
    if all(group["name"] != GROUP for group in groups):
        return False
    try:
        resources = (await kube.get(f"/apis/{API_VERSION}"))["resources"]
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return any(resource["name"] == PLURAL for resource in resources)


async def _pages(
    kube: Kube, namespace: str | None, *, limit: str, accept: str = "application/json"
) -> AsyncIterator[Json]:
    query = {"limit": limit}
    while True:
        page = await kube.get(_path(namespace), accept=accept, **query)
        for item in page.get("items") or []:
            yield item
        more = page.get("metadata", {}).get("continue")
        if not more:
            return
        query["continue"] = more


async def patch_status(kube: Kube, namespace: str, name: str, uid: str, status: dict[str, Any]) -> bool:
    """Write the whole status; return False, with nothing written, where the object is gone or re-created.

    Raises ApiError, status 422 where the schema refuses the status, and ApiUnavailable.
    """
    steps: list[Json] = [
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "add", "path": "/status", "value": status},
    ]
    try:
        await kube.patch(_path(namespace, name) + "/status", steps, JSON_PATCH)
    except ApiError as error:
        if error.status == 404:
            return False
        # A failed test and a status that the schema refuses both answer 422 Invalid.
        if error.status == 422:
            current = await get_storage(kube, namespace, name)
            if current is None or current["metadata"]["uid"] != uid:
                return False
        raise
    return True


async def add_finalizer(kube: Kube, resource: Resource, finalizer: str) -> None:
    """Add a finalizer; returns when it is there. Raises ApiError, status 404 where the object is gone or re-created."""
    await finalizers.add(kube, _holdable(resource), finalizer)


async def remove_finalizer(kube: Kube, resource: Resource, finalizer: str) -> None:
    """Remove a finalizer; returns when it is not there, or the object is gone or re-created. Raises ApiError."""
    await finalizers.remove(kube, _holdable(resource), finalizer)


def _holdable(resource: Resource) -> Holdable:
    path = _path(resource.namespace, resource.name)
    return Holdable(path, resource.uid, resource.resource_version, resource.finalizers, resource.deleting)
