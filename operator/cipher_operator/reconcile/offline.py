"""`plan` and `check` from manifests on a laptop: the same look at the server, without a cluster and without a write."""

import base64
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from cipher_operator.api import names
from cipher_operator.api.failures import Failure
from cipher_operator.api.spec import Resource, parse_resource
from cipher_operator.core.connection.password import Password
from cipher_operator.kube.secrets import SecretObject
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.provision import Report, converge
from cipher_operator.postgres.session import Session
from cipher_operator.reconcile.decide import decide, parse
from cipher_operator.reconcile.digest import Digest
from cipher_operator.reconcile.history import History
from cipher_operator.reconcile.inputs import app_secret
from cipher_operator.reconcile.rules import Rules
from cipher_operator.reconcile.snapshot import Snapshot

UNSET = Password("not set by anybody")
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


async def examine(manifests: Manifests, rules: Rules, policy: DialPolicy) -> Report | Failure:
    """Look at the server as a first run would and return what it would do, or why it cannot. Writes nothing."""
    resource = manifests.storage
    spec = parse(resource, rules)
    if isinstance(spec, Failure):
        return spec
    intent = decide(_snapshot(manifests), spec, History(""), rules, now=datetime.now(UTC), fresh=UNSET, digest=Digest())
    if isinstance(intent, Failure):
        return intent

    @asynccontextmanager
    async def connect(database: str) -> AsyncIterator[Session]:
        async with await Session.open(intent.admin, database, policy) as session:
            yield session

    report = await converge(connect, intent.desired, intent.orders, maintenance=intent.admin.database, write=False)
    return report.failure or report


def _snapshot(manifests: Manifests) -> Snapshot:
    """Return the files as a run reads the cluster. Only what exists beside the CipherStorage counts: no app Secret."""
    resource = manifests.storage
    published = app_secret(resource.key, resource.raw_spec)[2]
    secrets = {name: data for (kind, name), data in manifests.data.items() if kind == "Secret" and name != published}
    return Snapshot(
        resource,
        {name: SecretObject.of(resource.namespace, name, data) for name, data in secrets.items()},
        {name: data for (kind, name), data in manifests.data.items() if kind == "ConfigMap"},
    )
