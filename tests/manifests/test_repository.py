"""What a stranger looks for in the repository's root."""

from __future__ import annotations

import re
import subprocess

from manifests.manifest_files import REPOSITORY


def test_the_license_is_the_whole_apache_license() -> None:
    text = (REPOSITORY / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_changelog_has_a_place_for_the_next_change() -> None:
    assert "\n## [Unreleased]\n" in (REPOSITORY / "CHANGELOG.md").read_text()


def test_help_lists_what_people_need() -> None:
    said = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    listed = set(re.findall(r"^  make ([a-z-]+)", said, re.MULTILINE))
    assert {"demo", "test", "lint", "cluster", "run", "cluster-down", "lock", "help"} <= listed
