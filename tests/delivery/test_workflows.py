"""The workflows of the public repository: pinned, with the least rights, and calling what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from release.repository import ROOT

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yaml"))
_by_name = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
WRITING = {
    "release.yaml": {
        "image": {"packages", "id-token", "attestations"},
        "publish": {"contents", "packages", "id-token", "attestations"},
    }
}
"""Which job may write what."""


def _read(path: Path) -> dict[str, Any]:
    # YAML 1.1 reads `on` as true.
    read: dict[str, Any] = yaml.safe_load(path.read_text().replace("\non:", '\n"on":'))
    return read


def _steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in _read(path)["jobs"].values() for step in job["steps"]]


def test_there_are_no_others() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"release.yaml", "test.yaml"}


@_by_name
def test_every_action_is_pinned_by_sha_and_says_which_version_that_is(path: Path) -> None:
    uses = re.findall(r"uses: (.*)$", path.read_text(), re.MULTILINE)
    assert uses
    for each in uses:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each


def test_an_action_has_one_version_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for action, pin in re.findall(r"uses: ([\w.-]+/[\w.-]+)[\w/-]*@(.*)$", path.read_text(), re.MULTILINE):
            pins.setdefault(action, set()).add(pin)
    assert {action: len(found) for action, found in pins.items() if len(found) > 1} == {}


@_by_name
def test_nothing_is_allowed_but_what_a_job_asks_for(path: Path) -> None:
    workflow = _read(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        granted = job["permissions"]
        assert {key for key, value in granted.items() if value == "write"} == WRITING.get(path.name, {}).get(
            name, set()
        )
        assert granted.get("contents") in ("read", "write")


@_by_name
def test_every_job_ends_by_itself(path: Path) -> None:
    assert all(job["timeout-minutes"] <= 90 for job in _read(path)["jobs"].values())


@_by_name
def test_no_expression_is_put_into_a_script(path: Path) -> None:
    """What others can name, a branch for one, would be run."""
    assert not [step["run"] for step in _steps(path) if "${{" in step.get("run", "")]


@_by_name
def test_the_token_is_not_left_in_the_checkout(path: Path) -> None:
    for step in _steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@_by_name
def test_every_make_command_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = set(
        re.findall(r"\bmake (?:PYTHON=\S+ )?([a-z-]+)", "\n".join(step.get("run", "") for step in _steps(path)))
    )
    assert asked and asked <= targets


def test_tests_run_on_every_python_that_is_supported() -> None:
    matrix = _read(FOLDER / "test.yaml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert matrix == ["3.11", "3.12", "3.13", "3.14"]
    assert 'requires-python = ">=3.11"' in (ROOT / "pyproject.toml").read_text()


def test_only_a_tag_makes_a_release_and_only_after_the_tests() -> None:
    workflow = _read(FOLDER / "release.yaml")
    assert workflow["on"] == {"push": {"tags": ["v*"]}}
    assert workflow["jobs"]["image"]["needs"] == "check"
    assert set(workflow["jobs"]["publish"]["needs"]) == {"check", "image"}
    commands = [step.get("run", "") for step in workflow["jobs"]["check"]["steps"]]
    assert 'make release-check ARGS="--tag $GITHUB_REF_NAME"' in commands
    assert {"make test ONE_WORLD=", "make chart-test"} <= {*commands}
    assert any(command.endswith(" make image-test") for command in commands), "what is pushed is tried before"


def test_nothing_that_a_pull_request_could_fill_goes_into_a_release() -> None:
    assert "actions/cache" not in (FOLDER / "release.yaml").read_text()


def test_the_image_is_of_both_architectures_with_sbom_and_provenance_and_signed_by_digest() -> None:
    steps = _read(FOLDER / "release.yaml")["jobs"]["image"]["steps"]
    (build,) = (step["with"] for step in steps if step.get("uses", "").startswith("docker/build-push-action@"))
    assert build["platforms"] == "linux/amd64,linux/arm64"
    assert build["sbom"] is True and build["provenance"] == "mode=max"
    arguments = {line.split("=")[0] for line in build["build-args"].splitlines()}
    final = (ROOT / "Dockerfile").read_text().rsplit("\nFROM", 1)[1]
    assert arguments == set(re.findall(r"^ARG (\w+)=", final, re.MULTILINE))
    assert any(step.get("run") == 'cosign sign --yes "$IMAGE@$DIGEST"' for step in steps)


def test_an_attestation_asks_for_no_right_that_its_job_has_not() -> None:
    """A storage record needs `artifact-metadata: write` and an organization: without them each release has warnings."""
    steps = [step for step in _steps(FOLDER / "release.yaml") if "actions/attest" in step.get("uses", "")]
    assert len(steps) == 2
    assert all(step["with"]["create-storage-record"] is False for step in steps)


def test_what_is_published_is_signed_and_named() -> None:
    text = (FOLDER / "release.yaml").read_text()
    for part in ("install.yaml.sigstore.json", "cipher-operator-$VERSION.tgz", "sbom-*.spdx.json", "dist/notes.md"):
        assert part in text
    assert 'cosign sign --yes "$CHARTS/cipher-operator@$CHART_DIGEST"' in text


def test_pins_are_kept_new_by_somebody_who_sees_them() -> None:
    config = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())
    base = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert not [each for each in base if not each.startswith("${")], "Dependabot would see it: name `docker` there"
    assert {each["package-ecosystem"] for each in config["updates"]} == {"github-actions"}
    (image,) = re.findall(r"^ARG PYTHON_IMAGE=(.*)@", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert f"docker buildx imagetools inspect {image} " in (ROOT / "CONTRIBUTING.md").read_text()
