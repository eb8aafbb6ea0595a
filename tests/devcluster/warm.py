"""A warm interpreter: a Python that has imported a module once, and forks a process of it for each request.

Run as a script of its own by guard.py, never imported: `python -P warm.py FD MODULE`, with the guard's socket. It reads
one JSON request per line (argv, env, cwd, log) and answers each with the process id of what `python -m` with that argv
would be: only what is imported was there before. It ends with its guard.

Why: what an operator imports takes longer than all else that it does until it is ready, and a run of all tests starts
many. A fork has the environment in which was imported: the guard has an interpreter for each. The process is the
guard's, as one that it started itself: the fork between ends at once, and the guard, the "subreaper", is the parent
that Linux gives to what is left behind.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import time
from typing import Any

_PR_SET_PDEATHSIG = 1


def _fork(guard: int, connection: socket.socket, request: dict[str, Any]) -> int | None:
    """Return the id of the new process, and None in it."""
    reading, writing = os.pipe()
    between = os.fork()
    if between:
        os.close(writing)
        answer = os.read(reading, 32)
        os.close(reading)
        # Not before its end is the new process the guard's to wait for.
        os.waitpid(between, 0)
        return int(answer)
    if pid := os.fork():
        os.write(writing, str(pid).encode())
        os._exit(0)
    os.close(reading)
    os.close(writing)
    connection.close()
    _become(guard, request)
    return None


def _become(guard: int, request: dict[str, Any]) -> None:
    """Make of this process what the guard's own start of a program makes of it."""
    while os.getppid() != guard:
        time.sleep(0.001)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != guard:
        os._exit(1)
    os.setsid()
    os.chdir(request["cwd"])
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = request["argv"]


def main() -> str:
    """Return, in a process that was forked, what is to run; elsewhere it ends with the guard."""
    guard = os.getppid()
    connection = socket.socket(fileno=int(sys.argv[1]))
    importlib.import_module(sys.argv[2])
    waiting = b""
    while data := connection.recv(65536):
        waiting += data
        *lines, waiting = waiting.split(b"\n")
        for line in lines:
            pid = _fork(guard, connection, json.loads(line))
            if pid is None:
                return sys.argv[0]
            connection.sendall(f"{pid}\n".encode())
    os._exit(0)


if __name__ == "__main__":
    runpy.run_module(main(), run_name="__main__", alter_sys=True)
