"""Secrets and ConfigMaps on the API server: decoded, and never printed."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cipher_operator.kube.finalizers import Holdable
from cipher_operator.kube.objects import get_object
from cipher_operator.kube.port import Json, Kube, Reading


@dataclass(frozen=True, slots=True, repr=False)
class SecretObject:
    """A Secret as it was read, `data` decoded. Its repr is its name: annotations too may hold a copy of the data."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    type: str
    data: Mapping[str, bytes]
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    owners: tuple[Mapping[str, Any], ...] = ()
    finalizers: tuple[str, ...] = ()
    deleting: bool = False
    immutable: bool = False

    def __repr__(self) -> str:
        return f"SecretObject({self.namespace}/{self.name})"

    @classmethod
    def of(cls, namespace: str, name: str, data: Mapping[str, bytes]) -> "SecretObject":
        """Return one that only its content is known of, as from a file."""
        return cls(namespace, name, "", "", "Opaque", data)

    @property
    def controller_uid(self) -> str | None:
        """Return the uid of the object that controls it."""
        return next((str(owner.get("uid")) for owner in self.owners if owner.get("controller")), None)

    @property
    def holdable(self) -> Holdable:
        """Return it as an object that finalizers are put on."""
        path = secret_path(self.namespace, self.name)
        return Holdable(path, self.uid, self.resource_version, self.finalizers, self.deleting)


@dataclass(frozen=True, slots=True, repr=False)
class ConfigMapObject:
    """A ConfigMap as it was read: `data` and `binaryData` as bytes."""

    resource_version: str
    data: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, repr=False)
class SecretContent:
    """What a Secret shall hold, `data` decoded; `owner` is its one ownerReference. Its repr shows nothing of it."""

    type: str
    data: Mapping[str, bytes]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    owner: Mapping[str, Any]


def decode_secret(body: Mapping[str, Any]) -> dict[str, bytes]:
    """Return a Secret's data, decoded; what is not base64 counts as empty."""
    return {str(key): _decode(value) for key, value in (body.get("data") or {}).items()}


def decode_configmap(body: Mapping[str, Any]) -> dict[str, bytes]:
    """Return a ConfigMap's `data` and `binaryData` as bytes."""
    texts = {str(key): str(value).encode() for key, value in (body.get("data") or {}).items()}
    return texts | {str(key): _decode(value) for key, value in (body.get("binaryData") or {}).items()}


async def get_secret(kube: Reading, namespace: str, name: str) -> SecretObject | None:
    """Return a Secret, None where there is none. Raises ApiError, ApiUnavailable."""
    body = await get_object(kube, secret_path(namespace, name))
    return None if body is None else _parse(body)


async def get_configmap(kube: Reading, namespace: str, name: str) -> ConfigMapObject | None:
    """Return a ConfigMap's content, None where there is none. Raises ApiError, ApiUnavailable."""
    body = await get_object(kube, configmap_path(namespace, name))
    return None if body is None else ConfigMapObject(body["metadata"]["resourceVersion"], decode_configmap(body))


async def create_secret(kube: Kube, namespace: str, name: str, content: SecretContent) -> SecretObject:
    """Create a Secret and return it. Raises ApiError, status 409 where the name is taken."""
    return _parse(await kube.post(secret_path(namespace), _body(namespace, name, content)))


async def replace_secret(kube: Kube, existing: SecretObject, content: SecretContent) -> SecretObject:
    """Replace a Secret's data, labels and annotations, and put our owner reference first; return it.

    Its type cannot change; its finalizers, its other owners and whether it is immutable are others' to say.

    Raises ApiError, status 409 where it is not the Secret that was read any more.
    """
    body = _body(existing.namespace, existing.name, replace(content, type=existing.type))
    body["metadata"] |= {"uid": existing.uid, "resourceVersion": existing.resource_version}
    body["metadata"]["finalizers"] = list(existing.finalizers)
    uid, owners = content.owner["uid"], body["metadata"]["ownerReferences"]
    # A second controller is refused; an owner of ours of a former life is not kept.
    owners += [dict(owner) for owner in existing.owners if owner.get("uid") != uid and not owner.get("controller")]
    if existing.immutable:
        body["immutable"] = True
    return _parse(await kube.put(secret_path(existing.namespace, existing.name), body))


def secret_path(namespace: str, name: str = "") -> str:
    """Return a Secret's path on the API server, without a name that of all of a namespace."""
    return f"/api/v1/namespaces/{namespace}/secrets" + (f"/{name}" if name else "")


def configmap_path(namespace: str, name: str) -> str:
    """Return a ConfigMap's path on the API server."""
    return f"/api/v1/namespaces/{namespace}/configmaps/{name}"


def _body(namespace: str, name: str, content: SecretContent) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict(content.labels),
            "annotations": dict(content.annotations),
            "ownerReferences": [dict(content.owner)],
        },
        "type": content.type,
        "data": {key: base64.b64encode(value).decode() for key, value in content.data.items()},
    }


def _parse(body: Json) -> SecretObject:
    metadata = body["metadata"]
    return SecretObject(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        type=body.get("type") or "",
        data=decode_secret(body),
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        owners=tuple(metadata.get("ownerReferences") or ()),
        finalizers=tuple(metadata.get("finalizers") or ()),
        deleting=bool(metadata.get("deletionTimestamp")),
        immutable=body.get("immutable") is True,
    )


def _decode(value: object) -> bytes:
    try:
        return base64.b64decode(str(value))
    except (binascii.Error, ValueError):
        return b""
