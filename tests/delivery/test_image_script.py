"""`make image-test` itself: what it refuses, and the start that it gives the tests. The image is built by it alone."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from cipher_operator import __version__
from release import image, image_files
from release.image_files import Image, missing
from release.repository import ROOT

REVISION = "0123abc"
LABELS = {"org.opencontainers.image.version": __version__, "org.opencontainers.image.revision": REVISION}


def _image(root: Path, *, added: int = 54_000_000, **labels: str) -> Image:
    own = root / "opt" / "cipher-operator" / "bin"
    own.mkdir(parents=True, exist_ok=True)
    (own / "cipher-operator").write_text("#!/bin/sh\n")
    (own / "cipher-operator").chmod(0o755)
    renamed = {f"org.opencontainers.image.{name}": value for name, value in labels.items()}
    configuration: dict[str, Any] = {
        "User": "65532:65532",
        "Env": ["HOME=/tmp", "TEXT=two words"],
        "Entrypoint": ["/opt/cipher-operator/bin/cipher-operator"],
        "Labels": LABELS | renamed,
    }
    return Image(root, configuration, added)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"added": 80_100_000}, "80.1 MB over the base, at most 80 are wanted"),
        ({"version": "9.9.9"}, f"label version is '9.9.9', not '{__version__}'"),
        ({"revision": "unknown"}, "label revision is 'unknown'"),
    ],
    ids=["as it must be", "too large", "another version", "no commit"],
)
def test_an_image_that_is_not_as_it_must_be_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str | None
) -> None:
    found = image.complaints(_image(tmp_path, **changes), REVISION)
    if os.geteuid() != 0:
        found = [line for line in found if "could write" not in line]
    assert found == [] if said is None else [line for line in found if line.startswith(said)]


def test_a_file_that_the_user_could_change_is_named(tmp_path: Path) -> None:
    made = _image(tmp_path)
    program = tmp_path / "opt/cipher-operator/bin/cipher-operator"
    program.chmod(0o777)
    assert any(str(program) in line for line in image.complaints(made, REVISION))


def test_the_start_is_read_only_as_the_images_user_with_its_environment(tmp_path: Path) -> None:
    command = _image(tmp_path / "root").command(tmp_path)
    assert command.startswith("unshare --mount --propagation private ")
    script = Path(command.split()[-1]).read_text()
    assert script.index("remount,bind,ro") < script.index("tmpfs")
    (last,) = re.findall(r"^exec (.*)$", script, re.MULTILINE)
    assert "--userspec=65532:65532" in last
    assert "/usr/bin/env -i HOME=/tmp 'TEXT=two words' KUBECONFIG=" in last
    assert last.endswith('/opt/cipher-operator/bin/cipher-operator "$@"')


def test_what_is_missing_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image, "missing", lambda: ["buildah", "debootstrap"])
    assert image.main([]) == 1
    assert "apt-get install buildah debootstrap" in capsys.readouterr().err


def test_programs_are_looked_for_where_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "buildah" in missing()
    (tmp_path / "buildah").write_text("#!/bin/sh\n")
    (tmp_path / "buildah").chmod(0o755)
    assert "buildah" not in missing()


def test_what_is_fetched_is_checked_or_not_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On Ubuntu debootstrap goes on without a check where Debian's keyring is not installed."""
    ran: list[str] = []

    def run(_: str, command: list[str], **__: object) -> None:
        ran.extend(command)
        Path(command[-1]).mkdir()

    monkeypatch.setattr(image_files, "run", run)
    image_files._bootstrap(tmp_path)
    assert "--force-check-gpg" in ran and f"--keyring={image_files.KEYRING}" in ran
    monkeypatch.setattr(image_files, "KEYRING", tmp_path / "none.gpg")
    assert "debian-archive-keyring" in missing()
    job = (ROOT / ".github" / "workflows" / "test.yaml").read_text()
    (installed,) = re.findall(r"apt-get install .*--no-install-recommends (.*)$", job, re.MULTILINE)
    assert set(installed.split()) == {"buildah", "debootstrap", "debian-archive-keyring"}


def test_every_file_of_tests_that_it_runs_is_there() -> None:
    assert all((ROOT / path).is_file() for path in image.TESTS)
    tables = {path.name for path in (ROOT / "tests/e2e").glob("test_failure_table_*.py")}
    assert tables <= {Path(path).name for path in image.TESTS}
