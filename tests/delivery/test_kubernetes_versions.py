"""The versions of Kubernetes: what is claimed is what `make compat` and `make test` run on."""

from __future__ import annotations

import json
import re

import yaml

from devcluster import ControlPlane, programs
from release.repository import CHART, ROOT

OLDEST = programs.MINORS[0]
USUAL = programs.KUBERNETES_VERSION.rpartition(".")[0]
OTHERS = [minor for minor in programs.MINORS if minor != USUAL]


def test_the_api_server_is_of_the_minor_that_was_asked_for(control_plane: ControlPlane) -> None:
    """Published binaries are of the newest patch, so the minor is what counts."""
    answered = json.loads(control_plane.client().request("GET", "/version"))["gitVersion"]
    assert answered.startswith(f"v{programs.wanted_version().rpartition('.')[0]}."), answered


def test_compat_runs_on_all_but_the_usual_one_which_make_test_runs_on() -> None:
    match = re.search(r"^COMPAT \?= (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert match is not None and match[1].split() == OTHERS
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yaml").read_text())
    assert workflow["jobs"]["compat"]["strategy"]["matrix"]["kubernetes"] == OTHERS


def test_what_compat_runs_is_there() -> None:
    match = re.search(r"^COMPAT_TESTS = ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert match is not None
    paths = match[1].replace("\\\n", " ").split()
    assert [path for path in paths if not (ROOT / path).exists()] == []


def ran() -> list[str]:
    """Return the versions of the table in docs/api-maturity.md: those that ran, with the day."""
    text = (ROOT / "docs" / "api-maturity.md").read_text().split("\n## Kubernetes versions\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+\.\d+\.\d+) \| .+ \| \d{4}-\d{2}-\d{2} \|$", text, re.MULTILINE)
    assert rows
    return rows


def test_the_table_has_no_version_that_cannot_be_run_again() -> None:
    assert programs.KUBERNETES_VERSION in ran()
    assert ran() == [version for version in programs._MODULES if version in ran()]


def test_what_is_claimed_is_what_ran() -> None:
    minors = [version.rpartition(".")[0] for version in ran()]
    said = " and ".join([", ".join(minors[:-1]), minors[-1]] if len(minors) > 1 else minors)
    assert f"Kubernetes {OLDEST} or newer (tests run on {said}" in (ROOT / "README.md").read_text()
    assert f"| Kubernetes | {OLDEST} or newer; tests run on {said}" in (ROOT / "docs" / "api-maturity.md").read_text()


def test_the_oldest_is_the_same_everywhere() -> None:
    assert f"Kubernetes {OLDEST} or newer" in (CHART / "README.md").read_text()
    assert f"asks for {OLDEST} or newer" in (ROOT / "docs" / "running" / "upgrade.md").read_text()
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"] == f">={OLDEST}.0-0"
