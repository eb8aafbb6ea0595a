"""The repository's manifests on a real API server."""

import secrets
from collections.abc import Iterator

import pytest

from devcluster import ControlPlane
from manifests.manifest_files import REPOSITORY
from support import crd


@pytest.fixture(scope="session")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with the CRDs and the operator's manifests, installed as the README says."""
    control_plane.kubectl("apply", "-k", str(REPOSITORY / "crds"))
    crds = [f"crd/{kind}.storage.cipher.dev" for kind in crd.KINDS]
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=20s", *crds)
    control_plane.kubectl("apply", "-k", str(REPOSITORY / "manifests" / "base"))
    return control_plane


@pytest.fixture
def namespace(installed: ControlPlane) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"manifests-{secrets.token_hex(4)}"
    installed.kubectl("create", "namespace", name)
    yield name
    installed.kubectl("delete", "namespace", name, "--wait=false")
