"""`python -m release.versions check [--tag TAG] | set VERSION`: one version, and every place that repeats it.

The one place is `__version__` of the operator. The others are read and written by the same table.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from release import notes
from release.repository import ROOT

VERSION = r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?"
"""Semantic Versioning 2.0.0 without build metadata, which is no tag of an image."""
ORIGIN = Path("operator/cipher_operator/__init__.py")


@dataclass(frozen=True, slots=True)
class Place:
    """Files, and what stands before the version in them. Each file must have it at least once."""

    files: str
    before: str


PLACES = (
    Place(str(ORIGIN), r'^__version__ = "'),
    Place("crds/*.yaml", r"^    storage\.cipher\.dev/version: "),
    Place("manifests/base/deployment.yaml", r"^ +image: cipher-operator:"),
    Place("manifests/base/kustomization.yaml", r"newTag: "),
    Place("charts/cipher-operator/Chart.yaml", r"^version: "),
    Place("charts/cipher-operator/Chart.yaml", r"^appVersion: "),
    Place("charts/cipher-operator/templates/crds/*.yaml", r"^    storage\.cipher\.dev/version: "),
    Place("Dockerfile", r"^ARG VERSION="),
    Place("Dockerfile", r"docker build -t cipher-operator:"),
    Place("README.md", r"docker (?:build -t|push) registry\.example\.com/cipher-operator:"),
    Place("README.md", r"newTag: "),
    Place("docs/runbooks.md", r"literals: \[at=github\.com/OWNER/NAME/blob/v"),
    Place("docs/start.md", r"docker (?:build -t|push) registry\.example\.com/cipher-operator:"),
)


class VersionError(ValueError):
    """A version is missing, is none, or differs; the message says where."""


def the_version(root: Path = ROOT) -> str:
    """Return the operator's version. Raises VersionError."""
    match = re.search(rf'^__version__ = "({VERSION})"$', (root / ORIGIN).read_text(), re.MULTILINE)
    if match is None:
        raise VersionError(f"{ORIGIN}: has no __version__ such as 1.2.3 or 1.2.3-rc.1")
    return match[1]


def disagreements(root: Path = ROOT, tag: str | None = None) -> Iterator[str]:
    """Yield one line for each place that says something else than the operator, or nothing.

    With a tag (`v1.2.3`) also where that is another version, or the changelog has no section with a date for it.
    """
    wanted = the_version(root)
    for place in PLACES:
        files = sorted(root.glob(place.files))
        if not files:
            yield f"{place.files}: there is no such file"
        for file in files:
            said = re.findall(rf"(?m){place.before}({VERSION})", file.read_text())
            if not said:
                yield f"{file.relative_to(root)}: has no version after {place.before}"
            for other in sorted({each for each in said if each != wanted}):
                yield f"{file.relative_to(root)}: says {other} after {place.before}, the operator is {wanted}"
    if tag is not None:
        if tag != f"v{wanted}":
            yield f"tag {tag}: the operator is {wanted}, so its tag is v{wanted}"
        try:
            notes.of_changelog(wanted, root)
        except notes.NotesError as error:
            yield str(error)


def write(version: str, root: Path = ROOT) -> None:
    """Write the version at every place. Raises VersionError when it is none."""
    if not re.fullmatch(VERSION, version):
        raise VersionError(f"{version!r} is not a version such as 1.2.3 or 1.2.3-rc.1")
    for place in PLACES:
        for file in root.glob(place.files):
            text = file.read_text()
            file.write_text(re.sub(rf"(?m)({place.before}){VERSION}", rf"\g<1>{version}", text))


def main(argv: list[str]) -> int:
    """Return the exit code: 1 where places disagree or a version is none."""
    parser = argparse.ArgumentParser(prog="release.versions", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check").add_argument("--tag", help="also: that this is the version's tag, and has its notes")
    commands.add_parser("set").add_argument("version")
    options = parser.parse_args(argv)
    try:
        if options.command == "set":
            write(options.version)
        lines = list(disagreements(tag=getattr(options, "tag", None)))
    except VersionError as error:
        lines = [str(error)]
    for line in lines:
        sys.stderr.write(f"version: {line}\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
