"""What is installed in the control plane of a worker, once for all of its tests.

A pytest plugin of tests/conftest.py. Who takes something of it away again has a control plane of their own.
"""

from collections.abc import Iterator

import pytest

from devcluster import ControlPlane
from support.cluster import install


@pytest.fixture(scope="session")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """Return the control plane with the CRDs and the operator's manifests, installed as the README says."""
    install(control_plane)
    return control_plane


@pytest.fixture(scope="module")
def own_plane() -> Iterator[ControlPlane]:
    """A control plane of the file's own, installed alike: what is broken there on purpose is met by no other test."""
    with ControlPlane(controller_manager=False) as own:
        install(own)
        yield own
