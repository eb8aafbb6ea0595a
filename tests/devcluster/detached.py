"""A cluster that outlives the command that started it: `up`, `down` and `status`.

A keeper process of its own owns the servers, as a test run would. It holds a lock for as long as it lives; that, and
not a process id in a file, says whether the cluster is up.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from devcluster.cache import cache_dir, say
from devcluster.controlplane import ControlPlane
from devcluster.postgres import PostgresServer
from devcluster.postgres_programs import find_postgres
from devcluster.processes import ProcessError
from devcluster.programs import find_programs

_START_SECONDS = 90.0
_STOP_SECONDS = 20.0


@dataclass(frozen=True)
class State:
    """What a person needs to use the running cluster."""

    kubeconfig: str
    admin_url: str
    kubectl: str
    postgres_version: str
    folders: list[str]


def up(name: str, *, major: int | None = None) -> State:
    """Start the cluster of that name, or find it running, and return how to use it.

    Fetches or builds the programs first. Raises SetupError or ProcessError.
    """
    if (state := status(name)) is not None:
        return state
    find_programs()
    find_postgres(major)
    folder = _folder(name)
    tests = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [tests, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "devcluster", "--name", name, "keep"]
    log = folder / "keeper.log"
    with log.open("wb") as output:
        keeper = subprocess.Popen(
            command + ([] if major is None else ["--postgres", str(major)]),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            env=os.environ | {"PYTHONPATH": path},
        )
    deadline = time.monotonic() + _START_SECONDS
    while (state := status(name)) is None:
        if keeper.poll() is not None and not _is_up(folder):
            raise ProcessError(f"the cluster did not start:\n{log.read_text(errors='replace')[-3000:]}")
        if time.monotonic() > deadline:
            raise ProcessError(f"the cluster is not up after {_START_SECONDS:.0f} s; see {log}")
        time.sleep(0.05)
    return state


def down(name: str) -> bool:
    """Stop the cluster of that name and wait until it is gone; return whether there was one."""
    folder = _folder(name)
    if not _is_up(folder):
        return False
    keeper = _keeper(folder)
    os.kill(keeper, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while _is_up(folder):
        if time.monotonic() > deadline:
            # Its guard ends the servers all the same.
            os.kill(keeper, signal.SIGKILL)
            time.sleep(1)
            break
        time.sleep(0.05)
    return True


def status(name: str) -> State | None:
    """Return how to use the running cluster of that name, or None when it is not up (or not yet)."""
    folder = _folder(name)
    # The lock first: a state file left by a keeper that was killed says nothing.
    if not _is_up(folder):
        return None
    try:
        return State(**json.loads((folder / "state.json").read_text()))
    except FileNotFoundError:
        return None


def keep(name: str, *, major: int | None = None) -> None:
    """Be the keeper: run the cluster until SIGTERM. Returns at once when another keeper has it."""
    folder = _folder(name)
    with (folder / "lock").open("r+") as lock:
        if not _taken(lock):
            return
        (folder / "state.json").unlink(missing_ok=True)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        finished = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: finished.set())
        with ControlPlane() as plane, PostgresServer(major) as server:
            kubeconfig = folder / "kubeconfig"
            shutil.copyfile(plane.kubeconfig, kubeconfig)
            kubeconfig.chmod(0o600)
            state = State(
                kubeconfig=str(kubeconfig),
                # The wheel's PostgreSQL has no TLS, and the operator asks for it unless the URL says otherwise.
                admin_url=server.admin_url(sslmode="disable"),
                kubectl=str(plane.programs.kubectl),
                postgres_version=server.installation.version,
                folders=[str(plane.folder), str(server.folder)],
            )
            scratch = folder / "state.json.new"
            with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(asdict(state), file)
            scratch.rename(folder / "state.json")
            say("up")
            finished.wait()
            for name in ("state.json", "kubeconfig"):
                (folder / name).unlink(missing_ok=True)


def _taken(lock: IO[str]) -> bool:
    # More than once, since everyone who asks whether the cluster is up holds the lock for an instant.
    for _ in range(40):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.05)
    return False


def _folder(name: str) -> Path:
    folder = cache_dir() / "clusters" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileExistsError):
        (folder / "lock").touch(exist_ok=False)
    return folder


def _keeper(folder: Path) -> int:
    # Written an instant after the lock is taken.
    while not (text := (folder / "lock").read_text()):
        time.sleep(0.01)
    return int(text)


def _is_up(folder: Path) -> bool:
    with (folder / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
