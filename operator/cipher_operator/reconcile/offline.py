"""`plan` and `check` from manifests on a laptop: the same look at the server, without a cluster and without a write."""

import base64
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from cipher_operator.api import names
from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import Connection, Resource, Spec, UserMode, parse_resource, parse_spec
from cipher_operator.core.connection.admin import AdminConnection, read_admin_connection
from cipher_operator.core.desired import Credential, Desired
from cipher_operator.core.marker import Identity
from cipher_operator.core.naming import database_name, user_name
from cipher_operator.core.secret import check_publishable
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.provision import Converged, converge
from cipher_operator.postgres.session import Session
from cipher_operator.runtime.settings import Settings

NO_VERIFIER = "***"
UNKNOWN_INSTANCE = "offline"
DEFAULT_NAMESPACE = "default"
"""As kubectl takes it where a manifest names none."""


class ManifestError(Exception):
    """The files do not hold what is needed; the text says what and where."""


@dataclass(frozen=True, slots=True)
class Manifests:
    """One CipherStorage and the Secrets and ConfigMaps beside it, by kind and name."""

    storage: Resource
    data: Mapping[tuple[str, str], Mapping[str, bytes]]


def load(paths: Iterable[Path]) -> Manifests:
    """Return what the files hold. Raises ManifestError."""
    storages: list[Resource] = []
    data: dict[tuple[str, str], Mapping[str, bytes]] = {}
    for path in paths:
        for document in _documents(path):
            kind, name = document.get("kind"), str(_mapping(document.get("metadata")).get("name", ""))
            if kind == names.KIND:
                storage = parse_resource(document)
                storages.append(replace(storage, namespace=storage.namespace or DEFAULT_NAMESPACE))
            elif kind in ("Secret", "ConfigMap"):
                data[str(kind), name] = _data(document, path)
    if len(storages) != 1:
        raise ManifestError(f"the files hold {len(storages)} objects of kind {names.KIND}, must hold exactly one")
    return Manifests(storages[0], data)


def _documents(path: Path) -> list[Mapping[str, Any]]:
    try:
        documents = list(yaml.safe_load_all(path.read_text()))
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        # A parse error would quote the file, and the file may be a Secret.
        raise ManifestError(f"{path} is not YAML") from None
    return [document for document in documents if isinstance(document, Mapping)]


def _data(document: Mapping[str, Any], path: Path) -> Mapping[str, bytes]:
    plain = _mapping(document.get("stringData" if document["kind"] == "Secret" else "data"))
    values = {str(key): str(value).encode() for key, value in plain.items()}
    encoded = _mapping(document.get("data" if document["kind"] == "Secret" else "binaryData"))
    try:
        return {str(key): base64.b64decode(str(value), validate=True) for key, value in encoded.items()} | values
    except ValueError:
        raise ManifestError(f"{path}: `data` of a {document['kind']} must be base64; or use `stringData`") from None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


async def examine(manifests: Manifests, settings: Settings, instance_id: str = UNKNOWN_INSTANCE) -> Converged:
    """Look at the server as a first run would and return what it would do. Raises Failure; writes nothing."""
    resource = manifests.storage
    spec = parse_spec(resource.namespace, resource.name, resource.raw_spec)
    admin = _admin(manifests, spec.connection)
    desired = _desired(resource, spec, admin, instance_id)
    check_publishable(admin, spec.app, desired.database)
    policy = DialPolicy(blocked=settings.blocked_ranges, connect_timeout=settings.connect_timeout)

    @asynccontextmanager
    async def connect(database: str) -> AsyncIterator[Session]:
        async with await Session.open(admin, database, policy) as session:
            yield session

    return await converge(connect, desired, maintenance=admin.database, write=False)


def _desired(resource: Resource, spec: Spec, admin: AdminConnection, instance_id: str) -> Desired:
    shared = spec.user.mode is UserMode.SHARED
    return Desired(
        identity=Identity(instance_id, resource.namespace, resource.name, resource.uid),
        database=database_name(spec, admin, {}),
        create_database=spec.database.create,
        schema=spec.schema,
        user=user_name(resource, spec, admin),
        credential=None if shared else Credential(None, NO_VERIFIER),
        connection_limit=spec.user.connection_limit,
        extensions=spec.extensions,
    )


def _admin(manifests: Manifests, connection: Connection) -> AdminConnection:
    secret = manifests.data.get(("Secret", connection.secret_name))
    if secret is None:
        raise _missing("Secret", connection.secret_name)
    ca = None
    if connection.ca is not None:
        holder = manifests.data.get((connection.ca.kind, connection.ca.name))
        if holder is None:
            raise _missing(connection.ca.kind, connection.ca.name)
        ca = holder.get(connection.ca.key, b"")
    return read_admin_connection(secret, connection, ca)


def _missing(kind: str, name: str) -> Failure:
    return Failure(Reason.SECRET_NOT_FOUND, f"no file holds {kind} '{name}'; name its file with -f too")
