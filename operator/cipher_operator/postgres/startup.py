"""The start of one connection, step by step: bounded in what it reads, and with the SQLSTATE of a refusal.

libpq keeps the SQLSTATE of a refused login to itself, except in its most verbose message. psycopg has no name for that
switch; libpq's own is called, in the library that psycopg has loaded.
"""

import asyncio
import ctypes
import functools
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.pq.abc import PGconn

from cipher_operator.core.connection.scram import Keys, Terms
from cipher_operator.postgres.bounded import BoundedConnection, check_input, step
from cipher_operator.postgres.hashing import Broken, LoginWatch, Next, hashed

_PAUSE = 0.01
"""Seconds until the rest of a message that has begun is looked for."""
_DEFAULT, _VERBOSE = 1, 2
"""PGVerbosity in libpq-fe.h."""
# libpq's own line: severity, two spaces, in the verbose form SQLSTATE, then the server's words.
_SAID = re.compile(r"failed: [^\n:]*:  (?:([0-9A-Z]{5}): )?([^\n]*)")
# The last of the verbose form: where in the server's source it is said, in every language the same.
_SAID_IN = re.compile(r"\nLOCATION:  (?:\w+, )?(\w+\.c):\d+$")


class Refused(psycopg.OperationalError):
    """A connection that failed. `code` and `said` are the server's SQLSTATE and words, None and "" without them; `file`
    is the file of its source that says so."""

    def __init__(self, text: str) -> None:
        found = _SAID.search(text)
        self.code: str | None = found[1] if found else None
        self.said: str = found[2] if found else ""
        place = _SAID_IN.search(text.rstrip())
        self.file: str | None = place[1] if place else None
        # The text that everybody knows, as other clients show it.
        super().__init__(text.replace(f":  {self.code}: ", ":  ", 1) if self.code else text)


class Unanswered(psycopg.errors.ConnectionTimeout):
    """The connection stood, and no login came of it in time."""


async def connect(
    keywords: Mapping[str, Any], keys: Keys | None = None, *, taken: Callable[[], None] = lambda: None
) -> tuple[BoundedConnection, Terms | None]:
    """Return a connection in autocommit mode, made with these libpq keywords; None stands for libpq's default.

    With it comes on which terms the server took the password, None where it did not ask for SCRAM. With `keys` libpq
    hashes nothing; the password among the keywords is for a server that asks for it in another way. Raises Refused,
    TooMuch, TooManyRounds, OtherTerms for keys that are made for others, or ProgrammingError for keywords that libpq
    does not know. It has no time limit of its own; `taken` is called once somebody has taken the connection.
    """
    ready = {} if keys is None else {"scram_client_key": keys.client, "scram_server_key": keys.server}
    starting = pq.PGconn.connect_start(make_conninfo(**keywords, **ready).encode())
    try:
        set_verbosity(starting, _VERBOSE)
        try:
            terms = await _drive(starting, keys, taken)
        except Broken as broken:
            raise Refused(f"connection failed: {broken}") from None
        if starting.status != pq.ConnStatus.OK:
            raise Refused(f"connection failed: {starting.get_error_message()}")
    except BaseException:
        starting.finish()
        raise
    set_verbosity(starting, _DEFAULT)
    starting.nonblocking = 1
    connection = BoundedConnection(starting)
    connection.prepare_threshold = None
    await connection.set_autocommit(True)
    return connection, terms


def set_verbosity(connection: Any, verbosity: int) -> None:
    """Call PQsetErrorVerbosity; where it is not to be had, messages stay short and have no SQLSTATE."""
    if (function := _set_error_verbosity()) is not None:
        function(connection.pgconn_ptr, verbosity)


@functools.cache
def _set_error_verbosity() -> Callable[[int | None, int], int] | None:
    """Return libpq's function: a look into a loaded module finds what the libraries export that it is linked to."""
    module = sys.modules[pq.PGconn.__module__]
    try:
        function = ctypes.CDLL(module.__file__).PQsetErrorVerbosity
    except (OSError, AttributeError):
        return None
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_int], ctypes.c_int
    return function


async def _drive(connection: PGconn, keys: Keys | None, taken: Callable[[], None]) -> Terms | None:
    """Let libpq go on until the connection stands or has failed; return the terms that the server named."""
    wanted, watch = pq.PollingStatus.WRITING, LoginWatch(connection, keys)
    ended = connection.status == pq.ConnStatus.BAD
    while not ended:
        if wanted == pq.PollingStatus.READING:
            # Something was sent: to somebody who has taken the connection.
            taken()
        await _ready(connection.socket, wanted)
        check_input(connection.socket)
        match watch.next() if wanted == pq.PollingStatus.READING else Next.READ:
            case Next.WAIT:
                await asyncio.sleep(_PAUSE)
                continue
            case Next.HASH:
                wanted = await hashed(connection)
            case Next.READ:
                wanted = pq.PollingStatus(step(connection.connect_poll))
        ended = wanted in {pq.PollingStatus.OK, pq.PollingStatus.FAILED}
    return watch.terms


async def _ready(descriptor: int, wanted: pq.PollingStatus) -> None:
    """Wait until a socket can be read or written."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    if wanted == pq.PollingStatus.WRITING:
        loop.add_writer(descriptor, ready.set)
        remove = loop.remove_writer
    else:
        loop.add_reader(descriptor, ready.set)
        remove = loop.remove_reader
    try:
        await ready.wait()
    finally:
        # Before the next poll, in which libpq may close the socket.
        remove(descriptor)
