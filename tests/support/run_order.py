"""How the tests are shared out to workers (`pytest -n 5 --dist loadgroup`), and which of them need a cluster.

A pytest plugin of tests/conftest.py. What is shared out is a file, because its tests share servers and an operator; a
file that runs on several majors of PostgreSQL is shared out by major, and what needs no server at all test by test.
What waits most of its time, for a cluster, and what computes most of it, with a PostgreSQL alone, are dealt out
side by side, so that neither leaves the processors idle nor fills them: each in its own order, the longest first, so
that no worker is left with it in the end. What needs no server fills the end.
"""

import contextlib
import gc
import os
import re

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

WAIT = (
    "delivery/test_chart_life.py",
    "runtime/test_outages.py",
    "e2e/test_servers.py",
    "manifests/test_blocks.py",
    "e2e/test_two_replicas.py",
    "e2e/test_rotation.py",
    "e2e/test_hostile_values.py",
    "e2e/test_failures.py",
    "e2e/test_two_clusters.py",
    "e2e/test_kubectl_wait.py",
    "e2e/test_killed.py",
    "runtime/test_gateways.py",
    "e2e/test_fencing.py",
    "e2e/test_outage_lines.py",
    "runtime/test_wiring.py",
    "e2e/test_status_recorder.py",
    "e2e/test_replicas_of_servers.py",
    "e2e/test_failure_table_sessions.py",
    "e2e/test_deletion_stories.py",
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
"""Longest first, and among those that wait some that compute: else all workers with a control plane wait at once. A
folder stands for all that is in it."""

PURE = ("api/", "core/")
ON_A_PLANE = ("crd/", "delivery/", "e2e/", "kube/", "manifests/", "runtime/")
SHARE_ON_A_PLANE = 0.65
"""Where most tests need a control plane, and how much of the time of all tests they take. One costs 3 s of CPU time to
start and 1.5 % of a processor while it is there, so some of three workers or more start none."""
MAJOR = re.compile(r"\[pg(1[3-8])(?:-(?!to-)|\])")
"""The servers of a test, in its id."""

QUICK = (
    "reconcile/test_between.py",
    "reconcile/test_direct_tls.py",
    "reconcile/test_events.py",
    "reconcile/test_every_result.py",
    "reconcile/test_forged_status.py",
    "reconcile/test_live.py",
    "reconcile/test_login_keys.py",
    "reconcile/test_manifests.py",
    "reconcile/test_missing_rights.py",
    "reconcile/test_offline.py",
    "reconcile/test_places.py",
    "reconcile/test_proof.py",
    "reconcile/test_requeue.py",
    "reconcile/test_rotation_page.py",
    "reconcile/test_server_status.py",
    "reconcile/test_servers.py",
    "reconcile/test_shared_deletion.py",
    "reconcile/test_status.py",
    "reconcile/test_stories.py",
    "reconcile/test_storms.py",
    "reconcile/test_threat_table.py",
    "reconcile/test_told.py",
)
"""What `make check` runs of what starts servers: the stories, and what is done in a second or two."""

LENGTHY = (
    "identity/",
    "manifests/test_alerts.py",
    "manifests/test_servers_only.py",
    "reconcile/",
    "test_cli.py",
    "test_run_order.py",
)
"""What `make check` leaves to `make test`: seconds each, and most of the time of all that needs no cluster. A new file
about runs against servers is left to it too until it is named above: else the check grows by each without a word."""

BUILT = {"control_plane", "plane", "helm", "helm4"}
"""Fixtures of programs that may have to be built, which takes minutes."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "lengthy: left to `make test` (set by itself)")
    config.addinivalue_line("markers", "cluster: needs a Kubernetes control plane or Helm (set by itself)")
    if config.getoption("numprocesses", None) and "CI" not in os.environ:
        # For the workers and all that they start, each of which would else interrupt another as soon as it is told
        # anything (sched(7)): a fifteenth of the time of all tests on two processors. Some sandboxes forbid it. In CI
        # nobody waits, and what has to be woken in time is.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def pytest_collection_finish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        # Ten thousand tests are there to the end, and looked through again with each collection of garbage.
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)


class Groups(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Shares groups out. xdist's own goes by marks that it writes into a private attribute of pytest's, which moved."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Give a worker a group of its kind, while there is one."""
        on_a_plane = self.nodes.index(node) < round(SHARE_ON_A_PLANE * len(self.nodes))
        servers = (name for name in self.workqueue if not _path(name).startswith(PURE))
        mine = (name for name in servers if _path(name).startswith(ON_A_PLANE) is on_a_plane)
        if len(self.nodes) > 2 and (name := next(mine, None)) is not None:
            self.workqueue.move_to_end(name, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups | None:
    return Groups(config, log) if config.getoption("dist") == "loadgroup" else None


def group(nodeid: str) -> str:
    """Return what is shared out together with a test: those of the same name."""
    file, _, rest = nodeid.partition("::")
    if _path(nodeid).startswith(PURE):
        return nodeid
    major = MAJOR.search(rest)
    return f"{file}:{major[1]}" if major else file


def _path(name: str) -> str:
    """Return a test's or a group's path among the tests."""
    return name.removeprefix("tests/")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if BUILT & set(getattr(item, "fixturenames", ())):
            item.add_marker("cluster")
        if _file(item).startswith(LENGTHY) and not _file(item).startswith(QUICK):
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
