"""An environment as the image has it: what requirements.lock names, the operator, without what is never imported."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

from support.cluster import ROOT


def pruned_environment(folder: Path) -> Path:
    """Return the interpreter of a new environment in the folder, made of the files that this one has installed."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    found = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    site = Path(found.stdout.strip())
    for name in _locked():
        _copy(importlib.metadata.distribution(name), site)
    shutil.copytree(
        ROOT / "operator" / "cipher_operator",
        site / "cipher_operator",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    subprocess.run([str(python), str(ROOT / "release" / "prune.py")], check=True, capture_output=True)
    return python


def _locked() -> list[str]:
    """Return the packages of requirements.lock that are for this interpreter."""
    names = re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    return [name for name in names if _installed(name)]


def _installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _copy(distribution: importlib.metadata.Distribution, site: Path) -> None:
    for file in distribution.files or ():
        # Scripts stand outside, and bytecode is of another place.
        if file.parts[0] == ".." or file.suffix == ".pyc":
            continue
        target = site / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(distribution.locate_file(file)), target)
