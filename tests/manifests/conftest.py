"""The repository's manifests on a real API server."""

import secrets
from collections.abc import Iterator

import pytest

from devcluster import ControlPlane
from manifests.manifest_files import REPOSITORY


@pytest.fixture(scope="session")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with the CRD and the operator's manifests, installed as the README says."""
    control_plane.kubectl("apply", "-k", str(REPOSITORY / "crds"))
    crd = "crd/cipherstorages.storage.cipher.dev"
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=20s", crd)
    control_plane.kubectl("apply", "-k", str(REPOSITORY / "manifests" / "base"))
    return control_plane


@pytest.fixture
def namespace(installed: ControlPlane) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"manifests-{secrets.token_hex(4)}"
    installed.kubectl("create", "namespace", name)
    yield name
    installed.kubectl("delete", "namespace", name, "--wait=false")
