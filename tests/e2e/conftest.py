"""One cluster, one operator process and one PostgreSQL for all end-to-end tests of a module."""

import itertools
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from devcluster import ControlPlane, PostgresServer
from devcluster.stored import Follower
from devcluster.tls import CertificateAuthority
from support.cluster import Namespace, Operator
from support.failure_table import Scene
from support.faulty_servers import FaultyServers
from support.played_rows import Outcome, play
from support.status_records import no_violations
from support.status_versions import RECORDS, recorded
from support.takeover import Pair, pair

_numbers = itertools.count(1)


_followers: list[Follower] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show of a test that failed what the operator said last of its namespace."""
    report = yield
    around = item.funcargs if isinstance(item, pytest.Function) else {}
    namespace, operator = around.get("namespace"), around.get("operator")
    if report.failed and isinstance(namespace, Namespace) and isinstance(operator, Operator):
        report.sections.append(("what the operator said last", operator.said_of(namespace.name)))
    return report


@pytest.fixture(scope="session")
def cluster(installed: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane with CRD and RBAC. Every status that is stored in it is recorded."""
    with recorded(installed) as followers:
        _followers.extend(followers)
        yield installed
    _followers.clear()


@pytest.fixture(scope="module", autouse=True)
def statuses_of_the_file() -> Iterator[None]:
    """Fail a file in which a stored status broke the contract, its operator's last words included."""
    _catch_up()
    RECORDS.following = True
    yield
    _catch_up()
    RECORDS.following = False
    no_violations()


def _catch_up() -> None:
    for each in _followers:
        each.catch_up()


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
def both(
    cluster: ControlPlane,
    server: PostgresServer,
    operator_flags: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    """Two replicas; a module has these or `operator`."""
    with pair(cluster, server, tmp_path_factory.mktemp("replicas"), *operator_flags) as running:
        yield running


@pytest.fixture(scope="module")
def servers(
    certificate_authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultyServers]:
    """Servers by kind, each started when first asked for."""
    kinds = FaultyServers(certificate_authority, tmp_path_factory.mktemp("servers"))
    yield kinds
    kinds.close()


@pytest.fixture
def scene(namespace: Namespace, operator: Operator, servers: FaultyServers) -> Iterator[Scene]:
    with closing(Scene(namespace, operator, servers)) as made:
        yield made


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, cluster: ControlPlane, operator: Operator, servers: FaultyServers
) -> dict[str, Outcome]:
    """What came of the rows of this module's failure table that are asked for, all played at once."""
    cases = [
        item.callspec.params["case"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path and hasattr(item, "callspec")
    ]
    rows = [request.module.row.rows[case] for case in cases]
    return play(rows, lambda: Scene(Namespace(cluster, f"team-{next(_numbers)}"), operator, servers))


@pytest.fixture
def namespace(cluster: ControlPlane, operator: Operator) -> Iterator[Namespace]:
    """A namespace of the test's own; what it leaves is deleted, so that the operator is idle for the next test."""
    made = Namespace(cluster, f"team-{next(_numbers)}")
    yield made
    made.let_go()


@pytest.fixture
def new_namespace(cluster: ControlPlane, operator: Operator) -> Callable[[], Namespace]:
    return lambda: Namespace(cluster, f"team-{next(_numbers)}")
