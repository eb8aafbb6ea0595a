"""CipherServers on a real API server."""

from cipher_operator.api import names
from devcluster.kubeconfig import ApiClient
from support import crd
from support.custom_objects import CustomObjects

LEAST = {"connection": {"secretRef": {"name": "pg-admin"}}, "allowedNamespaces": {"from": "All"}}


class Servers(CustomObjects):
    """CipherServers of the test's API server."""

    def __init__(self, client: ApiClient) -> None:
        super().__init__(client, f"/apis/{names.API_VERSION}/{crd.SERVERS}", "CipherServer")
