"""Namespaces on the API server: the labels of one, and the uid by which a cluster is known."""

from collections.abc import Mapping

from cipher_operator.kube.objects import get_object
from cipher_operator.kube.port import Reading


def namespace_path(name: str) -> str:
    """Return a Namespace's path on the API server."""
    return f"/api/v1/namespaces/{name}"


async def get_labels(kube: Reading, name: str) -> Mapping[str, str] | None:
    """Return the labels of a namespace, None where there is none of that name. Raises ApiError, ApiUnavailable."""
    body = await get_object(kube, namespace_path(name))
    return None if body is None else body["metadata"].get("labels") or {}
