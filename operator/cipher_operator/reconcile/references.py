"""Which Secrets and ConfigMaps a spec names, valid or not: whatever has another shape counts as absent."""

from collections.abc import Iterator, Mapping

from cipher_operator.api.names import default_secret_name
from cipher_operator.queue.inputs import Ref
from cipher_operator.reconcile.inventory import Key


def references(key: Key, spec: object) -> set[Ref]:
    """Return what a storage reads or writes."""
    namespace, name = key
    found = set(ways_in(namespace, spec))
    password = _get(spec, "user", "passwordSecretRef", "name")
    if isinstance(password, str):
        found.add(("Secret", namespace, password))
    app = _get(spec, "app", "secretName")
    found.add(("Secret", namespace, app if isinstance(app, str) else default_secret_name(name)))
    return found


def ways_in(namespace: str, spec: object) -> Iterator[Ref]:
    """Yield what the operator needs to log in as administrator: the connection Secret first, then its CA."""
    secret = _get(spec, "connection", "secretRef", "name")
    if isinstance(secret, str):
        yield "Secret", namespace, secret
    ca = _get(spec, "connection", "caRef")
    name = _get(ca, "name")
    if isinstance(name, str):
        yield "ConfigMap" if _get(ca, "kind") == "ConfigMap" else "Secret", namespace, name


def _get(node: object, *path: str) -> object:
    for part in path:
        node = node.get(part) if isinstance(node, Mapping) else None
    return node
