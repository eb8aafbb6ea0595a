"""`python -m release.image`: build the image, weigh it, look at it, and run the end-to-end tests with it.

What is tested is what the image holds, started as a Pod starts it: as 65532, with nothing writable but /tmp.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from devcluster.longrun import SetupError
from release.image_files import Image, built, missing
from release.repository import ROOT
from release.versions import the_version

MOST_MEGABYTES = 80.0
"""By which the image may be larger than its base."""
TESTS = (
    "tests/e2e/test_lifecycle.py",
    "tests/delivery/test_start.py",
    *(
        f"tests/e2e/test_failure_table_{part}.py"
        for part in ("inputs", "logins", "network", "ownership", "sessions", "states")
    ),
)
"""A life from the first apply to the deletion, the time to ready, and every failure that a storage can meet."""


def complaints(image: Image, revision: str) -> list[str]:
    """Return what is not as it must be in the image itself."""
    said: list[str] = []
    megabytes = image.added / 1e6
    print(f"image: {megabytes:.1f} MB over its base")  # noqa: T201
    if megabytes > MOST_MEGABYTES:
        said.append(f"{megabytes:.1f} MB over the base, at most {MOST_MEGABYTES:.0f} are wanted")
    labels = image.configuration["Labels"]
    for name, value in {"version": the_version(), "revision": revision}.items():
        if labels.get(f"org.opencontainers.image.{name}") != value:
            said.append(f"label {name} is {labels.get(f'org.opencontainers.image.{name}')!r}, not {value!r}")
    if writable := _writable(image):
        said.append(f"user {image.configuration['User']} could write to {', '.join(map(str, writable[:5]))}")
    return said


def _writable(image: Image) -> list[Path]:
    """Return what of the operator's own files somebody else than root could change."""
    own = image.root / Path(image.configuration["Entrypoint"][0]).parts[1]
    files = [path for path in own.rglob("*") if not path.is_symlink()]
    return [path for path in files if path.stat().st_uid != 0 or path.stat().st_mode & 0o022]


def _revision() -> str:
    ended = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return ended.stdout.strip() or "unknown"


def main(argv: list[str]) -> int:
    """Return the exit code: 1 where the image cannot be built here, is not as it must be, or fails a test."""
    if packages := missing():
        sys.stderr.write(f"image: needs {', '.join(packages)}: apt-get install {' '.join(packages)}\n")
        return 1
    if os.geteuid() != 0:
        sys.stderr.write("image: debootstrap and mounts need root: run as root, or with sudo\n")
        return 1
    revision = _revision()
    try:
        with built(revision) as image, tempfile.TemporaryDirectory(prefix="cipher-start-") as scratch:
            said = complaints(image, revision)
            environment = os.environ | {"CIPHER_TEST_OPERATOR": image.command(Path(scratch))}
            command = [sys.executable, "-m", "pytest", "-q", "-rP", "-p", "no:cacheprovider", *(argv or TESTS)]
            code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    except SetupError as error:
        sys.stderr.write(f"image: {error}\n")
        return 1
    for line in said:
        sys.stderr.write(f"image: {line}\n")
    return 1 if said or code else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
