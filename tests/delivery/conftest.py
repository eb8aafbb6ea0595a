"""The chart and the two Helms that install it."""

from __future__ import annotations

from pathlib import Path

import pytest

from devcluster.helm import MAJORS, Helm, find_helm


@pytest.fixture(scope="session", params=MAJORS, ids=lambda major: f"helm{major}")
def helm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm 3, and Helm 4, without a cluster."""
    return Helm(find_helm(request.param), request.param, tmp_path_factory.mktemp(f"helm{request.param}"))


@pytest.fixture(scope="session")
def helm4(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm 4 alone, for what is the chart's own."""
    return Helm(find_helm(4), 4, tmp_path_factory.mktemp("helm"))


@pytest.fixture
def values_file(tmp_path: Path) -> Path:
    """Where a test writes its values."""
    return tmp_path / "values.yaml"
