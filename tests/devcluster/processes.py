"""Server processes that cannot outlive the run that started them, and the folders and ports they use."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Identity:
    """The system user a server runs as."""

    uid: int
    gid: int


class Process:
    """One server, started at once. All its output is appended to `log`.

    It is ended when `stop` is called and, whatever happens to this Python process (kill -9 included), at its end.
    Safe to use from any thread.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        identity: Identity | None = None,
        imported: str | None = None,
    ) -> None:
        """Start the program; raises ProcessError when it cannot be started at all.

        `PYTHON -m NAME WORD...` may name a module that it imports as `imported`: where the system can, the process is a
        fork of one that has imported that (warm.py), and is else the same.
        """
        self.name = Path(argv[0]).name
        self.log = log
        environment = dict(os.environ if env is None else env)
        words = [str(word) for word in argv]
        start: dict[str, Any] = {"argv": words, "log": str(log), "env": environment, "cwd": str(cwd or log.parent)}
        if imported and sys.platform == "linux":
            start |= {"do": "fork", "argv": words[2:], "python": words[0], "module": imported}
        else:
            who = {"uid": identity.uid, "gid": identity.gid} if identity else {"uid": None, "gid": None}
            start |= {"do": "spawn", **who}
        self.pid: int = _guard().ask(start)["pid"]

    def poll(self) -> int | None:
        """Return the exit code (negative: the signal that ended it), or None while it runs."""
        code: int | None = _guard().ask({"do": "poll", "pid": self.pid})["code"]
        return code

    def send(self, number: int, *, tree: bool = False) -> None:
        """Send a signal, with `tree` to all its descendants too. Nothing happens when it has ended."""
        _guard().ask({"do": "signal", "pid": self.pid, "signal": int(number), "tree": tree})

    def wait(self, seconds: float) -> bool:
        """Return whether it ended within that many seconds."""
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def stop(self, *, grace: float = 5.0, number: int = signal.SIGTERM) -> None:
        """End it: the signal, then after `grace` seconds SIGKILL for it and its descendants."""
        if self.poll() is not None:
            return
        # A frozen process takes no other signal than SIGKILL until it is thawed.
        self.send(signal.SIGCONT, tree=True)
        self.send(number)
        if not self.wait(grace):
            self.send(signal.SIGKILL, tree=True)
            self.wait(10)

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines of its log, for error messages."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class ProcessError(RuntimeError):
    """A server did not start, or did not come up; the message carries the end of its log."""


class _Guard:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.owner = os.getpid()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._child.stdin is not None and self._child.stdout is not None
        with self._lock:
            try:
                self._child.stdin.write(json.dumps(request).encode() + b"\n")
                self._child.stdin.flush()
                line = self._child.stdout.readline()
            except (BrokenPipeError, ValueError):
                line = b""
        if not line:
            raise ProcessError("the dev cluster's guard process has ended, and every server with it")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ProcessError(answer["error"])
        return answer

    def close(self) -> None:
        assert self._child.stdin is not None and self._child.stdout is not None
        if self.owner == os.getpid():
            self._child.stdin.close()
            self._child.wait(timeout=20)
            self._child.stdout.close()


_current: _Guard | None = None
_starting = threading.Lock()


def _guard() -> _Guard:
    global _current  # noqa: PLW0603 - one guard per Python process
    with _starting:
        # A forked child has its own servers and its own guard; the one it inherited is its parent's.
        if _current is None or _current.owner != os.getpid():
            _current = _Guard()
            atexit.register(_current.close)
        return _current


def run_folder(what: str, *, data: bool = True) -> Path:
    """Return a new folder for one server, which other system users may traverse; removed at the end of the run.

    With `data` it is in memory where there is room for it (nothing here outlives the run, so nothing is worth a disk:
    a server starts in a quarter of the CPU time, a CREATE DATABASE takes a half). Programs are not for such a folder,
    which may be mounted noexec.
    Else it is made directly in /tmp where there is one: `TMPDIR` may lie below a private folder, and PostgreSQL started
    by root runs as another user, who must be able to reach its data.
    """
    base = _memory() if data else None
    if base is None and os.path.isdir("/tmp"):
        base = "/tmp"
    folder = Path(tempfile.mkdtemp(prefix=f"cipher-dev-{what}-", dir=base))
    folder.chmod(0o711)
    _guard().ask({"do": "own", "folder": str(folder)})
    return folder


_MEMORY = "/dev/shm"
_ROOM_BYTES = 4 << 30
"""What must be free, on it and in the machine: a run of all tests fills up to half of it."""


def _memory() -> str | None:
    """Return the folder that is in memory, or None where there is none or too little room."""
    try:
        there = os.statvfs(_MEMORY)
        with open("/proc/meminfo", encoding="ascii") as lines:
            available = next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")), 0)
    except OSError:
        return None
    room = there.f_bavail * there.f_frsize
    return _MEMORY if os.access(_MEMORY, os.W_OK) and min(room, available) >= _ROOM_BYTES else None


def drop_folder(folder: Path) -> None:
    """Remove a folder made by run_folder; called when its server is stopped for good."""
    shutil.rmtree(folder, ignore_errors=True)
    _guard().ask({"do": "disown", "folder": str(folder)})


def free_ports(count: int) -> list[int]:
    """Return that many different free TCP ports of 127.0.0.1.

    Another program may take one before it is used: callers retry with new ones. They are not among those that the
    system gives to outgoing connections, of which one could take the port of a server that is stopped for a moment.
    """
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < count:
            each = socket.socket()
            sockets.append(each)
            for port in (*_CHANCE.sample(_PORTS, 20), 0):
                with contextlib.suppress(OSError):
                    each.bind(("127.0.0.1", port))
                    break
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


_CHANCE = random.SystemRandom()
_PORTS = range(15_000, 32_000)
