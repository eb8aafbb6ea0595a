"""One version: every place that repeats it agrees, and each one that does not is named."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from cipher_operator import __version__
from release import notes, versions
from release.repository import ROOT

FILES = sorted({file.relative_to(ROOT) for place in versions.PLACES for file in ROOT.glob(place.files)})
OTHERS = [path for path in FILES if path != versions.ORIGIN]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the files that say the version, and of the changelog."""
    for file in [*FILES, Path("CHANGELOG.md")]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def test_all_places_agree() -> None:
    assert not list(versions.disagreements())
    assert versions.the_version() == __version__


@pytest.mark.parametrize("file", OTHERS, ids=str)
def test_a_place_that_says_another_version_is_named(repository: Path, file: Path) -> None:
    text = (repository / file).read_text()
    places = [place for place in versions.PLACES if repository / file in set(repository.glob(place.files))]
    for place in places:
        changed = re.sub(rf"(?m)({place.before}){re.escape(__version__)}", r"\g<1>9.9.9", text)
        assert changed != text
        (repository / file).write_text(changed)
        (line,) = versions.disagreements(repository)
        assert line.startswith(f"{file}: says 9.9.9") and line.endswith(f"the operator is {__version__}")


@pytest.mark.parametrize("file", OTHERS, ids=str)
def test_a_place_that_says_none_any_more_is_named(repository: Path, file: Path) -> None:
    (repository / file).write_text("")
    assert {line.split(":")[0] for line in versions.disagreements(repository)} == {str(file)}


def test_a_file_that_is_gone_is_named(repository: Path) -> None:
    (repository / "charts/cipher-operator/Chart.yaml").unlink()
    assert set(versions.disagreements(repository)) == {"charts/cipher-operator/Chart.yaml: there is no such file"}


def test_no_file_says_the_version_and_is_not_a_place() -> None:
    """What the table does not know would stay behind at the next version."""
    found = {
        path.relative_to(ROOT)
        for pattern in ("*.md", "Dockerfile", "*.toml", "docs/**/*.md", "charts/**/*", "crds/*", "manifests/**/*.yaml")
        for path in ROOT.glob(pattern)
        if path.is_file() and re.search(rf"(?<![\d.]){re.escape(__version__)}(?![\d.])", path.read_text())
    }
    assert found - {Path("CHANGELOG.md")} <= set(FILES)


def test_a_version_is_written_everywhere(repository: Path) -> None:
    versions.write("1.2.3-rc.1", repository)
    assert versions.the_version(repository) == "1.2.3-rc.1"
    assert not list(versions.disagreements(repository))
    assert not [file for file in FILES if f"{__version__}\n" in (repository / file).read_text()]


@pytest.mark.parametrize("version", ["1.2", "v1.2.3", "1.2.3+build", "latest", ""])
def test_what_is_no_version_is_refused(repository: Path, version: str) -> None:
    with pytest.raises(versions.VersionError, match="is not a version such as"):
        versions.write(version, repository)


@pytest.mark.parametrize(
    ("tag", "heading", "message"),
    [
        ("v9.9.9", f"## [{__version__}] - 2026-01-31", f"so its tag is v{__version__}"),
        (__version__, f"## [{__version__}] - 2026-01-31", f"so its tag is v{__version__}"),
        (f"v{__version__}", "## [9.9.9] - 2026-01-31", f"has no section [{__version__}]"),
        (f"v{__version__}", f"## [{__version__}]", "must end with a date"),
        (f"v{__version__}", f"## [{__version__}] - 2026-01-31", None),
    ],
    ids=["another tag", "a tag without v", "no notes", "notes without a date", "all as it must be"],
)
def test_a_tag_is_the_versions_and_has_notes(repository: Path, tag: str, heading: str, message: str | None) -> None:
    (repository / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n\n- Something.\n")
    lines = list(versions.disagreements(repository, tag))
    assert lines == [] if message is None else message in lines[0]


CHANGELOG = """# Changelog

## [Unreleased]

- To come.

## [1.1.0] - 2026-02-01

### Added
- One.

## [1.0.0] - 2026-01-01

- First.

[1.0.0]: https://example.com
"""


@pytest.mark.parametrize(
    ("version", "text"), [("1.1.0", "### Added\n- One.\n"), ("1.0.0", "- First.\n")], ids=["one between", "the last"]
)
def test_the_notes_are_the_section_alone(version: str, text: str) -> None:
    assert notes.section(CHANGELOG, version) == text


def test_a_version_is_not_taken_for_a_part_of_another() -> None:
    with pytest.raises(notes.NotesError, match=r"no section \[1.0\]"):
        notes.section(CHANGELOG, "1.0")


def test_an_empty_section_is_no_release() -> None:
    with pytest.raises(notes.NotesError, match="says nothing"):
        notes.section("## [1.0.0] - 2026-01-01\n\n## [0.9.0] - 2025-01-01\n- x\n", "1.0.0")
