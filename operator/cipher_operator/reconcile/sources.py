"""Reads a storage's inputs from the cluster: the connection Secret, its CA, a password that the user brings."""

from collections.abc import Mapping

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import KeyRef, Spec
from cipher_operator.core.connection.admin import AdminConnection, read_admin_connection
from cipher_operator.core.connection.password import Password
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.secrets import SecretObject, get_configmap, get_secret
from cipher_operator.queue.inputs import Inputs
from cipher_operator.reconcile.inventory import Key


class Sources:
    """Reads a storage's inputs and notes what was read, so that only a change of it triggers the next run."""

    def __init__(self, kube: KubeClient, inputs: Inputs, key: Key) -> None:
        self._kube, self._inputs, self._key = kube, inputs, key

    async def admin(self, namespace: str, spec: Spec) -> AdminConnection:
        """Return how to log in as administrator. Raises Failure, stage Connected."""
        secret = await self.secret(namespace, spec.connection.secret_name)
        if secret is None:
            raise not_found("Secret", spec.connection.secret_name, "`spec.connection.secretRef.name`")
        ca = await self._ca(namespace, spec)
        try:
            return read_admin_connection(secret.data, spec.connection, ca)
        except Failure as failure:
            raise failure.at(ConditionType.CONNECTED) from None

    async def password(self, namespace: str, reference: KeyRef) -> Password:
        """Return the password that the user brings. Raises Failure, stage AccessGranted."""
        secret = await self.secret(namespace, reference.name)
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

    async def secret(self, namespace: str, name: str) -> SecretObject | None:
        """Return a Secret, noting its digest."""
        secret = await get_secret(self._kube, namespace, name)
        digest = self._inputs.digest(secret.data) if secret else None
        self._inputs.seen(("Secret", namespace, name), digest, self._key)
        return secret

    async def _ca(self, namespace: str, spec: Spec) -> bytes | None:
        reference = spec.connection.ca
        if reference is None:
            return None
        data: Mapping[str, bytes] | None
        if reference.kind == "ConfigMap":
            data = await get_configmap(self._kube, namespace, reference.name)
            digest = self._inputs.digest(data) if data is not None else None
            self._inputs.seen(("ConfigMap", namespace, reference.name), digest, self._key)
        else:
            secret = await self.secret(namespace, reference.name)
            data = secret.data if secret is not None else None
        if data is None:
            raise not_found(reference.kind, reference.name, "`spec.connection.caRef.name`")
        if not data.get(reference.key):
            raise Failure(
                Reason.SECRET_KEY_MISSING,
                f"{reference.kind} '{reference.name}' has no key '{reference.key}' (`spec.connection.caRef.key`); put "
                "the server's CA there, as PEM",
                stage=ConditionType.CONNECTED,
            )
        return data[reference.key]


def not_found(kind: str, name: str, field: str, stage: ConditionType = ConditionType.CONNECTED) -> Failure:
    """Return what a missing input means."""
    return Failure(
        Reason.SECRET_NOT_FOUND,
        f"{kind} '{name}' ({field}) does not exist in this namespace; create it, and this storage goes on at once",
        stage=stage,
    )
