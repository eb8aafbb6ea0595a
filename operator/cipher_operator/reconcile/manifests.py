"""Manifests in files, read as an API server gives them: for `plan` and `check` without a cluster."""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cipher_operator.api import names
from cipher_operator.api.names import DEFAULT_NAMESPACE, SERVERS_NAMESPACE
from cipher_operator.api.printable import printable
from cipher_operator.api.spec import Resource, parse_resource
from cipher_operator.kube.cipherservers import server_path
from cipher_operator.kube.cipherstorages import storage_path
from cipher_operator.kube.namespaces import namespace_path
from cipher_operator.kube.port import JSON, ApiError, Json
from cipher_operator.kube.secrets import configmap_path, secret_path
from cipher_operator.reconcile.documents import Document, ManifestError, mapping, read_documents
from cipher_operator.reconcile.inputs import CONFIG_MAP, NAMESPACE, SECRET, Ref, app_secret, login_references, server_of

_VERSIONS = {
    names.KIND: names.API_VERSION,
    names.SERVER_KIND: names.API_VERSION,
    SECRET: "v1",
    CONFIG_MAP: "v1",
    NAMESPACE: "v1",
}
"""What is read, and in which version; all else in the files is for others."""
_SHAPES: Mapping[str, Callable[[Any], bool]] = {
    "labels": lambda value: isinstance(value, Mapping),
    "annotations": lambda value: isinstance(value, Mapping),
    "finalizers": lambda value: isinstance(value, list),
    "ownerReferences": lambda value: isinstance(value, list) and all(isinstance(each, Mapping) for each in value),
}
"""What an API server has checked of metadata, and a file may hold in any shape."""
_NAMESPACED = frozenset({names.KIND, SECRET, CONFIG_MAP})


@dataclass(frozen=True, slots=True)
class Manifests:
    """One CipherStorage, and what stands beside it in the files, as an API server gives it: by path, read only.

    A Secret of the name that is published is no input. `servers` is the namespace of what CipherServers name.
    """

    storage: Resource
    objects: Mapping[str, Json]
    servers: str

    @property
    def lacks_server(self) -> bool:
        """Return whether the storage names a CipherServer that the files do not hold."""
        ref = server_of(self.storage.raw_spec)
        return ref is not None and _path(ref) not in self.objects

    async def get(self, path: str, *, accept: str = JSON, **query: str) -> Json:
        """Return the object at a path; of lists, that nothing is there."""
        if "limit" in query:
            return {"items": []}
        if path not in self.objects:
            raise ApiError(404, "NotFound")
        return self.objects[path]


def load(sources: Iterable[str], *, namespace: str | None = None, servers: str | None = None) -> Manifests:
    """Return what the files hold. `namespace` is that of objects that state none; `servers` that of what CipherServers
    name, None for the one that the files state. Raises ManifestError."""
    given = read_documents(sources)
    documents = [each for each in given if _is_read(each)]
    chosen = _storage(given, documents)
    if namespace is not None and chosen.namespace not in ("", namespace):
        raise ManifestError(f"{chosen.source}: {chosen.label} is not in namespace '{namespace}', which -n names")
    home = chosen.namespace or namespace or DEFAULT_NAMESPACE
    body = _named(chosen, home)
    storage = parse_resource(body)
    published = app_secret(storage.key, storage.raw_spec)
    found: dict[Ref, Document] = {}
    for each in documents:
        ref = _ref(each, home)
        if ref in found:
            raise ManifestError(
                f"{each.label} is in the files twice: {found[ref].source}, {each.source}; leave one out"
            )
        found[ref] = each
    objects = {_path(ref): _object(each, ref[1]) for ref, each in found.items() if ref != published}
    return Manifests(storage, objects, servers or _home(storage, found))


def _is_read(document: Document) -> bool:
    """Return whether an object may be an input. Raises ManifestError where it looks like one and is not."""
    wanted, version = _VERSIONS.get(document.kind), document.api_version
    if wanted is None or (wanted == "v1" and "/" in version):
        return False
    if version != wanted:
        raise ManifestError(f"{document.source}: {document.label} must have `apiVersion: {wanted}`")
    if not document.name:
        raise ManifestError(f"{document.source}: {document.kind} has no `metadata.name`")
    for field, value, taken in (
        ("name", document.name, names.OBJECT_NAME),
        ("namespace", document.namespace, names.NAMESPACE_NAME),
    ):
        if value and not taken.fullmatch(value):
            raise ManifestError(
                f"{document.source}: {document.kind}: `metadata.{field}` '{value}' is none that Kubernetes takes: "
                "write small letters, digits and '-'"
            )
    return True


def _storage(given: list[Document], documents: list[Document]) -> Document:
    found = [each for each in documents if each.kind == names.KIND]
    if not found:
        kinds = ", ".join(sorted({each.kind for each in given}))
        held = f"there is no {names.KIND} in the files, but {kinds}" if kinds else "the files hold no object at all"
        raise ManifestError(f"{held}; name the file of a {names.KIND} with -f, too")
    if len(found) > 1:
        labels = ", ".join(each.label.removeprefix(f"{names.KIND} ") for each in found)
        raise ManifestError(f"the files hold {len(found)} objects of kind {names.KIND}: {labels}; give one at a time")
    return found[0]


def _home(storage: Resource, found: Mapping[Ref, Document]) -> str:
    """Return the namespace of what CipherServers name: where the files say that this storage's has it, never by an
    object beside the storage. Raises ManifestError where they say two."""
    ref = server_of(storage.raw_spec)
    if ref is None or ref not in found:
        return SERVERS_NAMESPACE
    stated = {
        namespace: (kind, name)
        for kind, _, name in sorted(login_references("", found[ref].body.get("spec")))
        for namespace in _stated(found, kind, name)
        if namespace != storage.namespace
    }
    if len(stated) > 1:
        where = " and ".join(f"{kind} '{name}' in '{space}'" for space, (kind, name) in sorted(stated.items()))
        raise ManifestError(
            f"the files have what CipherServer '{ref[2]}' names in several namespaces: {where}; say with "
            "--server-secrets-namespace which is the operator's own"
        )
    return next(iter(stated), SERVERS_NAMESPACE)


def _stated(found: Mapping[Ref, Document], kind: str, name: str) -> Iterator[str]:
    for (of, namespace, called), document in found.items():
        if (of, called) == (kind, name) and document.namespace:
            yield namespace


def _ref(document: Document, home: str) -> Ref:
    namespace = (document.namespace or home) if document.kind in _NAMESPACED else ""
    return document.kind, namespace, document.name


def _path(ref: Ref) -> str:
    kind, namespace, name = ref
    if kind == names.KIND:
        return storage_path(namespace, name)
    if kind == names.SERVER_KIND:
        return server_path(name)
    if kind == NAMESPACE:
        return namespace_path(name)
    return secret_path(namespace, name) if kind == SECRET else configmap_path(namespace, name)


def _object(document: Document, namespace: str) -> Json:
    named = _named(document, namespace)
    if document.kind == SECRET:
        return named | {"data": _secret_data(document)}
    if document.kind == CONFIG_MAP:
        return named | {"data": document.texts("data")}
    if document.kind == NAMESPACE:
        named["metadata"]["labels"] = document.texts("metadata", "labels")
    return named


def _named(document: Document, namespace: str) -> Json:
    """Return an object as the API server has it: with a namespace, and what it gives each."""
    metadata: dict[str, Any] = {"uid": "", "resourceVersion": "1", **mapping(document.body.get("metadata"))}
    for field, fits in _SHAPES.items():
        if metadata.get(field) is not None and not fits(metadata[field]):
            raise ManifestError(
                f"{document.source}: {document.label}: `metadata.{field}` has not the shape it must have"
            )
    if namespace:
        metadata["namespace"] = namespace
    return {**document.body, "metadata": metadata}


def _secret_data(document: Document) -> dict[str, str]:
    """Return what a Secret holds, as the API server gives its `data`."""
    given = {key: value.replace("\r", "").replace("\n", "") for key, value in document.texts("data").items()}
    for key, value in given.items():
        try:
            base64.b64decode(value, validate=True)
        except ValueError:
            raise ManifestError(
                f"{document.source}: {document.label}: `data`, key '{printable(key)}': must be base64; or use "
                "`stringData`"
            ) from None
    plain = document.texts("stringData")
    return given | {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
