"""CipherServers on the API server: reading, and the status."""

from collections.abc import AsyncIterator
from typing import Any

from cipher_operator.api.names import API_VERSION, SERVER_PLURAL
from cipher_operator.api.spec import Resource
from cipher_operator.kube.finalizers import Holdable
from cipher_operator.kube.objects import Standing, get_object, pages, patch_status_of
from cipher_operator.kube.port import ApiError, Json, Kube, Reading


def server_path(name: str = "") -> str:
    """Return a CipherServer's path on the API server, without a name that of all of them."""
    return f"/apis/{API_VERSION}/{SERVER_PLURAL}" + (f"/{name}" if name else "")


async def get_server(kube: Reading, name: str) -> Json | None:
    """Return the object, or None where it, or the whole kind, does not exist. Raises ApiError, ApiUnavailable."""
    return await get_object(kube, server_path(name))


async def servers(kube: Kube) -> AsyncIterator[Json]:
    """Yield all CipherServers, none where the kind does not exist. Raises ApiError, ApiUnavailable."""
    try:
        async for server in pages(kube, server_path(), limit="100"):
            yield server
    except ApiError as error:
        if error.status != 404:
            raise


def holdable(server: Resource) -> Holdable:
    """Return a CipherServer as an object that finalizers are put on."""
    path = server_path(server.name)
    return Holdable(path, server.uid, server.resource_version, server.finalizers, server.deleting)


async def patch_server_status(kube: Kube, name: str, standing: Standing, status: dict[str, Any]) -> Json | None:
    """Write the whole status over the one that was seen and return the object; None, with nothing written, where it is
    gone or re-created.

    Raises ApiError, status 409 where another status stands there, 422 where the schema refuses the status, and
    ApiUnavailable.
    """
    return await patch_status_of(kube, server_path(name), standing, status)
