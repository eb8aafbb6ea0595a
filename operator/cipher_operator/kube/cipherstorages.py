"""CipherStorages on the API server: reading, the status, our finalizer."""

from collections.abc import AsyncIterator
from typing import Any

from cipher_operator.api.names import GROUP, PLURAL, VERSION
from cipher_operator.api.spec import Resource
from cipher_operator.kube import finalizers
from cipher_operator.kube.client import JSON_PATCH, ApiError, Json, KubeClient

METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
PAGE = "500"


def _path(namespace: str | None, name: str | None = None) -> str:
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{GROUP}/{VERSION}{scope}/{PLURAL}" + (f"/{name}" if name else "")


async def get_storage(kube: KubeClient, namespace: str, name: str) -> Json | None:
    """Return the object, or None where it, or the whole kind, does not exist. Raises ApiError, ApiUnavailable."""
    try:
        return await kube.get(_path(namespace, name))
    except ApiError as error:
        if error.status == 404:
            return None
        raise


async def list_storages(kube: KubeClient, namespace: str, field_selector: str = "") -> list[Json]:
    """Return the objects of a namespace that a field selector chooses. Raises ApiError, ApiUnavailable."""
    query = {"fieldSelector": field_selector} if field_selector else {}
    items: list[Json] = (await kube.get(_path(namespace), **query)).get("items") or []
    return items


async def storage_keys(kube: KubeClient, namespace: str | None) -> AsyncIterator[tuple[str, str]]:
    """Yield (namespace, name) of every storage, of all namespaces where `namespace` is None, page by page.

    Raises ApiError, status 404 where the kind is not installed, and ApiUnavailable.
    """
    query = {"limit": PAGE}
    while True:
        page = await kube.get(_path(namespace), accept=METADATA_ONLY, **query)
        for item in page.get("items") or []:
            yield item["metadata"]["namespace"], item["metadata"]["name"]
        more = page.get("metadata", {}).get("continue")
        if not more:
            return
        query["continue"] = more


async def patch_status(kube: KubeClient, namespace: str, name: str, uid: str, status: dict[str, Any]) -> bool:
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


async def add_finalizer(kube: KubeClient, resource: Resource, finalizer: str) -> None:
    """Add a finalizer; returns when it is there. Raises ApiError, status 404 where the object is gone or re-created."""
    path = _path(resource.namespace, resource.name)
    await finalizers.add(
        kube,
        path,
        resource.uid,
        finalizer,
        resource_version=resource.resource_version,
        present=resource.finalizers,
    )


async def remove_finalizer(kube: KubeClient, resource: Resource, finalizer: str) -> None:
    """Remove a finalizer; returns when it is not there, or the object is gone or re-created. Raises ApiError."""
    path = _path(resource.namespace, resource.name)
    await finalizers.remove(kube, path, resource.uid, finalizer, present=resource.finalizers)
