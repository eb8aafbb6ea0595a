"""Everything that a run reads of the cluster: read once, frozen, and noted: only a change of it starts the next."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import CARef, KeyRef, Resource, Spec, parse_resource
from cipher_operator.core.connection.admin import AdminConnection, read_admin_connection
from cipher_operator.core.connection.password import Password
from cipher_operator.kube.cipherstorages import get_storage
from cipher_operator.kube.finalizers import Holdable
from cipher_operator.kube.port import Kube
from cipher_operator.kube.secrets import ConfigMapObject, SecretObject, get_configmap, get_secret
from cipher_operator.queue.references import ABSENT, References, Version
from cipher_operator.reconcile.digest import Digest
from cipher_operator.reconcile.inputs import Key, Ref, app_secret, references


@dataclass(frozen=True, slots=True, repr=False)
class Snapshot:
    """A CipherStorage and what its spec names, as they were at one moment. `ca` holds contents by kind and name."""

    resource: Resource
    secrets: Mapping[str, SecretObject]
    configmaps: Mapping[str, Mapping[str, bytes]]

    def __repr__(self) -> str:
        return f"Snapshot({self.resource.namespace}/{self.resource.name})"

    @property
    def suspended(self) -> bool:
        """Return whether the storage is to be left alone."""
        return self.resource.raw_spec.get("suspend") is True

    @property
    def app(self) -> SecretObject | None:
        """Return the app Secret."""
        return self.secrets.get(app_secret(self.resource.key, self.resource.raw_spec)[2])

    def holdable(self, ref: Ref) -> Holdable | None:
        """Return a Secret as an object that can be held; None where it is not there."""
        secret = self.secrets.get(ref[2])
        return secret.holdable if secret is not None else None

    def admin(self, spec: Spec) -> AdminConnection:
        """Return how to log in as administrator. Raises Failure, stage Connected."""
        secret = self.secrets.get(spec.connection.secret_name)
        if secret is None:
            raise not_found("Secret", spec.connection.secret_name, "`spec.connection.secretRef.name`")
        ca = self.ca(spec.connection.ca, "spec.connection.caRef")
        try:
            return read_admin_connection(secret.data, spec.connection, ca)
        except Failure as failure:
            raise failure.at(ConditionType.CONNECTED) from None

    def ca(self, reference: CARef | None, field: str) -> bytes | None:
        """Return the content that a caRef names, None without one. Raises Failure, stage Connected."""
        if reference is None:
            return None
        data: Mapping[str, bytes] | None
        if reference.kind == "ConfigMap":
            data = self.configmaps.get(reference.name)
        else:
            secret = self.secrets.get(reference.name)
            data = secret.data if secret is not None else None
        if data is None:
            raise not_found(reference.kind, reference.name, f"`{field}.name`")
        if not data.get(reference.key):
            raise Failure(
                Reason.SECRET_KEY_MISSING,
                f"{reference.kind} '{reference.name}' has no key '{reference.key}' (`{field}.key`); put the server's "
                "CA there, as PEM",
                stage=ConditionType.CONNECTED,
            )
        return data[reference.key]

    def password(self, reference: KeyRef) -> Password:
        """Return the password that the user brings. Raises Failure, stage AccessGranted."""
        secret = self.secrets.get(reference.name)
        if secret is None:
            raise not_found(
                "Secret", reference.name, "`spec.user.passwordSecretRef.name`", ConditionType.ACCESS_GRANTED
            )
        value = secret.data.get(reference.key, b"").removesuffix(b"\n").removesuffix(b"\r")
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = ""
        if not text or "\0" in text:
            raise Failure(
                Reason.SECRET_KEY_MISSING,
                f"Secret '{reference.name}' has no usable text under key '{reference.key}' "
                "(`spec.user.passwordSecretRef.key`); put the login's password there",
                stage=ConditionType.ACCESS_GRANTED,
            )
        return Password(text)


async def read_snapshot(kube: Kube, inputs: "References[Key, Ref]", key: Key, digest: Digest) -> Snapshot | None:
    """Return the storage and its inputs; None where it does not exist. Raises ApiError, ApiUnavailable.

    Of a suspended storage nothing else is read: it is left alone, also when it is deleted.
    """
    body = await get_storage(kube, *key)
    if body is None:
        return None
    resource = parse_resource(body)
    refs = references(key, resource.raw_spec)
    inputs.set_references(key, refs)
    if resource.raw_spec.get("suspend") is True:
        return Snapshot(resource, {}, {})
    found = dict(zip(refs, await asyncio.gather(*(read_input(kube, ref) for ref in refs)), strict=True))
    for ref, content in found.items():
        inputs.read(key, ref, version_of(content, digest))
    return Snapshot(
        resource,
        {ref[2]: content for ref, content in found.items() if isinstance(content, SecretObject)},
        {ref[2]: content.data for ref, content in found.items() if isinstance(content, ConfigMapObject)},
    )


async def read_input(kube: Kube, ref: Ref) -> SecretObject | ConfigMapObject | None:
    """Return an input's content, None where there is none. Raises ApiError, ApiUnavailable."""
    kind, namespace, name = ref
    if kind == "ConfigMap":
        return await get_configmap(kube, namespace, name)
    return await get_secret(kube, namespace, name)


def version_of(content: SecretObject | ConfigMapObject | None, digest: Digest) -> Version:
    """Return what tells this content from another."""
    return ABSENT if content is None else version(content.data, content.resource_version, digest)


def version(data: Mapping[str, bytes], resource_version: str, digest: Digest) -> Version:
    """Return what tells this data, at this resourceVersion, from other data."""
    parts = [part for name in sorted(data) for part in (name.encode(), data[name])]
    return Version(revision(resource_version), digest(*parts))


def revision(resource_version: str) -> int:
    """Return a resourceVersion as a number, which it is on every API server with etcd (KEP-5504); else 1: the content
    alone tells."""
    return int(resource_version) if resource_version.isdecimal() else 1


def not_found(kind: str, name: str, field: str, stage: ConditionType = ConditionType.CONNECTED) -> Failure:
    """Return what a missing input means."""
    return Failure(
        Reason.SECRET_NOT_FOUND,
        f"{kind} '{name}' ({field}) does not exist in this namespace; create it, and this storage goes on at once",
        stage=stage,
    )
