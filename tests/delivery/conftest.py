"""The chart and the two Helms that install it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devcluster.helm import MAJORS, Helm, find_helm
from devcluster.longrun import SetupError


def helm_of(major: int, folder: Path) -> Helm:
    """Return the Helm of that major. It is built by `make chart-test` alone: for minutes, and few changes need it."""
    try:
        return Helm(find_helm(major, fetch="HELM" in os.environ), major, folder)
    except SetupError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session", params=MAJORS, ids=lambda major: f"helm{major}")
def helm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm 3, and Helm 4, without a cluster."""
    return helm_of(request.param, tmp_path_factory.mktemp(f"helm{request.param}"))


@pytest.fixture(scope="session")
def helm4(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm 4 alone, for what is the chart's own."""
    return helm_of(4, tmp_path_factory.mktemp("helm"))


@pytest.fixture
def values_file(tmp_path: Path) -> Path:
    """Where a test writes its values."""
    return tmp_path / "values.yaml"
