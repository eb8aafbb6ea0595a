"""Which storages of a namespace name a CipherServer."""

from cipher_operator.api.shape import SELECTED_SERVER
from cipher_operator.kube.cipherstorages import MANY, storage_path
from cipher_operator.kube.objects import pages
from cipher_operator.kube.port import METADATA_LIST, Reading

Created = tuple[str, str]
"""creationTimestamp and name: in this order they came."""


async def in_order(kube: Reading, namespace: str, server: str) -> list[Created]:
    """Return the storages of a namespace that name this CipherServer, by what was created first.

    Which of two comes first depends on nothing but them, so that all runs agree. Raises ApiError, ApiUnavailable.
    """
    selected = f"{SELECTED_SERVER}={server}"
    items = pages(kube, storage_path(namespace), limit=MANY, accept=METADATA_LIST, fieldSelector=selected)
    return sorted(
        [(str(each["metadata"].get("creationTimestamp", "")), each["metadata"]["name"]) async for each in items]
    )
