"""Helm 3 and Helm 4, built from their Go modules once and kept in the cache.

`helm3/` and `helm4/` beside this file are Go modules that ask for nothing but that Helm.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from devcluster.cache import cache_dir, filled, say
from devcluster.controlplane import COLLECT_NEVER
from devcluster.go_build import build, source_key
from devcluster.longrun import SetupError

MAJORS = (3, 4)
_HERE = Path(__file__).parent


class HelmError(RuntimeError):
    """A command of Helm failed; the message is what it said."""


@dataclass(frozen=True)
class Helm:
    """One Helm program, and the folder that it is given as its home."""

    program: Path
    major: int
    home: Path
    kubeconfig: Path | None = None

    def __call__(self, *args: str, check: bool = True) -> str:
        """Return what Helm prints on standard output. Raises HelmError when it fails and `check` is true."""
        # Its own folders: plugins, repositories and caches of a person are not read, and none are left.
        folders = {f"HELM_{name}_HOME": str(self.home / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        own = {key: value for key, value in os.environ.items() if not key.startswith(("HELM_", "KUBECONFIG"))}
        cluster = {"KUBECONFIG": str(self.kubeconfig)} if self.kubeconfig else {"KUBECONFIG": os.devnull}
        ended = subprocess.run(
            [str(self.program), *args],
            capture_output=True,
            text=True,
            check=False,
            env=own | COLLECT_NEVER | folders | cluster | {"HOME": str(self.home)},
        )
        if check and ended.returncode:
            raise HelmError(ended.stderr.strip())
        return ended.stdout


def find_helm(major: int, *, fetch: bool = True) -> Path:
    """Return the program of that major version: of the cache, else of the PATH if it is one, else built.

    Raises SetupError when it is not there and `fetch` is false, or cannot be built.
    """
    name = f"helm-{source_key(_HERE / f'helm{major}', 'go.mod', 'go.sum')}"
    if (kept := cache_dir() / name / "helm").exists():
        return kept
    if (found := shutil.which("helm")) and _major(found) == major:
        return Path(found)
    if not fetch:
        raise SetupError(f"Helm {major} is not there yet; `make chart-test` builds it, in some minutes")
    return filled(name, lambda folder: _build(major, folder)) / "helm"


def _build(major: int, folder: Path) -> None:
    say(f"building Helm {major} once, about 4 minutes on 2 cores…")
    source, module = _HERE / f"helm{major}", f"helm.sh/helm/v{major}"
    flags = ["-s -w", f"-X {module}/internal/version.version={_version(source, module)}"]
    if major == 3:
        # Without them it takes every cluster that it cannot see for Kubernetes 1.20; Helm 4 reads them from its build.
        _, minor, _ = _version(source, "k8s.io/client-go").split(".")
        flags += [f"-X {module}/pkg/chartutil.k8sVersionMajor=1", f"-X {module}/pkg/chartutil.k8sVersionMinor={minor}"]
    build(f"Helm {major}", source, f"{module}/cmd/helm", folder / "helm", flags=" ".join(flags))


def _version(source: Path, module: str) -> str:
    match = re.search(rf"^\s+{re.escape(module)} (v\S+)", (source / "go.mod").read_text(), re.MULTILINE)
    assert match is not None, f"{source}/go.mod does not require {module}"
    return match[1]


def _major(program: str) -> int | None:
    try:
        said = subprocess.run([program, "version", "--short"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.match(r"v(\d+)\.", said.stdout)
    return int(match[1]) if match else None
