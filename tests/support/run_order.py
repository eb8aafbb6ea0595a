"""How the tests are shared out to workers (`pytest -n 3 --dist loadgroup`), and which of them need a cluster.

A pytest plugin of tests/conftest.py. What is shared out is a file, because its tests share servers and an operator; a
file that runs on several majors of PostgreSQL is shared out by major, and what needs no server at all test by test.
What lasts long begins first, so that no worker is left with it in the end.
"""

import pytest

LONG = (
    "e2e/test_fencing.py",
    "e2e/test_two_clusters.py",
    "e2e/test_killed.py",
    "e2e/test_rotation.py",
    "e2e/test_lifecycle.py",
    "runtime/test_outages.py",
    "delivery/",
    "e2e/",
    "postgres/test_provision.py",
    "postgres/test_matrix.py",
    "postgres/test_remedies.py",
    "runtime/",
    "postgres/",
)
"""Longest first; a folder stands for all that is in it."""

PURE = ("api/", "core/")

BUILT = {"control_plane", "helm", "helm4"}
"""Fixtures of programs that may have to be built, which takes minutes."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cluster: needs a Kubernetes control plane or Helm (set by itself)")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if BUILT & set(getattr(item, "fixturenames", ())):
            item.add_marker("cluster")
        if not _file(item).startswith(PURE):
            item.add_marker(pytest.mark.xdist_group(_group(item)))
    if config.getoption("dist", "no") != "no":
        items.sort(key=_place)


def _file(item: pytest.Item) -> str:
    return item.path.relative_to(item.config.rootpath / "tests").as_posix()


def _group(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    major = callspec.params.get("server") if callspec is not None else None
    return f"{_file(item)}:{major}" if isinstance(major, int) else _file(item)


def _place(item: pytest.Item) -> int:
    file = _file(item)
    return next((place for place, long in enumerate(LONG) if file.startswith(long)), len(LONG))
