"""Data folders of PostgreSQL servers, and the user a server runs as."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path

from devcluster.cache import drop_unused, filled, used
from devcluster.postgres_programs import Installation
from devcluster.processes import Identity, ProcessError, run_folder
from devcluster.scram import verifier


@cache
def server_identity() -> Identity | None:
    """Return whom servers run as: None for the caller; for root, whom PostgreSQL refuses, `postgres` or `nobody`."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Identity(entry.pw_uid, entry.pw_gid)
    raise ProcessError("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to run it as")


def reachable(installation: Installation) -> Installation:
    """Return the installation at a place where the server's user can run it.

    Root's home is usually closed to others, and our cache lies below it; then the files are hard-linked (or copied,
    where that is impossible) into a run folder, once per Python process.
    """
    root = reachable_root(installation.root, installation.bin / "postgres")
    return installation if root == installation.root else installation.moved(root)


def reachable_root(root: Path, program: Path) -> Path:
    """Return where the folder of a program is so that the server's user can run it, as `reachable` does."""
    if server_identity() is None or _open_to_all(program):
        return root
    with _moving:
        return _moved(root)


_moving = threading.Lock()


@cache
def _moved(root: Path) -> Path:
    folder = run_folder("pgbin", data=False)
    target = folder / "root"
    shutil.copytree(root, target, symlinks=True, copy_function=_link)
    for each in (target, *(Path(base, name) for base, names, _ in os.walk(target) for name in names)):
        if not each.is_symlink():
            each.chmod(0o755)
    return target


def _open_to_all(program: Path) -> bool:
    path = program.resolve()
    return bool(path.stat().st_mode & 0o005 == 0o005) and all(each.stat().st_mode & 0o001 for each in path.parents)


def _link(source: str, target: str) -> None:
    # A link shares its mode with the file in the cache, so files closed to others (made under a strict umask) are
    # copied, and the copy is opened.
    mode = os.stat(source).st_mode
    if mode & 0o004 and not os.path.islink(source):
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copy2(source, target, follow_symlinks=False)
    if not os.path.islink(target):
        os.chmod(target, 0o755 if mode & 0o100 else 0o644)


def new_data_folder(
    installation: Installation, target: Path, *, superuser: str, password: str, initdb_args: tuple[str, ...], keep: bool
) -> None:
    """Make `target` a fresh data folder, owned by the server's user.

    With `keep` it is copied from a template in the cache, made on first use (1 to 3 s); a copy takes about 0.1 s.
    """
    if not keep:
        _initdb(installation, target, superuser, password, initdb_args)
        return
    # The user id matters too: the files of one user's template may be closed to the next.
    identity = repr((superuser, password, initdb_args, str(installation.home), server_identity(), _FORMAT))
    name = f"pgdata-{installation.version}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"

    def fill(folder: Path) -> None:
        drop_unused("pgdata-", _KEPT_SECONDS)
        with tempfile.TemporaryDirectory(
            prefix="cipher-dev-initdb-", dir="/tmp" if os.path.isdir("/tmp") else None
        ) as base:
            os.chmod(base, 0o711)
            _initdb(reachable(installation), Path(base, "data"), superuser, password, initdb_args)
            shutil.copytree(Path(base, "data"), folder / "data")

    template = filled(name, fill)
    used(template)
    copy_data_folder(template / "data", target)


_KEPT_SECONDS = 14 * 24 * 3600
"""After this without use a template goes when another is made: its programs are likely to be gone, or newer."""
_FORMAT = 3
"""To be raised when what `_initdb` makes changes, so that older templates are not used."""


def copy_data_folder(source: Path, target: Path) -> None:
    """Copy a data folder of a stopped server; the copy is owned by the server's user and closed to others."""
    target.mkdir(mode=0o700)
    hand_over(target)
    for entry in os.scandir(source):
        copy = target / entry.name
        if entry.is_symlink():
            copy.symlink_to(os.readlink(entry.path))
            hand_over(copy)
        elif entry.is_dir():
            copy_data_folder(Path(entry.path), copy)
        else:
            _copy_file(entry.path, copy)


def _copy_file(source: str, target: Path) -> None:
    """Copy what a file holds; shutil's copies cost twice the CPU time, and a data folder has a thousand files."""
    with open(source, "rb") as read, open(target, "xb", opener=_private) as written:
        written.write(read.read())
        if (identity := server_identity()) is not None:
            os.fchown(written.fileno(), identity.uid, identity.gid)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def hand_over(path: Path) -> None:
    """Give a file or folder to the server's user."""
    identity = server_identity()
    if identity is not None:
        os.chown(path, identity.uid, identity.gid, follow_symlinks=False)


def _initdb(
    installation: Installation, target: Path, superuser: str, password: str, initdb_args: tuple[str, ...]
) -> None:
    installation = reachable(installation)
    target.mkdir(mode=0o700)
    hand_over(target)
    secret = target.with_name(f"{target.name}.pw")
    with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w") as handle:
        handle.write(password + "\n")
    hand_over(secret)
    arguments = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", *initdb_args]
    initdb = [
        str(installation.bin / "initdb"),
        "-D",
        str(target),
        f"--username={superuser}",
        f"--pwfile={secret}",
        *arguments,
    ]
    result = _run(installation, initdb, target.parent)
    secret.unlink()
    if result.returncode != 0:
        raise ProcessError(f"initdb of PostgreSQL {installation.version} failed:\n{result.stdout}{result.stderr}")
    # Each connection of a test hashes the password anew, 4096 times, which is half of its work. Once will do. initdb
    # itself would take the verifier from 14 on.
    alter = f"ALTER ROLE \"{superuser}\" PASSWORD '{verifier(password, os.urandom(16), rounds=1)}'"
    alone = [str(installation.bin / "postgres"), "--single", "-F", "-D", str(target), "postgres"]
    _run(installation, alone, target.parent, f"{alter}\n")
    _drop_maps(target)


def _drop_maps(data: Path) -> None:
    """Remove the free space and visibility maps, which a server makes anew where it needs them: a quarter of the files
    that each copy of the folder and each CREATE DATABASE write."""
    for file in (*data.glob("base/*/*_fsm"), *data.glob("base/*/*_vm")):
        file.unlink()


def _run(
    installation: Installation, command: list[str], folder: Path, text: str = ""
) -> subprocess.CompletedProcess[str]:
    identity = server_identity()
    run_as = {} if identity is None else {"user": identity.uid, "group": identity.gid, "extra_groups": list[int]()}
    result: subprocess.CompletedProcess[str] = subprocess.run(
        command,
        env=installation.environment(),
        cwd=folder,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        **run_as,  # type: ignore[call-overload]
    )
    return result
