"""Each test in one of its worlds with `--one-world`: on one major of PostgreSQL or of Helm instead of on all of them,
and in one round of random moments instead of in several.

Which one, the seed of the run says, so that runs with other seeds show the others. A plugin of tests/conftest.py;
`make test` sets the flag, and `make test ONE_WORLD=` does not.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

import pytest

from support.randomness import seeded_random

_T = TypeVar("_T")
_WORLD = re.compile(r"(?<=[\[-])(?:pg\d+(?:-to-\d+)?|helm\d+|round\d+)(?=[]-])")
"""What a world is called in the id of a test: a major, two between which it goes, a round of random moments."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--one-world", action="store_true", help="run each test on one of its majors, in one of its rounds"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("one_world"):
        return
    chosen = one_of_each(item.nodeid for item in items)
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in chosen])
    items[:] = [item for item in items if item.nodeid in chosen]


def one_of_each(nodeids: Iterable[str]) -> set[str]:
    """Return of the tests that differ in their world alone one, and all that have none."""
    worlds: dict[str, list[str]] = {}
    for nodeid in nodeids:
        worlds.setdefault(_WORLD.sub("", nodeid), []).append(nodeid)
    return {seeded_random(test).choice(sorted(same)) for test, same in worlds.items()}


def share(request: pytest.FixtureRequest, rows: Sequence[_T], world: str, worlds: Sequence[str]) -> list[_T]:
    """Return the rows that are for this world of a test that plays all of them at once: with `--one-world` each row is
    in one of them."""
    if not request.config.getoption("one_world"):
        return list(rows)
    test = request.node.nodeid.partition("[")[0]
    return [row for number, row in enumerate(rows) if seeded_random(f"{test} {number}").choice(worlds) == world]
