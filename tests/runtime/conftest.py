"""A real API server with CRD and RBAC, and namespaces of the tests' own."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import ControlPlane
from support.cluster import Namespace
from support.stand_in import OWN

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def plane(installed: ControlPlane) -> ControlPlane:
    return installed


@pytest.fixture(scope="session")
def account(plane: ControlPlane) -> Path:
    """A kubeconfig of the operator's own ServiceAccount: no right but those of manifests/base."""
    return plane.kubeconfig_for_service_account("cipher-system", "cipher-operator")


@pytest.fixture
def namespace(plane: ControlPlane) -> Iterator[Namespace]:
    made = Namespace(plane, f"{OWN}{next(_numbers)}")
    yield made
    made.plane.kubectl("-n", made.name, "delete", "cstore", "--all", "--wait=false")
