"""Manifests in files, read as an API server gives them: for `plan` and `check` without a cluster."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cipher_operator.api import names
from cipher_operator.api.spec import Resource, parse_resource
from cipher_operator.kube.cipherservers import server_path
from cipher_operator.kube.cipherstorages import storage_path
from cipher_operator.kube.port import JSON, ApiError, Json
from cipher_operator.kube.secrets import configmap_path, secret_path
from cipher_operator.reconcile.inputs import Ref, app_secret, connection_secret

DEFAULT_NAMESPACE = "default"
"""As kubectl takes it where a manifest names none."""


class ManifestError(Exception):
    """The files do not hold what is needed; the text says what and where."""


@dataclass(frozen=True, slots=True)
class Manifests:
    """One CipherStorage, and what stands beside it in the files, as an API server gives it: by path, read only.

    A Secret of the name that is published is no input. Where the Secrets of a CipherServer are is where they say it
    themselves.
    """

    storage: Resource
    objects: Mapping[str, Json]
    servers: str
    labels: Mapping[str, str]

    async def get(self, path: str, *, accept: str = JSON, **query: str) -> Json:
        """Return the object at a path; of lists, that nothing is there."""
        if "limit" in query:
            return {"items": []}
        if path not in self.objects:
            raise ApiError(404, "NotFound")
        return self.objects[path]


def load(paths: Iterable[Path]) -> Manifests:
    """Return what the files hold. Raises ManifestError."""
    documents = [(path, document) for path in paths for document in _documents(path)]
    bodies = [document for _, document in documents if document.get("kind") == names.KIND]
    if len(bodies) != 1:
        raise ManifestError(f"the files hold {len(bodies)} objects of kind {names.KIND}, must hold exactly one")
    body = _named(bodies[0], DEFAULT_NAMESPACE)
    storage = parse_resource(body)
    published = app_secret(storage.key, storage.raw_spec)
    objects, labels = {storage_path(*storage.key): body}, dict[str, str]()
    login = None
    for path, document in documents:
        kind = str(document.get("kind"))
        if kind in ("Secret", "ConfigMap"):
            named = _named(document, storage.namespace)
            metadata = named["metadata"]
            if (kind, metadata["namespace"], metadata["name"]) != published:
                where = secret_path if kind == "Secret" else configmap_path
                objects[where(metadata["namespace"], metadata["name"])] = named | {"data": _data(document, path)}
        elif kind == names.SERVER_KIND:
            server = _named(document, "")
            objects[server_path(server["metadata"]["name"])] = server
            login = connection_secret("", server.get("spec")) or login
        elif kind == "Namespace" and _mapping(document.get("metadata")).get("name") == storage.namespace:
            labels = {str(key): str(value) for key, value in _mapping(document["metadata"].get("labels")).items()}
    return Manifests(storage, objects, _home(objects, login, storage.namespace), labels)


def _home(objects: Mapping[str, Json], login: Ref | None, default: str) -> str:
    """Return the namespace in which a CipherServer's Secret is."""
    for body in objects.values():
        metadata = body["metadata"]
        if login is not None and body.get("kind") == "Secret" and metadata["name"] == login[2]:
            return str(metadata["namespace"])
    return default


def _named(document: Mapping[str, Any], namespace: str) -> Json:
    """Return a document as an object that the API server has: with a namespace, and what it gives each."""
    metadata = dict(_mapping(document.get("metadata")))
    if namespace:
        metadata["namespace"] = str(metadata.get("namespace") or namespace)
    metadata = {"uid": "", "resourceVersion": "1", "name": "", **metadata}
    return {**document, "metadata": metadata}


def _documents(path: Path) -> list[Mapping[str, Any]]:
    try:
        documents = list(yaml.safe_load_all(path.read_text()))
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        # A parse error would quote the file, and the file may be a Secret.
        raise ManifestError(f"{path} is not YAML") from None
    return [document for document in documents if isinstance(document, Mapping)]


def _data(document: Mapping[str, Any], path: Path) -> dict[str, str]:
    """Return what a Secret or ConfigMap holds, as the API server gives the `data` of its kind."""
    secret = document["kind"] == "Secret"
    plain = {str(key): str(value) for key, value in _mapping(document.get("stringData" if secret else "data")).items()}
    if not secret:
        return plain
    given = {str(key): str(value) for key, value in _mapping(document.get("data")).items()}
    try:
        for value in given.values():
            base64.b64decode(value, validate=True)
    except ValueError:
        raise ManifestError(f"{path}: `data` of a Secret must be base64; or use `stringData`") from None
    return given | {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
