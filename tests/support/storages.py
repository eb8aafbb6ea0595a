"""CipherStorages on a real API server."""

from cipher_operator.api import names
from devcluster.kubeconfig import ApiClient
from support.custom_objects import CustomObjects

MINIMAL = {"connection": {"secretRef": {"name": "pg-admin"}}}


class Storages(CustomObjects):
    """CipherStorages in one namespace of the test's API server."""

    def __init__(self, client: ApiClient, namespace: str, group: str = names.GROUP) -> None:
        super().__init__(
            client, f"/apis/{group}/{names.VERSION}/namespaces/{namespace}/{names.PLURAL}", "CipherStorage"
        )
        self.namespace = namespace
