"""Kubernetes' own published binaries, for machines that reach the open internet: half a minute instead of a build.

etcd, kube-apiserver and kubectl come from the envtest archives of kubernetes-sigs/controller-tools, whose index gives
each archive's SHA-512; the controller manager, which these archives lack, from the Kubernetes release downloads.
"""

from __future__ import annotations

import hashlib
import platform
import re
import tarfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from devcluster.cache import say

INDEX_URL = "https://raw.githubusercontent.com/kubernetes-sigs/controller-tools/HEAD/envtest-releases.yaml"
RELEASE_URL = "https://dl.k8s.io/release/v{version}/bin/{system}/{machine}/kube-controller-manager"
_FIRST_ANSWER_SECONDS = 4.0
_DOWNLOAD_SECONDS = 300.0
_MACHINES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class NotReachableError(Exception):
    """The published binaries cannot be used here; the message says why in a few words."""


def fetch(version: str, folder: Path) -> None:
    """Put etcd, kube-apiserver, kube-controller-manager and kubectl of Kubernetes `version`'s minor into `folder`.

    Raises NotReachableError within about four seconds when offline, and when anything is missing or does not match
    its checksum.
    """
    system, machine = platform.system().lower(), _MACHINES.get(platform.machine(), "")
    if system != "linux" or not machine:
        raise NotReachableError(f"no controller manager is published for {platform.system()} {platform.machine()}")
    try:
        index = yaml.safe_load(_get_within(INDEX_URL, _FIRST_ANSWER_SECONDS))
        found, archive = _newest(index, version, system, machine)
        say(f"fetching Kubernetes {found} once (about 120 MB)…")
        _unpack(_checked(archive["selfLink"], archive["hash"]), folder)
        manager = RELEASE_URL.format(version=found, system=system, machine=machine)
        digest = _get_within(manager + ".sha512", _FIRST_ANSWER_SECONDS).decode().split()[0]
        program = folder / "kube-controller-manager"
        program.write_bytes(_checked(manager, digest))
        program.chmod(0o755)
    except NotReachableError:
        raise
    except Exception as error:
        # Whatever a proxy, a captive portal or a changed index answers, the build with Go is still there.
        raise NotReachableError(f"{type(error).__name__}: {error}") from error


def _newest(index: dict[str, Any], version: str, system: str, machine: str) -> tuple[str, dict[str, str]]:
    minor = ".".join(version.split(".")[:2])
    releases: list[tuple[int, str, dict[str, str]]] = []
    for name, archives in index["releases"].items():
        match = re.fullmatch(rf"v({re.escape(minor)}\.(\d+))", name)
        archive = archives.get(f"envtest-{name}-{system}-{machine}.tar.gz")
        if match and archive:
            releases.append((int(match[2]), match[1], archive))
    if not releases:
        raise NotReachableError(f"no archive of Kubernetes {minor} is published")
    _, found, archive = max(releases, key=lambda release: release[0])
    return found, archive


def _checked(url: str, sha512: str) -> bytes:
    data = _get_within(url, _DOWNLOAD_SECONDS)
    if hashlib.sha512(data).hexdigest() != sha512:
        raise NotReachableError(f"{url.rsplit('/', 1)[-1]} does not match its published checksum")
    return data


def _unpack(archive: bytes, folder: Path) -> None:
    scratch = folder / "archive.tar.gz"
    scratch.write_bytes(archive)
    with tarfile.open(scratch) as bundle:
        for name in ("etcd", "kube-apiserver", "kubectl"):
            member = next(m for m in bundle.getmembers() if m.isfile() and Path(m.name).name == name)
            content = bundle.extractfile(member)
            if content is None:
                raise NotReachableError(f"{name} is missing from the archive")
            (folder / name).write_bytes(content.read())
            (folder / name).chmod(0o755)
    scratch.unlink()


def _get_within(url: str, seconds: float) -> bytes:
    # In a thread, since a socket time-out does not cover the name look-up, which can hang far longer when offline.
    result: list[bytes] = []
    failure: list[Exception] = []
    deadline = time.monotonic() + seconds

    def get() -> None:
        try:
            parts: list[bytes] = []
            with urllib.request.urlopen(url, timeout=min(seconds, 15.0)) as answer:
                while part := answer.read(1 << 20):
                    if time.monotonic() > deadline:
                        return
                    parts.append(part)
            result.append(b"".join(parts))
        except Exception as error:
            failure.append(error)

    worker = threading.Thread(target=get, daemon=True)
    worker.start()
    worker.join(seconds)
    # The socket's own time-out ends at the same moment: whichever is first, the time was up.
    if failure and time.monotonic() < deadline:
        raise NotReachableError(f"{type(failure[0]).__name__}: {failure[0]}")
    if not result:
        raise NotReachableError(f"no full answer within {seconds:.0f} s")
    return result[0]
