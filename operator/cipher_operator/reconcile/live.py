"""A cluster as somebody's own kubeconfig shows it: what it does not give him is said with what is missing, and what to
do about it."""

from typing import NoReturn

from cipher_operator.api.names import PLURAL, SERVER_PLURAL
from cipher_operator.kube.kinds import MEND, lacking
from cipher_operator.kube.namespaces import get_labels, namespace_path
from cipher_operator.kube.objects import get_object
from cipher_operator.kube.port import JSON, ApiError, ApiUnavailable, Json, Reading
from cipher_operator.reconcile.inputs import Key
from cipher_operator.reconcile.offline import Look, Means, examine_live

KUBE_SYSTEM = "kube-system"
_UNREACHED = {
    "ClientConnectorCertificateError": "its certificate is not signed by the CA that the kubeconfig names",
    "ClientConnectorDNSError": "its host name has no address",
    "InvalidUrlClientError": "the kubeconfig's `server` is no URL",
}


class LookError(Exception):
    """The cluster does not give what a look needs: the text says what, and what to do. Nothing of a Secret is in it."""


class Own:
    """An API server to which somebody has rights of his own; `servers` is the namespace of what CipherServers name."""

    def __init__(self, kube: Reading, servers: str) -> None:
        self._kube, self._servers = kube, servers

    async def get(self, path: str, *, accept: str = JSON, **query: str) -> Json:
        """Return the object or list at a path. Raises ApiError with status 404, and LookError for all else."""
        try:
            return await self._kube.get(path, accept=accept, **query)
        except ApiUnavailable as error:
            raise LookError(_unreached(error)) from None
        except ApiError as error:
            if error.status == 404:
                raise
            self._refused(error, path, "list" if "limit" in query else "get")

    async def instance(self) -> str:
        """Return the default of --instance-id. Raises LookError."""
        body = await get_object(self, namespace_path(KUBE_SYSTEM))
        if body is None:
            raise LookError(
                "there is no namespace kube-system, whose uid is the default of --instance-id: give the flag"
            )
        return str(body["metadata"]["uid"])

    async def examine(self, key: Key, means: Means) -> Look:
        """Look at the server of a CipherStorage in this cluster (see `examine_live`). Raises LookError."""
        look = await examine_live(self, key, self._servers, means)
        if look is None:
            raise LookError(await self._absent(key))
        return look

    async def _absent(self, key: Key) -> str:
        """Return why there is no such storage, as far as it can be seen."""
        namespace, name = key
        try:
            for lack in await lacking(self, (PLURAL,)):
                if not lack.served:
                    return f"in this cluster {lack.text}: {MEND}, or choose another --context"
            if await get_labels(self, namespace) is None:
                return f"there is no namespace '{namespace}' in this cluster; -n or --context names another"
        except (ApiError, LookError):
            pass  # it is not everybody's to see
        return f"there is no CipherStorage {namespace}/{name}; -n or --context names another place"

    def _refused(self, error: ApiError, path: str, verb: str) -> NoReturn:
        if error.status == 401 or "system:anonymous" in error.message:
            raise LookError(
                f"the cluster does not take this login ({error}): log in again, or choose another --context"
            )
        namespace, resource, name = _asked(path)
        what = (
            f"{verb} {resource}"
            + (f" '{name}'" if name else "")
            + (f" in namespace '{namespace}'" if namespace else "")
        )
        if error.status != 403:
            raise LookError(f"the API server does not answer to {what} ({error}): try again")
        raise LookError(f"this login may not {what} (403 Forbidden): {self._remedy(namespace, resource, name)}")

    def _remedy(self, namespace: str, resource: str, name: str) -> str:
        if resource == SERVER_PLURAL:
            return "ask for the ClusterRole cipherserver-viewer by a ClusterRoleBinding, or have whoever runs it look"
        if (resource, name) == ("namespaces", KUBE_SYSTEM):
            return "its uid is the default of --instance-id; give that flag, as whoever runs the operator knows it"
        if resource == "namespaces":
            return "a CipherServer asks for its labels; the role `view` in that namespace has this right"
        if resource == PLURAL:
            return "the role `view` in that namespace has this right"
        if namespace == self._servers:
            return (
                "what CipherServers name is there (--server-secrets-namespace), for whoever runs them; have him look. "
                "`kubectl describe cstore` shows what the operator says"
            )
        return "ask for this right in that namespace"


def _asked(path: str) -> tuple[str, str, str]:
    """Return namespace, resource and name of what a path is that of, '' for what it has not."""
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        return parts[1], parts[2], "".join(parts[3:4])
    return "", "".join(parts[:1]), "".join(parts[1:2])


def _unreached(error: ApiUnavailable) -> str:
    if error.status is not None:
        return f"the API server is in trouble ({error}): try again later"
    why = _UNREACHED.get(str(error), "look whether it is up, and whether the network or VPN is")
    return f"the API server cannot be reached ({error}): {why}; or choose another --context"
