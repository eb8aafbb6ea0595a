"""Who has taken a storage over that is being deleted: a server may have lost that, and say that all is the former's."""

from cipher_operator.api.connection import Scope
from cipher_operator.api.failures import Failure
from cipher_operator.api.names import ADOPT_REQUEST, KIND
from cipher_operator.api.spec import Resource, parse_resource, parse_spec
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.requests import Requests
from cipher_operator.kube.cipherstorages import get_storage
from cipher_operator.reconcile.contents import read_contents
from cipher_operator.reconcile.inputs import former_of, login_references
from cipher_operator.reconcile.surroundings import Surroundings


async def heir_of(around: Surroundings, former: Resource, admin: AdminConnection, database: str) -> str | None:
    """Return the storage, as namespace and name, that took this one over in that database of that server; None where
    nobody did. Raises ApiError, ApiUnavailable."""
    for key in around.inputs.users((KIND, former.namespace, former.name)):
        heir = parse_resource(await get_storage(around.kube, *key) or {})
        if _took_over(around, heir, former, database) and await _is_there(around, heir, former, admin):
            return "/".join(key)
    return None


def _took_over(around: Surroundings, heir: Resource, former: Resource, database: str) -> bool:
    source, done = heir.raw_spec.get(ADOPT_REQUEST), ADOPT_REQUEST not in Requests.of(heir).new
    here = isinstance(source, dict) and source.get("instance") == around.rules.instance
    named = former_of(heir.raw_spec) == (KIND, former.namespace, former.name)
    return here and named and done and not heir.deleting and heir.status.get("database") == database


async def _is_there(around: Surroundings, heir: Resource, former: Resource, admin: AdminConnection) -> bool:
    """Return whether an heir lives on that server. One of another namespace proves it: anybody may name this storage,
    and would hold its deletion up."""
    if heir.namespace == former.namespace:
        return True
    refs = login_references(heir.namespace, heir.raw_spec)
    contents = await read_contents(around.kube, heir.namespace, Scope.STORAGE, refs)
    try:
        spec = parse_spec(heir.namespace, heir.name, heir.raw_spec)
        way = contents.admin(spec.connection)
    except Failure:
        return False
    return (way.host.lower(), way.port) == (admin.host.lower(), admin.port)
