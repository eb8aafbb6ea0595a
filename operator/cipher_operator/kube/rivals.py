"""Which storages of a namespace have a place on a CipherServer before another one."""

from cipher_operator.api.spec import Resource
from cipher_operator.kube.cipherstorages import FEW, older_tenants, storage_path
from cipher_operator.kube.objects import pages
from cipher_operator.kube.port import Reading


async def tenants_before(kube: Reading, resource: Resource, server: str, *, most: int, begins: bool) -> int:
    """Return how many other storages of the namespace name this CipherServer and come first: those created earlier and,
    for one that `begins`, those that stand. Counted to `most`, from which on there is no place.

    What stands is asked too: whoever has old storages name a server one by one, the youngest first, has none before
    any. Raises ApiError, ApiUnavailable.
    """
    older = await older_tenants(kube, resource, server)
    if older >= most or not begins:
        return older
    count, own = 0, (resource.created, resource.name)
    selected = f"spec.connection.serverRef.name={server}"
    async for item in pages(kube, storage_path(resource.namespace), limit=FEW, fieldSelector=selected):
        metadata = item["metadata"]
        first = (str(metadata.get("creationTimestamp", "")), metadata["name"]) < own
        stands = metadata["name"] != resource.name and bool((item.get("status") or {}).get("database"))
        count += first or stands
    return count
