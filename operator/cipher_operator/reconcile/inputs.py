"""Which Secrets, ConfigMaps and other objects a spec names, valid or not: whatever has another shape counts as absent.

The one place that says where a reference is looked up: those of a CipherStorage in its own namespace, those of a
CipherServer in the operator's. No spec has a say in that.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Final

from cipher_operator.api.names import KIND, SERVER_KIND, default_secret_name
from cipher_operator.queue.ways import Way

Key = tuple[str, str]
"""(namespace, name) of a CipherStorage; of a CipherServer the namespace is ''."""
Ref = tuple[str, str, str]
"""Kind, namespace and name of an input; the namespace is '' of what is in none."""
SECRET: Final = "Secret"
CONFIG_MAP: Final = "ConfigMap"
NAMESPACE: Final = "Namespace"
PLACE: Final = "Place"
"""Kind of what a storage waits for that is one too many on its CipherServer: named by namespace and server."""
CONTENTS: Final = frozenset({SECRET, CONFIG_MAP})
"""Kinds whose content is read."""


def references(key: Key, spec: object) -> frozenset[Ref]:
    """Return what a CipherStorage reads or writes by its own spec."""
    namespace, _ = key
    found = {app_secret(key, spec), *_cas(namespace, spec)}
    if (secret := connection_secret(namespace, spec)) is not None:
        found.add(secret)
    password = _get(spec, "user", "passwordSecretRef", "name")
    if isinstance(password, str):
        found.add((SECRET, namespace, password))
    if (server := server_of(spec)) is not None:
        found |= {server, (NAMESPACE, "", namespace)}
    if (former := former_of(spec)) is not None:
        found.add(former)
    return frozenset(found)


def former_of(spec: object) -> Ref | None:
    """Return the CipherStorage, of whichever operator, that `adoptFrom` names: what is found by it is looked at."""
    namespace, name = (_get(spec, "adoptFrom", part) for part in ("namespace", "name"))
    return (KIND, namespace, name) if isinstance(namespace, str) and isinstance(name, str) else None


def app_secret(key: Key, spec: object) -> Ref:
    """Return the Secret that is published."""
    namespace, name = key
    app = _get(spec, "app", "secretName")
    return SECRET, namespace, app if isinstance(app, str) else default_secret_name(name)


def server_of(spec: object) -> Ref | None:
    """Return the CipherServer that a CipherStorage names."""
    name = _get(spec, "connection", "serverRef", "name")
    return (SERVER_KIND, "", name) if isinstance(name, str) else None


def way(namespace: str, spec: object) -> Ref | Way | None:
    """Return what stands for the way to the server: storages with the same one have the same."""
    if (server := server_of(spec)) is not None:
        return server
    secret = connection_secret(namespace, spec)
    where = [_get(spec, "connection", *path) for path in (("host",), ("port",), ("secretRef", "keys"))]
    if secret is None or not any(where):
        return secret
    return Way(secret, json.dumps(where, sort_keys=True))


def login_references(namespace: str, spec: object) -> frozenset[Ref]:
    """Return what a spec's `connection` names to log in as administrator: its Secret, and its CA's object."""
    secret = connection_secret(namespace, spec)
    return frozenset((*((secret,) if secret is not None else ()), *_cas(namespace, spec, "connection")))


def ways_in(namespace: str, spec: object) -> frozenset[Ref]:
    """Return the objects that are held while a deletion needs them: the CipherServer, or the Secrets of the login."""
    if (server := server_of(spec)) is not None:
        return frozenset({server})
    return frozenset(ref for ref in login_references(namespace, spec) if ref[0] == SECRET)


def connection_secret(namespace: str, spec: object) -> Ref | None:
    """Return the Secret with the administrator's login."""
    secret = _get(spec, "connection", "secretRef", "name")
    return (SECRET, namespace, secret) if isinstance(secret, str) else None


def _cas(namespace: str, spec: object, *doors: str) -> Iterator[Ref]:
    for door in doors or ("connection", "app"):
        ca = _get(spec, door, "caRef")
        name = _get(ca, "name")
        if isinstance(name, str):
            yield CONFIG_MAP if _get(ca, "kind") == CONFIG_MAP else SECRET, namespace, name


def _get(node: object, *path: str) -> object:
    for part in path:
        node = node.get(part) if isinstance(node, Mapping) else None
    return node
