"""The guard: a small process that starts the servers for us and ends them when we are gone, however we went.

Run as a script of its own by processes.py, never imported. It reads one JSON request per line and answers each with
one line. When the requests end (the other side closed the pipe or was killed) it kills what it started, and all
their children, removes the folders it was told about, and ends.

Why a process: PR_SET_PDEATHSIG fires when the *thread* that forked ends, so it cannot be used straight from a test
run with threads; this process has one thread. Being the "subreaper" it also inherits whatever a killed server leaves.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_processes: dict[int, subprocess.Popen[bytes] | _Forked] = {}
_warm: dict[tuple[object, ...], socket.socket] = {}
_OWN = {"KUBECONFIG", "PYTEST_CURRENT_TEST"}
"""What may be another in the environment of each fork: no import goes by it."""
_folders: list[str] = []


class _Forked:
    """What a warm interpreter forked; this process, the subreaper, is its parent."""

    def __init__(self, pid: int) -> None:
        self.pid, self.returncode = pid, None

    returncode: int | None

    def poll(self) -> int | None:
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                # Reaped at the end with all strays: its code is lost, as Popen has it.
                self.returncode = 0
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


def _descendants(root: int) -> list[int]:
    """Return the process ids below `root`, parents before their children."""
    below: dict[int, list[int]] = {}
    if _libc is None:
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        for line in listing.splitlines():
            pid, above = map(int, line.split())
            below.setdefault(above, []).append(pid)
    else:
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/stat", "rb") as handle:
                    # The program's name, in parentheses, may itself hold spaces and parentheses.
                    state, parent = handle.read().rpartition(b")")[2].split()[:2]
            except OSError:
                continue
            if state != b"Z":
                below.setdefault(int(parent), []).append(int(name))
    found: list[int] = []
    queue = [root]
    while queue:
        children = below.get(queue.pop(0), [])
        found += children
        queue += children
    return found


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _die_with(guard: int) -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guard:
            os._exit(1)


def _spawn(request: dict[str, Any]) -> dict[str, Any]:
    guard = os.getpid()
    identity: dict[str, Any] = {}
    if request.get("uid") is not None:
        identity = {"user": request["uid"], "group": request["gid"], "extra_groups": []}
    with open(request["log"], "ab") as log:
        process = subprocess.Popen(
            request["argv"],
            env=request["env"],
            cwd=request["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: _die_with(guard),  # noqa: PLW1509 - this process has one thread
            **identity,
        )
    _processes[process.pid] = process
    return {"pid": process.pid}


def _fork(request: dict[str, Any]) -> dict[str, Any]:
    warm = _warm_interpreter(request["python"], request["module"], request["env"])
    asked = {key: request[key] for key in ("argv", "env", "cwd", "log")}
    try:
        warm.sendall(json.dumps(asked).encode() + b"\n")
        answer = warm.recv(32)
    except ConnectionError:
        answer = b""
    if not answer:
        raise RuntimeError(f"the warm interpreter of {request['module']} has ended")
    process = _Forked(int(answer))
    _processes[process.pid] = process
    return {"pid": process.pid}


def _warm_interpreter(python: str, module: str, env: dict[str, str]) -> socket.socket:
    """Return the way to the interpreter that imported the module in this environment."""
    key = (python, module, frozenset((name, value) for name, value in env.items() if name not in _OWN))
    if (found := _warm.get(key)) is not None:
        return found
    guard = os.getpid()
    ours, theirs = socket.socketpair()
    with theirs:
        subprocess.Popen(
            [python, "-P", str(Path(__file__).with_name("warm.py")), str(theirs.fileno()), module],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            preexec_fn=lambda: _die_with(guard),  # noqa: PLW1509 - this process has one thread
        )
    return _warm.setdefault(key, ours)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    match request["do"]:
        case "spawn":
            return _spawn(request)
        case "fork":
            return _fork(request)
        case "signal":
            # Only while not reaped: afterwards the number may belong to somebody else.
            process = _processes[request["pid"]]
            if process.poll() is None:
                number = request["signal"]
                # The parent first, so that it starts nothing more meanwhile; but a dead parent has no children left
                # to be found, so before a kill it is only stopped.
                _send(process.pid, signal.SIGSTOP if request["tree"] and number == signal.SIGKILL else number)
                if request["tree"]:
                    for pid in [*_descendants(process.pid), process.pid]:
                        _send(pid, number)
            return {"code": process.returncode}
        case "poll":
            return {"code": _processes[request["pid"]].poll()}
        case "own":
            _folders.append(request["folder"])
            return {}
        case "disown":
            _folders.remove(request["folder"])
            return {}
    raise ValueError(request["do"])


def _end() -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for process in _processes.values():
            process.poll()
        left = _descendants(os.getpid())
        if not left:
            break
        for pid in left:
            _send(pid, signal.SIGKILL)
        _reap_strays()
        time.sleep(0.01)
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)


def _reap_strays() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A Ctrl-C or a closed terminal ends the owner; the closed pipe then ends this process, after its work.
        signal.signal(number, signal.SIG_IGN)
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    owner = os.getppid()
    waiting = b""
    try:
        while True:
            # A child that the owner forked may hold the pipe open after the owner's death; the parent id tells then.
            if not select.select([0], [], [], 0.5)[0]:
                if os.getppid() != owner:
                    break
                continue
            data = os.read(0, 65536)
            if not data:
                break
            waiting += data
            *lines, waiting = waiting.split(b"\n")
            for line in lines:
                try:
                    answer = _answer(json.loads(line))
                except Exception as error:
                    answer = {"error": f"{type(error).__name__}: {error}"}
                os.write(1, json.dumps(answer).encode() + b"\n")
    except BrokenPipeError:
        pass
    finally:
        _end()


if __name__ == "__main__":
    main()
