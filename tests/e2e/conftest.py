"""One cluster, one operator process and one PostgreSQL for all end-to-end tests of a module."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devcluster import ControlPlane, FaultProxy, PostgresServer
from devcluster.tls import CertificateAuthority
from support.cluster import Namespace, Operator, install
from support.failure_table import Scene
from support.faulty_servers import FaultyServers

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with CRD and RBAC."""
    install(control_plane)
    return control_plane


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(16, settings={"log_statement": "all", "log_disconnections": "on"}) as running:
        yield running


@pytest.fixture(scope="module")
def operator_flags() -> tuple[str, ...]:
    """What the operator of a module is started with; a module that needs something else says so."""
    return ("--interval", "10s")


@pytest.fixture(scope="module")
def operator(
    cluster: ControlPlane, operator_flags: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    folder: Path = tmp_path_factory.mktemp("operator")
    running = Operator(cluster, folder, *operator_flags).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def servers(
    certificate_authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultyServers]:
    """Servers by kind, each started when first asked for."""
    kinds = FaultyServers(certificate_authority, tmp_path_factory.mktemp("servers"))
    yield kinds
    kinds.close()


@pytest.fixture
def scene(
    namespace: Namespace, operator: Operator, servers: FaultyServers, fault_proxy: Callable[..., FaultProxy]
) -> Iterator[Scene]:
    made = Scene(namespace, operator, servers, fault_proxy)
    yield made
    for step in made.after:
        step()


@pytest.fixture
def namespace(cluster: ControlPlane, operator: Operator) -> Iterator[Namespace]:
    """A namespace of the test's own; what it leaves is deleted, so that the operator is idle for the next test."""
    made = Namespace(cluster, f"team-{next(_numbers)}")
    yield made
    for storage in made.request("GET", made.path("cipherstorages"))["items"]:
        made.annotate(storage["metadata"]["name"], "force-delete", "true")
        # One that is being deleted goes with the annotation.
        if "deletionTimestamp" not in storage["metadata"]:
            made.delete("cipherstorages", storage["metadata"]["name"])


@pytest.fixture
def new_namespace(cluster: ControlPlane, operator: Operator) -> Callable[[], Namespace]:
    return lambda: Namespace(cluster, f"team-{next(_numbers)}")
