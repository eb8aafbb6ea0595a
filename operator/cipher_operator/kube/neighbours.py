"""Which storages of a namespace may have a place on a CipherServer before another one."""

from cipher_operator.api.shape import SELECTED_SERVER
from cipher_operator.api.spec import Resource
from cipher_operator.core.tenancy import Neighbours
from cipher_operator.kube.cipherstorages import MANY, storage_path
from cipher_operator.kube.objects import pages
from cipher_operator.kube.port import METADATA_LIST, Reading


async def neighbours(kube: Reading, resource: Resource, server: str) -> Neighbours:
    """Return the other storages of the namespace that name this CipherServer, by what was created first.

    Which of two comes first depends on nothing but them, so that all runs agree. Raises ApiError, ApiUnavailable.
    """
    older, younger, own = 0, [], (resource.created, resource.name)
    selected = f"{SELECTED_SERVER}={server}"
    async for item in pages(
        kube, storage_path(resource.namespace), limit=MANY, accept=METADATA_LIST, fieldSelector=selected
    ):
        metadata = item["metadata"]
        other = (str(metadata.get("creationTimestamp", "")), metadata["name"])
        if other < own:
            older += 1
        elif other > own:
            younger.append(metadata["name"])
    return Neighbours(older, tuple(younger))
