"""The repository's manifests on a real API server."""

import secrets
from collections.abc import Iterator

import pytest

from devcluster import ControlPlane


@pytest.fixture
def namespace(installed: ControlPlane) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"manifests-{secrets.token_hex(4)}"
    client = installed.client()
    client.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    client.request("DELETE", f"/api/v1/namespaces/{name}")
