"""Which Secrets and ConfigMaps a spec names, valid or not: whatever has another shape counts as absent."""

from collections.abc import Iterator, Mapping

from cipher_operator.api.names import default_secret_name

Key = tuple[str, str]
"""(namespace, name) of a CipherStorage."""
Ref = tuple[str, str, str]
"""Kind (`Secret` or `ConfigMap`), namespace and name of an input."""


def references(key: Key, spec: object) -> frozenset[Ref]:
    """Return what a storage reads or writes."""
    namespace, _ = key
    found = {ref for ref in (connection_secret(namespace, spec),) if ref is not None}
    found.update(_cas(namespace, spec))
    password = _get(spec, "user", "passwordSecretRef", "name")
    if isinstance(password, str):
        found.add(("Secret", namespace, password))
    found.add(app_secret(key, spec))
    return frozenset(found)


def app_secret(key: Key, spec: object) -> Ref:
    """Return the Secret that is published."""
    namespace, name = key
    app = _get(spec, "app", "secretName")
    return "Secret", namespace, app if isinstance(app, str) else default_secret_name(name)


def ways_in(namespace: str, spec: object) -> frozenset[Ref]:
    """Return the Secrets that the operator needs to log in as administrator: the connection's, and its CA's."""
    found = {ref for ref in (connection_secret(namespace, spec), *_cas(namespace, spec, "connection")) if ref}
    return frozenset(ref for ref in found if ref[0] == "Secret")


def connection_secret(namespace: str, spec: object) -> Ref | None:
    """Return the Secret with the administrator's login."""
    secret = _get(spec, "connection", "secretRef", "name")
    return ("Secret", namespace, secret) if isinstance(secret, str) else None


def _cas(namespace: str, spec: object, *doors: str) -> Iterator[Ref]:
    for door in doors or ("connection", "app"):
        ca = _get(spec, door, "caRef")
        name = _get(ca, "name")
        if isinstance(name, str):
            yield "ConfigMap" if _get(ca, "kind") == "ConfigMap" else "Secret", namespace, name


def _get(node: object, *path: str) -> object:
    for part in path:
        node = node.get(part) if isinstance(node, Mapping) else None
    return node
