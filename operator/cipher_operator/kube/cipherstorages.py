"""CipherStorages on the API server: reading, the status, our finalizer."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from cipher_operator.api.names import API_VERSION, FINALIZER, PLURAL
from cipher_operator.api.shape import SELECTED_SERVER
from cipher_operator.api.spec import Resource
from cipher_operator.kube import finalizers
from cipher_operator.kube.finalizers import Holdable
from cipher_operator.kube.objects import Standing, get_object, pages, patch_status_of
from cipher_operator.kube.port import METADATA_LIST, Json, Kube, Reading

FEW, MANY = "20", "500"
"""Objects in one page of a list."""


def storage_path(namespace: str | None, name: str | None = None) -> str:
    """Return a CipherStorage's path on the API server, without a name that of all, without a namespace of all."""
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{API_VERSION}{scope}/{PLURAL}" + (f"/{name}" if name else "")


async def get_storage(kube: Reading, namespace: str, name: str) -> Json | None:
    """Return the object, or None where it, or the whole kind, does not exist. Raises ApiError, ApiUnavailable."""
    return await get_object(kube, storage_path(namespace, name))


def storages(kube: Kube, namespace: str) -> AsyncIterator[Json]:
    """Yield the objects of a namespace, few at a time for whoever stops early. Raises ApiError, ApiUnavailable."""
    return pages(kube, storage_path(namespace), limit=FEW)


async def storage_keys(kube: Kube, namespace: str | None) -> AsyncIterator[tuple[str, str]]:
    """Yield (namespace, name) of every storage, of all namespaces where `namespace` is None.

    Raises ApiError, status 404 where the kind is not installed, and ApiUnavailable.
    """
    async for item in pages(kube, storage_path(namespace), limit=MANY, accept=METADATA_LIST):
        yield item["metadata"]["namespace"], item["metadata"]["name"]


async def held_tenants(kube: Reading, namespace: str, server: str) -> list[str]:
    """Return the names of the namespace's storages that name this CipherServer and say that something on it is still to
    be dropped. Raises ApiError, ApiUnavailable.

    Whoever writes a storage can name any server, and put the finalizer there; some can write its status, too.
    """
    return await _tenants(kube, namespace, server, lambda item: _is_marked(item) and _has_place(item))


async def begun_tenants(kube: Reading, namespace: str, server: str) -> list[str]:
    """Return the names of the namespace's storages that name this CipherServer and may have something on it: they say
    so, or a run of theirs that may make what is to be dropped again has begun. Raises ApiError, ApiUnavailable."""
    return await _tenants(kube, namespace, server, lambda item: _is_marked(item) or _has_place(item))


async def _tenants(kube: Reading, namespace: str, server: str, chosen: Callable[[Json], bool]) -> list[str]:
    selected = f"{SELECTED_SERVER}={server}"
    pages_of = pages(kube, storage_path(namespace), limit=FEW, fieldSelector=selected)
    return [item["metadata"]["name"] async for item in pages_of if chosen(item)]


def _is_marked(item: Json) -> bool:
    return FINALIZER in (item["metadata"].get("finalizers") or ())


def _has_place(item: Json) -> bool:
    return bool((item.get("status") or {}).get("database"))


async def patch_status(
    kube: Kube, namespace: str, name: str, standing: Standing, status: dict[str, Any]
) -> Json | None:
    """Write the whole status over the one that was seen and return the object; None, with nothing written, where it is
    gone or re-created.

    Raises ApiError, status 409 where another status stands there, 422 where the schema refuses the status, and
    ApiUnavailable.
    """
    return await patch_status_of(kube, storage_path(namespace, name), standing, status)


async def add_finalizer(kube: Kube, resource: Resource, finalizer: str) -> str:
    """Add a finalizer and return the object's resourceVersion, with which it is there.

    Raises ApiError, status 404 where the object is gone or re-created.
    """
    return await finalizers.add(kube, _holdable(resource), finalizer)


async def remove_finalizer(kube: Kube, resource: Resource, finalizer: str) -> None:
    """Remove a finalizer; returns when it is not there, or the object is gone or re-created. Raises ApiError."""
    await finalizers.remove(kube, _holdable(resource), finalizer)


def _holdable(resource: Resource) -> Holdable:
    path = storage_path(resource.namespace, resource.name)
    return Holdable(path, resource.uid, resource.resource_version, resource.finalizers, resource.deleting)
