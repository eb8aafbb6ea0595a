"""What the Secrets and ConfigMaps of one namespace held when they were read: the one place where a reference of a spec
becomes a content. It takes a name alone; the namespace is that of whose spec it is."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from cipher_operator.api.connection import CARef, Connection, KeyRef, Scope
from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.connection.admin import AdminConnection, read_admin_connection
from cipher_operator.core.connection.password import Password
from cipher_operator.kube.port import ApiError, Reading
from cipher_operator.kube.refusals import together
from cipher_operator.kube.secrets import ConfigMapObject, SecretObject, get_configmap, get_secret
from cipher_operator.queue.references import ABSENT, Version
from cipher_operator.reconcile.digest import Digest
from cipher_operator.reconcile.inputs import CONFIG_MAP, CONTENTS, SECRET, Ref

Content = SecretObject | ConfigMapObject


@dataclass(frozen=True, slots=True, repr=False)
class Contents:
    """What was found in `namespace`; an object that is not there is not in `found`."""

    namespace: str
    scope: Scope
    found: Mapping[Ref, Content]

    def __repr__(self) -> str:
        return f"Contents({self.namespace})"

    def secret(self, name: str) -> SecretObject | None:
        """Return a Secret, None where there is none."""
        content = self.found.get((SECRET, self.namespace, name))
        return content if isinstance(content, SecretObject) else None

    def admin(self, connection: Connection) -> AdminConnection:
        """Return how to log in as administrator. Raises Failure, stage Connected."""
        data: Mapping[str, bytes] = {}
        if connection.secret_name:
            secret = self.secret(connection.secret_name)
            if secret is None:
                raise self._missing(SECRET, connection.secret_name, "spec.connection.secretRef.name")
            data = secret.data
        ca = self.ca(connection.ca, "spec.connection.caRef")
        try:
            return read_admin_connection(data, connection, ca)
        except Failure as failure:
            raise failure.at(ConditionType.CONNECTED) from None

    def ca(self, reference: CARef | None, field: str) -> bytes | None:
        """Return the content that a caRef names, None without one. Raises Failure, stage Connected."""
        if reference is None:
            return None
        content = self.found.get((str(reference.kind), self.namespace, reference.name))
        if content is None:
            raise self._missing(reference.kind, reference.name, f"{field}.name")
        if not content.data.get(reference.key):
            raise Failure(
                Reason.SECRET_KEY_MISSING,
                f"{reference.kind} '{reference.name}' has no key '{reference.key}' (`{field}.key`); put the server's "
                "CA there, as PEM",
                stage=ConditionType.CONNECTED,
            )
        return content.data[reference.key]

    def password(self, reference: KeyRef) -> Password:
        """Return the password that the user brings. Raises Failure, stage AccessGranted."""
        secret, stage = self.secret(reference.name), ConditionType.ACCESS_GRANTED
        if secret is None:
            raise self._missing(SECRET, reference.name, "spec.user.passwordSecretRef.name", stage)
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
                stage=stage,
            )
        return Password(text)

    def _missing(self, kind: str, name: str, field: str, stage: ConditionType = ConditionType.CONNECTED) -> Failure:
        if self.scope is Scope.STORAGE:
            where, who = "this namespace", "this storage"
        else:
            where, who = f"namespace '{self.namespace}', the operator's own, where all that it names is", "this server"
        return Failure(
            Reason.SECRET_NOT_FOUND,
            f"{kind} '{name}' (`{field}`) does not exist in {where}; create it, and {who} goes on at once",
            stage=stage,
        )


async def read_contents(kube: Reading, namespace: str, scope: Scope, refs: Iterable[Ref]) -> Contents:
    """Return what the refs of one namespace hold. Raises ApiError, ApiUnavailable."""
    wanted = tuple(ref for ref in refs if ref[1] == namespace and ref[0] in CONTENTS)
    read = await asyncio.gather(*(_read(kube, ref) for ref in wanted))
    # All that was refused is told at once: whoever gives the one right gives the others too.
    if refused := [answer for answer in read if isinstance(answer, ApiError)]:
        raise together(refused)
    found = {ref: answer for ref, answer in zip(wanted, read, strict=True) if not isinstance(answer, ApiError | None)}
    return Contents(namespace, scope, found)


async def _read(kube: Reading, ref: Ref) -> Content | ApiError | None:
    try:
        return await read_input(kube, ref)
    except ApiError as error:
        return error


async def read_input(kube: Reading, ref: Ref) -> Content | None:
    """Return an input's content, None where there is none. Raises ApiError, ApiUnavailable."""
    kind, namespace, name = ref
    if kind == CONFIG_MAP:
        return await get_configmap(kube, namespace, name)
    return await get_secret(kube, namespace, name)


def version_of(content: Content | None, digest: Digest) -> Version:
    """Return what tells this content from another, and one whose deletion waits from one that stays."""
    if content is None:
        return ABSENT
    seen = version(content.data, content.resource_version, digest)
    # Who holds it must say so at once: somebody waits for the deletion.
    leaving = isinstance(content, SecretObject) and content.deleting
    return replace(seen, digest=f"{seen.digest} deleting") if leaving else seen


def version(data: Mapping[str, bytes], resource_version: str, digest: Digest) -> Version:
    """Return what tells this data, at this resourceVersion, from other data."""
    parts = [part for name in sorted(data) for part in (name.encode(), data[name])]
    return Version(revision(resource_version), digest(*parts))


def revision(resource_version: str) -> int:
    """Return a resourceVersion as a number, which it is on every API server with etcd (KEP-5504); else 1: the content
    alone tells."""
    return int(resource_version) if resource_version.isdecimal() else 1
