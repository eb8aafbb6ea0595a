"""`python -m release.notes VERSION`: what CHANGELOG.md says of a version, as the text of its release."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from release.repository import ROOT


class NotesError(ValueError):
    """The changelog does not say what a release must say; the message says what is missing."""


def of_changelog(version: str, root: Path = ROOT) -> str:
    """Return what CHANGELOG.md says of a version. Raises NotesError, which names the file."""
    try:
        return section((root / "CHANGELOG.md").read_text(), version)
    except NotesError as error:
        raise NotesError(f"CHANGELOG.md: {error}") from error


def section(changelog: str, version: str) -> str:
    """Return the text below `## [VERSION] - YYYY-MM-DD` (https://keepachangelog.com/en/1.1.0/), without the heading.

    Raises NotesError where there is no such heading, it has no date, or nothing stands below it.
    """
    heading = rf"^## \[{re.escape(version)}\](.*)$"
    match = re.search(heading, changelog, re.MULTILINE)
    if match is None:
        raise NotesError(f"has no section [{version}]: give [Unreleased] that name and a date")
    if not re.fullmatch(r" - \d{4}-\d{2}-\d{2}", match[1]):
        raise NotesError(f"the heading of [{version}] must end with a date, as in: ## [{version}] - 2026-01-31")
    text = re.split(r"^(?:## |\[[^\]]+\]: )", changelog[match.end() :], maxsplit=1, flags=re.MULTILINE)[0].strip()
    if not text:
        raise NotesError(f"says nothing of {version}")
    return text + "\n"


def main(argv: list[str]) -> int:
    """Print the notes and return 0; 1 where there are none."""
    try:
        (version,) = argv
        sys.stdout.write(of_changelog(version))
    except ValueError as error:
        sys.stderr.write(f"notes: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
