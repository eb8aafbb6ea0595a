"""A real API server with the CRDs."""

import itertools
import shutil
import time
import urllib.error
from collections.abc import Iterator

import pytest

from cipher_operator.api import names
from devcluster import ControlPlane
from devcluster.kubeconfig import ApiClient
from support import crd
from support.servers import Servers
from support.storages import Storages

_numbers = itertools.count(1)


def await_served(client: ApiClient, path: str, seconds: float = 20.0) -> None:
    """Return when the path answers: a new CRD takes a moment."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            client.request("GET", path)
            return
        except urllib.error.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@pytest.fixture(scope="session")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with the CRDs."""
    control_plane.kubectl("apply", "-f", str(crd.CRDS))
    for kind in crd.KINDS:
        await_served(control_plane.client(), f"/apis/{names.API_VERSION}/{kind}")
    await_served(control_plane.client(), f"/openapi/v3/apis/{names.API_VERSION}")
    # kubectl remembers from that apply that there is no such kind, and `explain` does not ask again.
    shutil.rmtree(control_plane.folder / ".kube" / "cache", ignore_errors=True)
    return control_plane


@pytest.fixture(scope="module")
def storages(installed: ControlPlane) -> Iterator[Storages]:
    """CipherStorages of one file, removed at its end: an operator that later tests start would find them."""
    client = installed.client()
    namespace = f"crd-rules-{next(_numbers)}"
    client.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    found = Storages(client, namespace)
    yield found
    client.request("DELETE", found.path)
    client.request("DELETE", f"/api/v1/namespaces/{namespace}")


@pytest.fixture(scope="module")
def servers(installed: ControlPlane) -> Iterator[Servers]:
    """CipherServers of one file, removed at its end."""
    found = Servers(installed.client())
    yield found
    found.request("DELETE", found.path)
