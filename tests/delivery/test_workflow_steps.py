"""Scripts of the release workflow, run as a runner runs them; what talks to a registry or to GitHub is a stand-in."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from cipher_operator import __version__
from release.repository import ROOT

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yaml").read_text())
SHELLS = {"bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"], None: ["bash", "-e"]}
"""https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idstepsshell"""
DIGEST = "sha256:" + "c" * 64


@dataclass(frozen=True)
class Ended:
    """How a step ended: its code, what it said, its outputs, and how its stand-ins were called."""

    code: int
    said: str
    outputs: dict[str, str]
    calls: str


def _script(job: str, part: str) -> str:
    (found,) = (step["run"] for step in WORKFLOW["jobs"][job]["steps"] if part in step.get("run", ""))
    assert isinstance(found, str)
    return found


def _ran(folder: Path, job: str, part: str, stand_ins: dict[str, str], **variables: str) -> Ended:
    programs, output, calls = folder / "programs", folder / "output", folder / "calls"
    programs.mkdir()
    (folder / "dist").mkdir()
    (folder / ".ci").symlink_to(ROOT / ".ci")
    output.touch()
    for name, body in stand_ins.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\n{body}\n')
        program.chmod(0o755)
    shell = SHELLS[WORKFLOW.get("defaults", {}).get("run", {}).get("shell")]
    own = {"PATH": f"{programs}:{os.environ['PATH']}", "GITHUB_OUTPUT": str(output)}
    ended = subprocess.run(
        [*shell, "-c", _script(job, part)], cwd=folder, env=own | variables, capture_output=True, text=True, check=False
    )
    outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
    return Ended(ended.returncode, ended.stdout + ended.stderr, outputs, calls.read_text() if calls.exists() else "")


def _pushed(folder: Path, push: str) -> Ended:
    helm = f'case "$1" in push) {push};; esac'
    charts = "ghcr.io/example/charts"
    return _ran(folder, "publish", "helm push", {"helm": helm}, VERSION=__version__, CHARTS=charts)


def test_the_digest_of_the_chart_is_the_one_that_helm_names(tmp_path: Path) -> None:
    said = f"echo 'Pushed: ghcr.io/example/charts/cipher-operator:{__version__}' >&2; echo 'Digest: {DIGEST}' >&2"
    ended = _pushed(tmp_path, said)
    assert (ended.code, ended.outputs) == (0, {"digest": DIGEST}), ended.said
    archive = f"dist/cipher-operator-{__version__}.tgz"
    assert ended.calls.splitlines()[-1] == f"helm push {archive} oci://ghcr.io/example/charts"


def test_a_push_that_fails_says_why(tmp_path: Path) -> None:
    ended = _pushed(tmp_path, "echo 'Error: denied: no right to packages' >&2; exit 1")
    assert ended.code != 0 and "digest" not in ended.outputs
    assert "denied: no right to packages" in ended.said


def test_a_push_that_names_no_digest_ends_the_release(tmp_path: Path) -> None:
    ended = _pushed(tmp_path, "echo 'Pushed: somewhere' >&2")
    assert ended.code != 0 and "digest" not in ended.outputs
    assert "helm push named no digest" in ended.said


def test_names_in_the_registry_have_no_capitals(tmp_path: Path) -> None:
    given = {"GITHUB_REF_NAME": "v1.2.3-rc.1", "GITHUB_REPOSITORY_OWNER": "Example"}
    ended = _ran(tmp_path, "check", "registry=", {}, **given)
    assert ended.outputs == {"version": "1.2.3-rc.1", "registry": "ghcr.io/example"}


@pytest.mark.parametrize(("version", "marked"), [("1.2.3", False), ("1.2.3-rc.1", True)])
def test_a_release_has_its_files_and_one_before_it_says_so(tmp_path: Path, version: str, marked: bool) -> None:
    ended = _ran(tmp_path, "publish", "gh release create", {"gh": ""}, VERSION=version, GITHUB_REF_NAME=f"v{version}")
    assert ended.code == 0, ended.said
    assert ended.calls.startswith(
        f"gh release create v{version} --verify-tag --title {version} --notes-file dist/notes"
    )
    assert ("--prerelease" in ended.calls) is marked
    assert {"dist/install.yaml", "dist/install.yaml.sigstore.json", f"dist/cipher-operator-{version}.tgz"} <= set(
        ended.calls.split()
    )


@pytest.mark.parametrize("job", ["image", "publish"])
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param(f"echo v9.9.9; echo v{__version__}-rc.1", 0, id="others are released"),
        pytest.param("", 0, id="nothing is released"),
        pytest.param(f"echo v9.9.9; echo v{__version__}", 1, id="this one is released"),
        pytest.param("echo 'HTTP 502' >&2; exit 1", 1, id="GitHub does not say"),
    ],
)
def test_what_is_released_is_never_put_there_again(tmp_path: Path, job: str, answer: str, code: int) -> None:
    """Each job that pushes asks by itself: a run may be started again from any of them."""
    ended = _ran(tmp_path, job, ".ci/not-released", {"gh": answer}, GITHUB_REF_NAME=f"v{__version__}")
    assert ended.code == code, ended.said
    assert ("released already" in ended.said) is answer.endswith(f"echo v{__version__}")


@pytest.mark.parametrize("job", ["image", "publish"])
def test_nothing_is_pushed_before_that_is_asked(job: str) -> None:
    steps = [str(step) for step in WORKFLOW["jobs"][job]["steps"]]
    (asked,) = (number for number, step in enumerate(steps) if ".ci/not-released" in step)
    assert not [step for step in steps[:asked] if "push" in step or "sign" in step]


def test_every_step_that_pipes_ends_with_what_failed_in_it() -> None:
    scripts = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]
    piping = [script for script in scripts if re.search(r"[^|]\|[^|]", script)]
    assert not piping or WORKFLOW["defaults"]["run"]["shell"] == "bash"
