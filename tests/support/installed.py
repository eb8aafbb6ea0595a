"""What is installed in the control plane of a worker, once for all of its tests.

A pytest plugin of tests/conftest.py. Who takes something of it away again has a control plane of their own.
"""

import pytest

from devcluster import ControlPlane
from support.cluster import install


@pytest.fixture(scope="session")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """Return the control plane with the CRDs and the operator's manifests, installed as the README says."""
    install(control_plane)
    return control_plane
