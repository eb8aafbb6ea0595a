"""Random moments and choices that can be had again: one seed for a run, printed, and taken from SEED where it is set.

A pytest plugin of tests/conftest.py.
"""

import os
import random
from collections.abc import Generator

import pytest


def seed() -> str:
    """Return the seed of this run."""
    return os.environ["SEED"]


def seeded_random(what: str) -> random.Random:
    """Return a source of its own for `what`: the same in every run of one seed, whatever ran before it or beside it."""
    return random.Random(f"{seed()}/{what}")


def pytest_configure() -> None:
    # pytest-xdist's workers start with this environment.
    os.environ.setdefault("SEED", str(random.SystemRandom().randrange(1_000_000)))


def pytest_report_header() -> str:
    return f"seed: {seed()} (SEED={seed()} chooses the same random moments again)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections.append(("random moments", f"seed {seed()}: SEED={seed()} chooses the same again"))
    return report


@pytest.fixture
def moments(request: pytest.FixtureRequest) -> random.Random:
    """The random source of one test."""
    return seeded_random(f"{request.node.path.name} {request.node.name}")
