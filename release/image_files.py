"""The image without a container engine: built by buildah on a stand-in for its base, and started from its files."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.cache import filled, say
from devcluster.longrun import SetupError, run
from release.repository import ROOT
from release.versions import the_version

RELEASE = "trixie"
"""Of Debian, as the base that the Dockerfile names."""
_PACKAGES = "python3,python3-venv,ca-certificates"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""By which debootstrap checks what it fetches. Ubuntu does not bring it, and debootstrap then goes on unchecked."""
_NEEDED = {"buildah": "buildah", "debootstrap": "debootstrap", "unshare": "util-linux"}
_ENVIRONMENT = {"BUILDAH_ISOLATION": "chroot"}
_MACHINES = ("/etc/pip.conf", "/etc/ssl/certs")
"""By which pip reaches its index, and whom it trusts, on this machine."""


# The kubeconfig is copied: the machine's /tmp, where it may be, is not seen from the image.
_START = """\
#!/bin/sh
set -e
mount --bind {root} {root}
mount -o remount,bind,ro {root}
mount -t tmpfs -o mode=1777,size=16m tmpfs {root}/tmp
mount -t proc proc {root}/proc
install -o {uid} -m 0400 "$KUBECONFIG" {root}/tmp/kubeconfig
exec chroot --userspec={user} {root} /usr/bin/env -i {variables} KUBECONFIG=/tmp/kubeconfig {entry} "$@"
"""


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: its files below `root`, its configuration, and by how many bytes it is larger than its base."""

    root: Path
    configuration: dict[str, Any]
    added: int

    def command(self, folder: Path) -> str:
        """Return a shell command that starts it, in a mount namespace where nothing but an empty /tmp is writable.

        It runs as the image's user, with the image's environment; the file that $KUBECONFIG names is given along. What
        it must leave behind is in `folder`.
        """
        user = self.configuration["User"]
        script = folder / "operator"
        script.write_text(
            _START.format(
                root=shlex.quote(str(self.root)),
                user=user,
                uid=user.split(":")[0],
                variables=" ".join(map(shlex.quote, self.configuration["Env"])),
                entry=shlex.join(self.configuration["Entrypoint"]),
            )
        )
        script.chmod(0o755)
        return f"unshare --mount --propagation private {shlex.quote(str(script))}"


def missing() -> list[str]:
    """Return the Debian packages without which the image cannot be built here."""
    path = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"
    programs = {package for program, package in _NEEDED.items() if shutil.which(program, path=path) is None}
    return sorted(programs | (set() if KEYRING.exists() else {"debian-archive-keyring"}))


@contextmanager
def built(revision: str) -> Iterator[Image]:
    """Build the Dockerfile on Debian with Python from its packages, and give the image; nothing is left behind.

    Raises SetupError, with the end of what was said, when a step fails.
    """
    base = filled(f"image-base-{RELEASE}", _bootstrap) / "base.tar"
    with tempfile.TemporaryDirectory(prefix="cipher-image-") as scratch:
        store = _Store(Path(scratch))
        try:
            store.take(base, "localhost/base")
            say("building the image, about a minute…")
            store.build("localhost/base", "localhost/cipher-operator", revision)
            yield store.image("localhost/base", "localhost/cipher-operator")
        finally:
            store.drop()


def _bootstrap(folder: Path) -> None:
    say(f"bootstrapping Debian {RELEASE} with Python once, about two minutes…")
    with tempfile.TemporaryDirectory(prefix="cipher-base-") as scratch:
        root = Path(scratch) / "root"
        checked = ["--force-check-gpg", f"--keyring={KEYRING}"]
        command = ["debootstrap", *checked, "--variant=minbase", f"--include={_PACKAGES}", RELEASE, str(root)]
        run("bootstrapping Debian", command, timeout=1800)
        with tarfile.open(folder / "base.tar", "w") as archive:
            archive.add(root, arcname=".")


class _Store:
    """buildah, with images and containers in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._base = [
            "buildah",
            "--storage-driver=vfs",
            "--root",
            str(folder / "store"),
            "--runroot",
            str(folder / "run"),
        ]
        self._environment = os.environ | _ENVIRONMENT

    def _say(self, *args: str) -> str:
        command = [*self._base, *args]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, env=self._environment)
        if ended.returncode:
            raise SetupError(f"buildah {args[0]}: {ended.stderr.strip()[-2_000:]}")
        return ended.stdout.strip()

    def take(self, archive: Path, name: str) -> None:
        container = self._say("from", "scratch")
        self._say("add", "--quiet", container, str(archive), "/")
        self._say("commit", "--quiet", "--rm", container, name)

    def build(self, base: str, name: str, revision: str) -> None:
        arguments = {"PYTHON_IMAGE": base, "VERSION": the_version(), "REVISION": revision}
        given = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        given += [f"--volume={path}:{path}:ro" for path in _MACHINES if Path(path).exists()]
        command = [*self._base, "build", "--pull=never", *given, f"--tag={name}", str(ROOT)]
        run("building the image", command, env=self._environment, timeout=1800)

    def image(self, base: str, name: str) -> Image:
        roots = [Path(self._say("mount", self._say("from", "--pull=never", each))) for each in (base, name)]
        configuration = json.loads(self._say("inspect", "--type=image", name))["OCIv1"]["config"]
        return Image(roots[1], configuration, _size(roots[1]) - _size(roots[0]))

    def drop(self) -> None:
        self._say("umount", "--all")
        self._say("rm", "--all")
        # As root over overlay or vfs the rest is plain files, which go with the folder.


def _size(root: Path) -> int:
    """Return the bytes of a tree's files, each once however many names it has."""
    seen: dict[tuple[int, int], int] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            status = os.lstat(os.path.join(folder, name))
            seen[status.st_dev, status.st_ino] = status.st_size
    return sum(seen.values())
