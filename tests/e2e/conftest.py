"""One cluster, one operator process and one PostgreSQL for all end-to-end tests of a module."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devcluster import ControlPlane, PostgresServer
from support.cluster import Namespace, Operator, install

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with CRD and RBAC."""
    install(control_plane)
    return control_plane


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(16, settings={"log_statement": "all"}) as running:
        yield running


@pytest.fixture(scope="module")
def operator(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder: Path = tmp_path_factory.mktemp("operator")
    running = Operator(cluster, folder, "--interval", "10s").start()
    yield running
    running.stop()


@pytest.fixture
def namespace(cluster: ControlPlane, operator: Operator) -> Iterator[Namespace]:
    """A namespace of the test's own; what it leaves is deleted, so that the operator is idle for the next test."""
    made = Namespace(cluster, f"team-{next(_numbers)}")
    yield made
    for storage in made.request("GET", made.path("cipherstorages"))["items"]:
        made.annotate(storage["metadata"]["name"], "force-delete", "true")
        made.delete("cipherstorages", storage["metadata"]["name"])


@pytest.fixture
def new_namespace(cluster: ControlPlane, operator: Operator) -> Callable[[], Namespace]:
    return lambda: Namespace(cluster, f"team-{next(_numbers)}")
