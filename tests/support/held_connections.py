"""How many connections a process holds to a server at once, as the kernel has them.

The server's log tells the end of a session later than its client does, by as much as the machine is busy.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_ESTABLISHED = "01"
_PAUSE_SECONDS = 0.005


@dataclass
class Most:
    """The most connections that were seen at once."""

    connections: int = 0


@contextmanager
def most_held(pid: int, port: int) -> Iterator[Most]:
    """Look at the sockets of a process every 5 ms; the result is whole when the block ends."""
    most, ended = Most(), threading.Event()

    def look() -> None:
        while not ended.wait(_PAUSE_SECONDS):
            most.connections = max(most.connections, _held(pid, port))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield most
    finally:
        ended.set()
        looking.join()


def _held(pid: int, port: int) -> int:
    """Return how many sockets of a process are connected to a port of 127.0.0.1 (proc_pid_net(5), tcp)."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    remote = f"0100007F:{port:04X}"
    inodes = {line[9] for line in lines if line[2] == remote and line[3] == _ESTABLISHED}
    return len(inodes & _sockets(pid))


def _sockets(pid: int) -> set[str]:
    found = set()
    for descriptor in os.scandir(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(descriptor.path)
        except FileNotFoundError:
            continue
        if link.startswith("socket:["):
            found.add(link[len("socket:[") : -1])
    return found
