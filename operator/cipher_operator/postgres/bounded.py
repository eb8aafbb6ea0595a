"""How much a server may send, and how long it may take: libpq itself has no limit for either."""

import functools
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import TupleRow

T = TypeVar("T")

MAX_INPUT = 4 * 1024 * 1024
"""Bytes a server may send in one session; the operator's own questions need a few kilobytes."""
MAX_ROOM = 12 * 1024 * 1024
"""Bytes by which one step of libpq may let the process grow. libpq makes room for a whole message when it has read
the length that the message claims, and only the next step fills it: the room is given back before."""

_LINUX = sys.platform == "linux"
_BYTES_RECEIVED = 128
"""Offset of `tcpi_bytes_received`, 64 bits, in Linux' `struct tcp_info`."""
_DATA = 5
"""Field of /proc/self/statm that counts pages of private writable memory (proc_pid_statm(5))."""


class TooMuch(psycopg.OperationalError):
    """The server has sent, or announced, more than a session may take."""

    def __init__(self) -> None:
        super().__init__("the server sent too much")


class Silent(psycopg.OperationalError):
    """The server has not answered in its time."""

    def __init__(self) -> None:
        super().__init__("the server fell silent")


def check_input(descriptor: int) -> None:
    """Raise TooMuch where a connection has received more than MAX_INPUT bytes; never off Linux."""
    if not _LINUX:
        return
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, descriptor)
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED + 8)
    except OSError:
        return
    finally:
        # It is libpq's. A copy of it, for each step of each connection, costs four times as much.
        connection.detach()
    received = int.from_bytes(info[_BYTES_RECEIVED:], sys.byteorder)
    if len(info) == _BYTES_RECEIVED + 8 and received > MAX_INPUT:
        raise TooMuch


def step(work: Callable[[], T]) -> T:
    """Return what one step of libpq returns. Raises TooMuch where it made room for more than MAX_ROOM bytes."""
    if not _LINUX:
        return work()
    before = _private_bytes()
    result = work()
    if _private_bytes() - before > MAX_ROOM:
        raise TooMuch
    return result


def _private_bytes() -> int:
    pages = os.pread(_statm(), 128, 0).split()[_DATA]
    return int(pages) * os.sysconf("SC_PAGESIZE")


@functools.cache
def _statm() -> int:
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)


class BoundedConnection(psycopg.AsyncConnection[TupleRow]):
    """A connection that ends when the server sends more than it may: rows, notices, anything."""

    deadline: float | None = None
    """When, by the monotonic clock, what it is asked must be answered; looked at ten times a second."""

    async def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:  # noqa: ASYNC109 - psycopg's signature
        """Return what the steps return; psycopg calls this for everything it does.

        Raises TooMuch, and closes; Silent after the deadline, with the statement still under way.
        """
        try:
            return await super().wait(self._bounded(gen), interval, timeout)
        except TooMuch:
            self.pgconn.finish()
            raise

    def _bounded(self, steps: PQGen[T]) -> PQGen[T]:
        try:
            wanted = next(steps)
            while True:
                ready = yield wanted
                if self.deadline is not None and time.monotonic() > self.deadline:
                    raise Silent
                check_input(self.pgconn.socket)
                wanted = step(functools.partial(steps.send, ready))
        except StopIteration as end:
            result: T = end.value
        # The last step may be the one that read too much.
        check_input(self.pgconn.socket)
        return result
