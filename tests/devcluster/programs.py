"""Finding the programs of the control plane: etcd, kube-apiserver, kube-controller-manager, kubectl.

Looked for in this order: the folder that `KUBEBUILDER_ASSETS` names, our cache, the published binaries where the
internet is reachable, and last a build with Go (minutes, once). `CIPHER_TEST_KUBERNETES` asks for another minor version
than the usual one; then `KUBEBUILDER_ASSETS`, which is of whatever version it is, does not count.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from devcluster import published
from devcluster.cache import cache_dir, filled, say
from devcluster.go_build import build, source_key
from devcluster.longrun import SetupError

KUBERNETES_VERSION = "1.36.3"
_MODULES = {
    # Of 1.31.14 the proxy lacks a module (k8s.io/kube-scheduler).
    "1.31.13": "kubernetes-1.31.mod",
    KUBERNETES_VERSION: "go.mod",
    "1.37.2": "kubernetes-1.37.mod",
}
"""The versions that can be had, oldest first, and the modules that each is built from."""
MINORS = tuple(version.rpartition(".")[0] for version in _MODULES)
_SOURCE = Path(__file__).with_name("controlplane")
_ASKED = "CIPHER_TEST_KUBERNETES"
_SERVERS, _KUBECTL = ("etcd", "kube-apiserver", "kube-controller-manager"), "kubectl"
_NAMES = (*_SERVERS, _KUBECTL)


@dataclass(frozen=True)
class Programs:
    """Where the four programs of the control plane are."""

    etcd: Path
    apiserver: Path
    controller_manager: Path
    kubectl: Path


def find_programs(*, fetch: bool = True) -> Programs:
    """Return the programs, fetched or built when missing and `fetch` is true.

    Raises SetupError, with what to do, when they cannot be had.
    """
    version = wanted_version()
    given = _given()
    if not [name for name in _NAMES if name not in given]:
        return _programs(given)
    # The archives that KUBEBUILDER_ASSETS usually points to lack the controller manager; the rest is used all the same.
    for folder in (cache_dir() / _built_name(version), cache_dir() / _published_name(version)):
        if folder.is_dir():
            return _programs({name: folder / name for name in _NAMES} | given)
    if not fetch:
        raise SetupError("the control plane's programs are not there yet; run `python -m devcluster setup`")
    folder = _fetched(version) or filled(_built_name(version), lambda folder: _build(version, folder))
    return _programs({name: folder / name for name in _NAMES} | given)


def wanted_version() -> str:
    """Return the version of Kubernetes that is asked for: `CIPHER_TEST_KUBERNETES`, a minor, else the usual one.

    Raises SetupError for a minor that cannot be had.
    """
    minor = os.environ.get(_ASKED)
    if not minor:
        return KUBERNETES_VERSION
    if minor not in MINORS:
        raise SetupError(f"{_ASKED} is {minor!r}; there are {', '.join(MINORS)}")
    return next(version for version in _MODULES if version.startswith(f"{minor}."))


def _given() -> dict[str, Path]:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets or os.environ.get(_ASKED):
        return {}
    found = {name: Path(assets, name).absolute() for name in _NAMES if os.access(Path(assets, name), os.X_OK)}
    if not found:
        raise SetupError(f"KUBEBUILDER_ASSETS names {assets}, which holds none of {', '.join(_NAMES)}")
    return found


def _programs(paths: dict[str, Path]) -> Programs:
    return Programs(*(paths[name] for name in _NAMES))


def _fetched(version: str) -> Path | None:
    try:
        return filled(_published_name(version), lambda folder: published.fetch(version, folder))
    except published.NotReachableError as error:
        say(f"published Kubernetes binaries not used: {error}")
        return None


def _published_name(version: str) -> str:
    return f"controlplane-{version}-published"


def _built_name(version: str) -> str:
    modules = _MODULES[version]
    sums = modules.replace(".mod", ".sum")
    return f"controlplane-{source_key(_SOURCE, 'main.go', f'{_KUBECTL}/main.go', modules, sums)}"


def _build(version: str, folder: Path) -> None:
    cores = os.cpu_count() or 1
    minutes = max(2, round(14 / cores))
    say(f"building the Kubernetes {version} control plane once, about {minutes} minutes on {cores} cores…")
    stamp = "k8s.io/component-base/version"
    major, minor, _ = version.split(".")
    # Without the stamp the server calls itself v0.0.0-master and clients misbehave.
    flags = f"-s -w -X {stamp}.gitVersion=v{version} -X {stamp}.gitMajor={major} -X {stamp}.gitMinor={minor}"
    binary = folder / "controlplane"
    build("the control plane", _SOURCE, ".", binary, flags=flags, modules=_MODULES[version])
    for name in _SERVERS:
        (folder / name).symlink_to(binary.name)
    build("kubectl", _SOURCE, f"./{_KUBECTL}", folder / _KUBECTL, flags=flags, modules=_MODULES[version])
