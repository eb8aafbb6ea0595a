"""A proxy that speaks PostgreSQL's protocol: it reads how a connection starts, and may answer or change what passes."""

import asyncio
import contextlib
import ssl
import struct
import threading
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from devcluster import PostgresServer
from devcluster.tls import TlsFixture

T = TypeVar("T")

_SSL_REQUEST, _GSS_REQUEST, _CANCEL_REQUEST = 80877103, 80877104, 80877102
SSL_REQUEST = struct.pack("!II", 8, _SSL_REQUEST)
_CHUNK = 65536


class WireProxy:
    """Stands on a free port of 127.0.0.1 before a server, from enter to exit, in a thread with its own event loop.

    With `tls` it takes TLS and ends it: the server sees plain connections, and PostgreSQL's SCRAM, which does not bind
    the name in the start-up message, passes unchanged. With `onward` it begins TLS anew towards the server, as proxies
    with a certificate of their own do.
    """

    address = "127.0.0.1"

    def __init__(self, server: PostgresServer, tls: TlsFixture | None = None, *, onward: bool = False) -> None:
        self.server, self._onward = server, onward
        self.port = 0
        self._context: ssl.SSLContext | None = None
        if tls is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(tls.certificate, tls.key)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire-proxy", daemon=True)
        self._open: set[asyncio.Task[None]] = set()

    def admit(self, parameters: dict[str, str], *, encrypted: bool) -> dict[str, str] | bytes:
        """Return the start-up parameters for the server, or the message that ends the connection."""
        return parameters

    async def challenge(
        self, parameters: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | None:
        """Ask an admitted client for more, before the server is reached; return the message that ends it, or None."""
        return None

    async def reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection to the server, before the first packet."""
        return await asyncio.open_connection(self.server.host, self.server.port)

    async def ask(
        self, reader: asyncio.StreamReader, ahead: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> None:
        """Pass on what the client says, until it ends; what is written to `writer` is an answer of the proxy's own."""
        await _pass_on(reader, ahead)

    async def answer(self, behind: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what the server says, until it ends."""
        await _pass_on(behind, writer)

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening = self._run(asyncio.start_server(self._serve, self.address, 0))
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _end(self) -> None:
        self._listening.close()
        for each in self._open:
            each.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._talk(reader, writer)
        finally:
            self._open.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        code, packet = await _first_packet(reader)
        encrypted = False
        while code in {_SSL_REQUEST, _GSS_REQUEST}:
            taken = code == _SSL_REQUEST and self._context is not None
            writer.write(b"S" if taken else b"N")
            await writer.drain()
            if taken and self._context is not None:
                await writer.start_tls(self._context)
                encrypted = True
            code, packet = await _first_packet(reader)
        if code != _CANCEL_REQUEST:
            admitted = self.admit(_parameters(packet), encrypted=encrypted)
            refused = admitted if isinstance(admitted, bytes) else await self.challenge(admitted, reader, writer)
            if isinstance(admitted, bytes) or refused is not None:
                writer.write(refused or b"")
                await writer.drain()
                return
            packet = _startup(code, admitted)
        behind, ahead = await self.reach()
        if self._onward:
            await _begin_tls(behind, ahead)
        ahead.write(packet)
        passing = [
            asyncio.create_task(self.ask(reader, ahead, writer)),
            asyncio.create_task(self.answer(behind, writer)),
        ]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in passing:
                each.cancel()
            await asyncio.gather(*passing, return_exceptions=True)
            ahead.close()


def error_message(fields: Mapping[str, str], kind: bytes = b"E") -> bytes:
    """Return an ErrorResponse (or, for `N`, a notice) with these fields, by their one-letter codes."""
    return message(kind, b"".join(f"{code}{text}\0".encode() for code, text in fields.items()) + b"\0")


def message(kind: bytes, body: bytes) -> bytes:
    """Return one message of the protocol."""
    return kind + struct.pack("!I", len(body) + 4) + body


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the next message's kind and body. Raises IncompleteReadError at the end."""
    head = await reader.readexactly(5)
    return head[:1], await reader.readexactly(int.from_bytes(head[1:]) - 4)


async def _first_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    length, code = struct.unpack("!II", await reader.readexactly(8))
    return code, struct.pack("!II", length, code) + await reader.readexactly(length - 8)


async def _begin_tls(behind: asyncio.StreamReader, ahead: asyncio.StreamWriter) -> None:
    ahead.write(struct.pack("!II", 8, _SSL_REQUEST))
    await ahead.drain()
    assert await behind.readexactly(1) == b"S"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    await ahead.start_tls(context)


def _parameters(packet: bytes) -> dict[str, str]:
    words = packet[8:].rstrip(b"\0").decode().split("\0")
    return dict(zip(words[::2], words[1::2], strict=True))


def _startup(code: int, parameters: Mapping[str, str]) -> bytes:
    body = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items()) + b"\0"
    return struct.pack("!II", len(body) + 8, code) + body


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
