"""CipherStorages and what they refer to, from files instead of from a cluster."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import API_VERSION, KIND
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import Resource, Spec, parse_resource, parse_spec
from cipher_operator.core.connection import AdminConnection, read_admin_connection
from cipher_operator.kube.secrets import decode_configmap, decode_secret

DEFAULT_NAMESPACE = "default"


class ManifestError(Exception):
    """Files that cannot be used; the message names the file and says what to do."""


@dataclass(frozen=True, slots=True)
class Storage:
    """One CipherStorage with its inputs. `failure` says why `spec` or `admin` is missing; then both may be."""

    resource: Resource
    spec: Spec | None = None
    admin: AdminConnection | None = None
    failure: Failure | None = None

    @property
    def label(self) -> str:
        """Return `namespace/name`."""
        return f"{self.resource.namespace}/{self.resource.name}"


Contents = Mapping[tuple[str, str, str], Mapping[str, bytes]]


def read_storages(paths: Sequence[str]) -> list[Storage]:
    """Return the storages in files of YAML or JSON, `-` being standard input. Raises ManifestError."""
    contents: dict[tuple[str, str, str], Mapping[str, bytes]] = {}
    resources: list[Resource] = []
    for body in _objects(paths):
        kind, metadata = body.get("kind"), body.get("metadata")
        if not isinstance(metadata, dict) or not metadata.get("name"):
            continue
        metadata.setdefault("namespace", DEFAULT_NAMESPACE)
        ref = str(kind), str(metadata["namespace"]), str(metadata["name"])
        if kind == KIND and body.get("apiVersion") == API_VERSION:
            resources.append(parse_resource(body))
        elif kind == "Secret":
            plain = {str(key): str(value).encode() for key, value in (body.get("stringData") or {}).items()}
            contents[ref] = decode_secret(body) | plain
        elif kind == "ConfigMap":
            contents[ref] = decode_configmap(body)
    if not resources:
        raise ManifestError(f"no {KIND} of {API_VERSION} in {', '.join(paths)}; give a file with one by -f")
    return [_storage(resource, contents) for resource in resources]


def _storage(resource: Resource, contents: Contents) -> Storage:
    spec: Spec | None = None
    try:
        spec = parse_spec(resource.namespace, resource.name, resource.raw_spec)
        secret = _input(contents, ("Secret", resource.namespace, spec.connection.secret_name))
        ca = None
        if (reference := spec.connection.ca) is not None:
            ca = _input(contents, (reference.kind, resource.namespace, reference.name)).get(reference.key)
        return Storage(resource, spec, read_admin_connection(secret, spec.connection, ca))
    except Failure as failure:
        return Storage(resource, spec, failure=failure.at(ConditionType.CONNECTED))


def _input(contents: Contents, ref: tuple[str, str, str]) -> Mapping[str, bytes]:
    if ref not in contents:
        kind, namespace, name = ref
        raise Failure(
            Reason.SECRET_NOT_FOUND,
            f"{kind} '{name}' of namespace '{namespace}' is in none of the files; give it by -f",
            stage=ConditionType.CONNECTED,
        )
    return contents[ref]


def _objects(paths: Iterable[str]) -> Iterator[dict[str, Any]]:
    for path in paths:
        try:
            text = sys.stdin.read() if path == "-" else Path(path).read_text()
            documents = list(yaml.safe_load_all(text))
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ManifestError(f"{path} cannot be read: {why}") from None
        except yaml.YAMLError as error:
            # The text of the error would quote the file, and it may hold a Secret.
            mark = getattr(error, "problem_mark", None)
            line = f" in line {mark.line + 1}" if mark is not None else ""
            raise ManifestError(f"{path} is not YAML{line}; mend it") from None
        for document in documents:
            if not isinstance(document, dict):
                continue
            if document.get("kind") == "List":
                yield from (item for item in document.get("items") or [] if isinstance(item, dict))
            else:
                yield document
