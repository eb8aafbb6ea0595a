"""The source root is called `operator`, as a module of the standard library is; nothing may shadow that one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from manifests.manifest_files import REPOSITORY


@pytest.mark.parametrize("path", ["operator/__init__.py", "operator/conftest.py", "tests/operator"])
def test_no_file_shadows_the_standard_library(path: str) -> None:
    assert not (REPOSITORY / path).exists()


def test_the_standard_librarys_operator_is_importable_in_the_root() -> None:
    subprocess.run([sys.executable, "-c", "import operator; operator.itemgetter"], cwd=REPOSITORY, check=True)


def test_the_guard_names_what_shadows(tmp_path: Path) -> None:
    (tmp_path / "operator").mkdir()
    assert _guard(tmp_path) == (0, "")
    (tmp_path / "operator" / "__init__.py").touch()
    code, said = _guard(tmp_path)
    assert code == 1
    assert "operator/__init__.py shadows" in said


def _guard(folder: Path) -> tuple[int, str]:
    guard = REPOSITORY / ".ci" / "guard"
    ended = subprocess.run([guard, sys.executable], cwd=folder, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stderr
