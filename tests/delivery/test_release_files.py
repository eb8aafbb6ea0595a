"""What a release publishes beside the image: install.yaml, the chart, the notes and the command that verifies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from cipher_operator import __version__
from delivery.rendering import NAMESPACE, by_name, container, rendered
from devcluster import ControlPlane
from devcluster.helm import Helm
from manifests.manifest_files import REPOSITORY, documents
from release import files, verify

IMAGE, DIGEST = "registry.example.com/cipher-operator", "sha256:" + "b" * 64


@pytest.mark.cluster
def test_install_yaml_applies_to_an_empty_cluster_in_one_go(tmp_path: Path) -> None:
    text = files.install_yaml(IMAGE, DIGEST)
    (tmp_path / "install.yaml").write_text(text)
    objects = by_name(documents(text))
    assert container(objects)["image"] == f"{IMAGE}@{DIGEST}"
    assert documents(text)[0]["kind"] == "CustomResourceDefinition"
    with ControlPlane(controller_manager=False) as plane:
        file = ("--server-side", "-f", str(tmp_path / "install.yaml"))
        assert len(plane.kubectl("apply", *file).splitlines()) == len(objects)
        assert plane.kubectl("diff", *file) == ""


def test_the_published_chart_differs_by_the_image_alone(helm4: Helm, tmp_path: Path) -> None:
    files.published_chart(IMAGE, DIGEST, "example/operator", tmp_path / "chart")
    ours, published = rendered(helm4), rendered(helm4, chart=tmp_path / "chart")
    assert container(published).pop("image") == f"{IMAGE}@{DIGEST}"
    container(ours).pop("image")
    assert published == ours


def test_the_published_alerts_lead_to_the_pages_of_their_version(helm4: Helm, tmp_path: Path) -> None:
    files.published_chart(IMAGE, DIGEST, "example/operator", tmp_path / "chart")
    alerts = {"prometheusRule": {"enabled": True}}
    objects = rendered(helm4, alerts, tmp_path / "values.yaml", chart=tmp_path / "chart")
    (group,) = objects["PrometheusRule", NAMESPACE, "cipher-operator"]["spec"]["groups"]
    base = f"https://github.com/example/operator/blob/v{__version__}/"
    for rule in group["rules"]:
        address = rule["annotations"]["runbook_url"]
        assert address.startswith(base)
        assert (REPOSITORY / address.removeprefix(base)).read_text().startswith(f"# {rule['alert']}\n")


@pytest.mark.cluster
def test_notes_say_what_changed_and_how_to_verify(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "CHANGELOG.md").write_text(f"# Changelog\n\n## [{__version__}] - 2026-01-31\n\n- Better.\n")
    for part in ("crds", "manifests"):
        (repository / part).symlink_to(REPOSITORY / part)
    monkeypatch.setattr(files, "ROOT", repository)
    files.write(IMAGE, DIGEST, "example/operator", tmp_path / "dist")
    text = (tmp_path / "dist" / "notes.md").read_text()
    assert text.startswith("- Better.\n")
    assert verify.command(f"{IMAGE}@{DIGEST}", "example/operator") in text
    assert {path.name for path in (tmp_path / "dist").iterdir()} == {"install.yaml", "cipher-operator", "notes.md"}


def test_a_version_without_notes_is_not_published(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is a part of it left there: what stands in dist/ is whole."""
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n")
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(files, "DIST", tmp_path / "dist")
    assert files.main(["--image", IMAGE, "--digest", DIGEST, "--repository", "example/operator"]) == 1
    said = capsys.readouterr().err
    assert said == f"release: CHANGELOG.md: has no section [{__version__}]: give [Unreleased] that name and a date\n"
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize(
    ("image", "repository", "said"),
    [
        pytest.param("ghcr.io/Example/cipher-operator", "Example/cipher", "in small letters", id="capitals"),
        pytest.param("ghcr.io/example/cipher-operator:0.1.0", "example/cipher", "without a tag", id="a tag"),
        pytest.param("cipher-operator", "example/cipher", "is not a name such as", id="no registry"),
        pytest.param("localhost:5000/cipher-operator", "cipher", "is not OWNER/NAME", id="no owner"),
        pytest.param(IMAGE, "https://github.com/example/cipher", "is not OWNER/NAME", id="an address"),
    ],
)
def test_names_that_nobody_could_pull_or_verify_are_refused(
    image: str, repository: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        files.main(["--image", image, "--digest", DIGEST, "--repository", repository])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("digest", ["latest", "sha256:abc", "sha256:" + "B" * 64])
def test_a_digest_that_is_none_is_refused(digest: str) -> None:
    with pytest.raises(SystemExit):
        files.main(["--image", IMAGE, "--digest", digest, "--repository", "example/operator"])


def test_the_command_takes_the_workflow_that_signs_and_no_other() -> None:
    said = verify.command("IMAGE", "example/operator")
    (pattern,) = re.findall(r'--certificate-identity-regexp "([^"]*)"', said)
    signer = "https://github.com/example/operator/.github/workflows/release.yaml@refs/tags/v1.0.0"
    assert (REPOSITORY / ".github/workflows/release.yaml").exists()
    assert re.match(pattern, signer)
    for other in ("refs/heads/main", "refs/tags/w1"):
        assert not re.match(pattern, signer.replace("refs/tags/v1.0.0", other))
    assert not re.match(pattern, signer.replace("example/operator", "somebody/operator"))
    assert not re.match(pattern, signer.replace("release.yaml", "test.yaml"))


def test_the_readme_documents_that_one_command() -> None:
    assert verify.command('"$IMAGE"', "$REPOSITORY") in (REPOSITORY / "README.md").read_text()


def test_the_signing_job_may_mint_what_the_command_checks() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/release.yaml").read_text())
    assert workflow["jobs"]["image"]["permissions"]["id-token"] == "write"
