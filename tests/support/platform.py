"""What a platform team does with CipherServers on a real API server."""

import json
from typing import Any
from urllib.error import HTTPError

from devcluster import ControlPlane, PostgresServer
from support.cluster import GROUP_PATH, Namespace

HOME = "cipher-system"
LABEL = {"cipher-storage": "yes"}
SELECTED = {"from": "Selector", "selector": {"matchLabels": LABEL}}


class Platform:
    """What a platform team does: one CipherServer, by kubectl."""

    def __init__(self, plane: ControlPlane, server: PostgresServer, name: str = "prod") -> None:
        self.plane, self.server, self.name = plane, server, name
        self._client = plane.client()

    def secret(self, **changes: Any) -> None:
        url = self.server.admin_url(sslmode="disable", **changes)
        metadata = {"name": f"{self.name}-admin", "namespace": HOME}
        self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"CIPHER_PG_URL": url}})

    def offer(self, **spec: Any) -> None:
        """Create the CipherServer, or change it to be so."""
        body = {"connection": {"secretRef": {"name": f"{self.name}-admin"}}, "allowedNamespaces": SELECTED, **spec}
        kind = {"apiVersion": "storage.cipher.dev/v1alpha1", "kind": "CipherServer"}
        self.apply({**kind, "metadata": {"name": self.name}, "spec": body})

    def apply(self, body: Any) -> None:
        self.plane.kubectl("apply", "-f", "-", input=json.dumps(body))

    def get(self) -> dict[str, Any]:
        """Return the CipherServer, nothing where it is gone; not by kubectl, which a wait starts again and again."""
        try:
            body: dict[str, Any] = json.loads(self._client.request("GET", f"{GROUP_PATH}/cipherservers/{self.name}"))
        except HTTPError as error:
            if error.code != 404:
                raise
            return {}
        return body

    def ready(self) -> dict[str, Any]:
        conditions = self.get().get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == "Ready"), {})

    def label(self, namespace: Namespace, *, allowed: bool) -> None:
        self.plane.kubectl("label", "namespace", namespace.name, "cipher-storage" + ("=yes" if allowed else "-"))

    def remove(self) -> None:
        self.plane.kubectl("delete", "cserver", self.name, "--ignore-not-found", "--wait=false")
        self.plane.kubectl("delete", "secret", f"{self.name}-admin", "-n", HOME, "--ignore-not-found", "--wait=false")
