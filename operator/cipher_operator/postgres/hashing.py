"""How often a server may have a password hashed: seen before libpq does it, which it does in one go, however long.

SCRAM lets the server name the number of rounds (RFC 5802), up to two thousand million, and psycopg holds the
interpreter's lock meanwhile. So what a server says during the login is looked at while libpq has not read it yet: in
the socket, or in OpenSSL's buffer of the connection.
"""

import asyncio
import contextlib
import ctypes
import functools
import re
import select
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from typing import Any

import psycopg
from psycopg import pq
from psycopg.pq.abc import PGconn

from cipher_operator.core.connection.password import Password
from cipher_operator.core.connection.scram import Keys, Terms, derive, read_terms

MAX_ROUNDS = 1_000_000
"""About 4 s of CPU time. PostgreSQL's own default is 4096 (`scram_iterations`), the highest advice in use 600000."""
FEW_ROUNDS = 10_000
"""Up to here it takes milliseconds; more are hashed in a thread, without the interpreter's lock."""

_THREADS = ThreadPoolExecutor(2, "hashing")
_PAUSE = 0.02
_RECORD = 16_384
"""Bytes that one record of TLS holds at most, and one read of libpq takes."""
_HEADER = 5
_LONGEST = 2_000
"""Bytes of a login message that libpq takes at most (fe-connect.c)."""
_OK, _CONTINUE = 0, 11
"""AuthenticationOk and AuthenticationSASLContinue."""
_LONGEST_ERROR = 30_000
"""The same of an error."""
_ROUNDS = re.compile(rb",i=\s*[+-]?0*(\d+)")
"""The number as strtol reads it."""
_WANT, _BROKEN = {2, 3}, 1
"""SSL_ERROR_WANT_READ and WANT_WRITE, SSL_ERROR_SSL."""


class TooManyRounds(psycopg.OperationalError):
    """The server asks for more rounds than a login may take."""

    def __init__(self) -> None:
        super().__init__("the server asks for too many rounds of hashing")


class OtherTerms(Exception):
    """The server has the password hashed in another way than the keys were made in. Nothing was proven to it yet."""


class Next(Enum):
    """What libpq may do now: read, read and hash for long, or wait for more to arrive."""

    READ = auto()
    HASH = auto()
    WAIT = auto()


class Broken(Exception):
    """TLS ended with an error, which only the first to read is told. The text is as libpq words it."""


class LoginWatch:
    """Looks at what a server says until the login has succeeded or failed.

    `terms` are those that it named, None where it named none or they could not be seen. `keys` are what libpq has.
    """

    def __init__(self, connection: PGconn, keys: Keys | None = None) -> None:
        self._connection, self._keys = connection, keys
        self.terms: Terms | None = None
        self._kept = b""
        self._begun = self._over = False

    def next(self) -> Next:
        """Return what may happen now that something arrived. Raises TooManyRounds, OtherTerms, and Broken."""
        connection = self._connection
        if self._over or connection.status != pq.ConnStatus.AWAITING_RESPONSE:
            return Next.READ
        if not connection.ssl_in_use:
            ended, seen = _in_socket(connection.socket)
            # More may arrive while libpq reads: it is given whole messages only.
            return self._judged(seen, whole=not ended)
        read = _in_tls(connection)
        if read is None:
            return Next.READ
        return self._judged(read, whole=False) if read else Next.WAIT

    def _judged(self, seen: bytes, *, whole: bool) -> Next:
        view, verdict = self._kept + seen, Next.READ
        if any(_number(found) > MAX_ROUNDS for found in _ROUNDS.findall(view)):
            raise TooManyRounds
        at = 0
        while len(view) - at >= _HEADER:
            kind, length = view[at : at + 1], int.from_bytes(view[at + 1 : at + _HEADER], "big")
            if kind not in b"Rv" or length > _LONGEST:
                # With that, libpq ends the login; unless it is in the midst of a message, of which it has read the
                # begin that came behind another.
                if self._begun and (kind != b"E" or length > _LONGEST_ERROR):
                    raise TooManyRounds
                self._over = True
                return verdict
            end = at + 1 + length
            if end > len(view):
                break
            code = int.from_bytes(view[at + _HEADER : at + _HEADER + 4], "big")
            self._over = kind == b"R" and code == _OK
            if self._over:
                return verdict
            if code == _CONTINUE and self._hashes_long(view[at + _HEADER + 4 : end]):
                verdict = Next.HASH
            at, self._begun = end, True
        if at < len(view) and whole:
            return Next.WAIT
        self._kept = view[at:]
        return verdict

    def _hashes_long(self, challenge: bytes) -> bool:
        self.terms = read_terms(challenge)
        if self._keys is not None:
            if self.terms != self._keys.terms:
                raise OtherTerms
            return False
        rounds = _ROUNDS.search(challenge)
        return rounds is not None and _number(rounds[1]) > FEW_ROUNDS


async def derived(password: Password, terms: Terms) -> Keys:
    """Return the keys of a password that may be derived; of many rounds in a thread."""
    if terms.rounds <= FEW_ROUNDS:
        return derive(password, terms)
    return await asyncio.get_running_loop().run_in_executor(_THREADS, derive, password, terms)


async def hashed(connection: Any) -> pq.PollingStatus:
    """Return what PQconnectPoll says, run in a thread without the interpreter's lock.

    It is waited for even where the caller is cancelled: the connection must not end under it.
    """
    poll = _library().PQconnectPoll
    work = _THREADS.submit(poll, ctypes.c_void_p(connection.pgconn_ptr))
    try:
        return pq.PollingStatus(await asyncio.shield(asyncio.wrap_future(work)))
    finally:
        while not (work.done() or work.cancel()):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(_PAUSE)


def _number(digits: bytes) -> int:
    """Return a number, or one that is too high for what has more digits than any that is not."""
    return int(digits) if len(digits) <= len(str(MAX_ROUNDS)) else MAX_ROUNDS + 1


def _in_socket(descriptor: int) -> tuple[bool, bytes]:
    """Return whether the server has said its last, and what waits to be read."""
    with socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) as connection:
        asked = select.poll()
        asked.register(connection, getattr(select, "POLLRDHUP", 0))
        ended = bool(asked.poll(0))
        try:
            seen = connection.recv(4 * _RECORD, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return True, b""
    return ended or not seen, seen


def _in_tls(connection: Any) -> bytes | None:
    """Return what one read of libpq will give, b"" where that is nothing yet; None where it cannot be seen."""
    library = _library()
    ssl = library.PQgetssl(ctypes.c_void_p(connection.pgconn_ptr)) if library is not None else None
    if not ssl:
        return None
    buffer = ctypes.create_string_buffer(_RECORD)
    library.ERR_clear_error()
    read = library.SSL_peek(ctypes.c_void_p(ssl), buffer, _RECORD)
    if read > 0:
        return buffer.raw[:read]
    why = library.SSL_get_error(ctypes.c_void_p(ssl), read)
    if why in _WANT:
        return b""
    if why == _BROKEN and (words := library.ERR_reason_error_string(library.ERR_peek_error())):
        raise Broken(f"SSL error: {words.decode(errors='replace')}")
    return None


@functools.cache
def _library() -> Any:
    """Return the functions of the libpq and the OpenSSL that psycopg has loaded; None where they are not to be had: a
    look into a loaded module finds what the libraries export that it is linked to."""
    try:
        library = ctypes.CDLL(sys.modules[pq.PGconn.__module__].__file__)
        for name in ("PQconnectPoll", "PQgetssl", "SSL_peek", "SSL_get_error", "ERR_clear_error"):
            getattr(library, name)
        library.PQgetssl.restype = ctypes.c_void_p
        library.ERR_peek_error.restype = ctypes.c_ulong
        library.ERR_reason_error_string.argtypes = [ctypes.c_ulong]
        library.ERR_reason_error_string.restype = ctypes.c_char_p
    except (OSError, AttributeError):
        return None
    return library
