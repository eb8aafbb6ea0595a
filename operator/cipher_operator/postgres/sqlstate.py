"""The SQLSTATE of a refused connection, which libpq keeps to itself: for servers that do not speak English."""

import asyncio
import hashlib
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.pq.abc import PGconn

from cipher_operator.postgres.bounded import check_input, step

MAX_PROBE_INPUT = 64 * 1024
"""Bytes a server may send to a probe, TLS included, and bytes of its trace; libpq takes no longer error than 30 000."""
MAX_PROBES = 2_000
"""In the life of a process: each leaves a C stream of 5 kB behind, which psycopg opens and nobody can close."""
MAX_LEARNT = 500
"""Texts whose SQLSTATE is remembered, the oldest forgotten first: a login that goes on failing is probed once."""

_CODE = re.compile(rb'^[^\n"]*\bErrorResponse\b[^\n]*? C "([0-9A-Z]{5})"', re.MULTILINE)
_learnt: dict[bytes, str | None] = {}
_probes = 0


async def learn_sqlstate(error: psycopg.Error, keywords: Mapping[str, Any], seconds: float) -> str | None:
    """Return the SQLSTATE behind an error while connecting, or None where it cannot be had.

    A text not met before costs one more connection with the same libpq keywords, of `seconds` at most.
    """
    global _probes  # noqa: PLW0603 - what is counted is the process's memory
    text = str(error)
    key = hashlib.blake2b(text.encode(errors="replace"), digest_size=16).digest()
    if key in _learnt:
        return _learnt[key]
    if sys.platform != "linux" or _probes >= MAX_PROBES:
        return None
    _probes += 1
    try:
        async with asyncio.timeout(seconds):
            said, code = await _probe(make_conninfo(**keywords).encode())
    except (psycopg.Error, OSError):
        return None
    # Another failure than the first is the server's state now, but says nothing of the text.
    if said and said in text:
        while len(_learnt) >= MAX_LEARNT:
            del _learnt[next(iter(_learnt))]
        _learnt[key] = code
    return code


async def _probe(conninfo: bytes) -> tuple[str, str | None]:
    """Return libpq's text, empty where the connection succeeded, and the SQLSTATE in the trace."""
    # The trace may hold a password in clear: it is in no file, has no name, and goes nowhere but through _CODE.
    # Nothing may make a write to it fail (a seal, a pipe that is full): libpq would then write it again for ever.
    trace = os.memfd_create("trace", os.MFD_CLOEXEC)
    try:
        connection = pq.PGconn.connect_start(conninfo)
        try:
            connection.trace(trace)
            await _connect(connection, trace)
            said = "" if connection.status == pq.ConnStatus.OK else connection.get_error_message().strip()
        finally:
            # Flushes: what stayed in the stream would go, at the end of the process, to whoever has the number then.
            connection.untrace()
            connection.finish()
        code = _CODE.search(os.pread(trace, MAX_PROBE_INPUT, 0))
    finally:
        os.close(trace)
    return said, code[1].decode() if code else None


async def _connect(connection: PGconn, trace: int) -> None:
    """Drive a started connection until it stands or has failed, or its trace is long enough."""
    wanted = pq.PollingStatus.WRITING
    ended = connection.status == pq.ConnStatus.BAD
    while not ended:
        await _ready(connection.socket, wanted)
        check_input(connection.socket, MAX_PROBE_INPUT)
        wanted = pq.PollingStatus(step(connection.connect_poll))
        ended = wanted in {pq.PollingStatus.OK, pq.PollingStatus.FAILED}
        ended = ended or os.fstat(trace).st_size > MAX_PROBE_INPUT


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
