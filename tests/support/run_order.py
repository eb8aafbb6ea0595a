"""How the tests are shared out to workers (`pytest -n 4 --dist loadgroup`), and which of them need a cluster.

A pytest plugin of tests/conftest.py. What is shared out is a file, because its tests share servers and an operator; a
file that runs on several majors of PostgreSQL is shared out by major, and what needs no server at all test by test.
What waits most of its time, for a cluster, and what computes most of it, with a PostgreSQL alone, are dealt out
side by side, so that neither leaves the processors idle nor fills them: each in its own order, the longest first, so
that no worker is left with it in the end. What needs no server fills the end.
"""

import re

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

WAIT = (
    "delivery/test_chart_life.py",
    "runtime/test_outages.py",
    "e2e/test_servers.py",
    "e2e/test_rotation.py",
    "manifests/test_blocks.py",
    "e2e/test_failures.py",
    "e2e/test_two_clusters.py",
    "e2e/test_kubectl_wait.py",
    "e2e/test_two_replicas.py",
    "e2e/test_killed.py",
    "e2e/test_fencing.py",
    "e2e/test_outage_lines.py",
    "e2e/test_replicas_of_servers.py",
    "e2e/test_failure_table_sessions.py",
    "e2e/test_deletion_stories.py",
    "e2e/test_hostile_values.py",
    "e2e/",
    "runtime/",
)
COMPUTE = (
    "manifests/test_documents.py",
    "delivery/",
    "test_cli.py",
    "postgres/test_provision.py",
    "postgres/test_half_done.py",
    "postgres/",
    "",
)
"""Longest first; a folder stands for all that is in it."""

PURE = ("api/", "core/")
MAJOR = re.compile(r"\[pg(1[3-8])(?:-(?!to-)|\])")
"""The servers of a test, in its id."""

LENGTHY = (
    "identity/",
    "manifests/test_alerts.py",
    "manifests/test_servers_only.py",
    "reconcile/test_builds.py",
    "reconcile/test_caching_poolers.py",
    "reconcile/test_cloud_identity.py",
    "reconcile/test_findings.py",
    "reconcile/test_fitness.py",
    "reconcile/test_one_hour.py",
    "reconcile/test_permit.py",
    "reconcile/test_poolers.py",
    "reconcile/test_proof_due.py",
    "reconcile/test_several_addresses.py",
    "reconcile/test_switches.py",
    "reconcile/test_tenant",
    "reconcile/test_written_otherwise.py",
    "test_cli.py",
    "test_run_order.py",
)
"""What `make check` leaves to `make test`: seconds each, and most of the time of all that needs no cluster. Of those
with a server the stories stay, and what is done in a second."""

BUILT = {"control_plane", "plane", "helm", "helm4"}
"""Fixtures of programs that may have to be built, which takes minutes."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "lengthy: left to `make test` (set by itself)")
    config.addinivalue_line("markers", "cluster: needs a Kubernetes control plane or Helm (set by itself)")


class Groups(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Shares groups out. xdist's own goes by marks that it writes into a private attribute of pytest's, which moved."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups | None:
    return Groups(config, log) if config.getoption("dist") == "loadgroup" else None


def group(nodeid: str) -> str:
    """Return what is shared out together with a test: those of the same name."""
    file, _, rest = nodeid.partition("::")
    if file.removeprefix("tests/").startswith(PURE):
        return nodeid
    major = MAJOR.search(rest)
    return f"{file}:{major[1]}" if major else file


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if BUILT & set(getattr(item, "fixturenames", ())):
            item.add_marker("cluster")
        if _file(item).startswith(LENGTHY):
            item.add_marker("lengthy")
    # The order in which a worker collects is that in which groups are shared out. In a worker --dist reads "no".
    if hasattr(config, "workerinput"):
        items[:] = dealt(items)


def dealt(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests as they are dealt out: of both kinds of groups the same share at any moment."""
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(group(item.nodeid), []).append(item)
    waiting: list[list[pytest.Item]] = []
    computing: list[list[pytest.Item]] = []
    pure: list[list[pytest.Item]] = []
    for tests in groups.values():
        file = _file(tests[0])
        (pure if file.startswith(PURE) else waiting if file.startswith(WAIT) else computing).append(tests)
    side_by_side = [*_shares(waiting, WAIT), *_shares(computing, COMPUTE)]
    side_by_side.sort(key=lambda share: share[0])
    return [item for tests in [*(tests for _, tests in side_by_side), *pure] for item in tests]


def _shares(groups: list[list[pytest.Item]], order: tuple[str, ...]) -> list[tuple[float, list[pytest.Item]]]:
    """Return each group with the share of its kind that comes before it."""
    inorder = sorted(groups, key=lambda tests: _place(_file(tests[0]), order))
    return [((number + 0.5) / len(groups), tests) for number, tests in enumerate(inorder)]


def _file(item: pytest.Item) -> str:
    return item.path.relative_to(item.config.rootpath / "tests").as_posix()


def _place(file: str, order: tuple[str, ...]) -> int:
    return next(place for place, long in enumerate(order) if file.startswith(long))
