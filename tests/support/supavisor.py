"""Supabase's shared pooler as it looks to clients: TLS, logins spelt `<role>.<project ref>`, and its refusals.

It stands before a real server, to which it passes everything on, the proof of the password included: PostgreSQL's SCRAM
does not bind the name in the start-up message. Texts and codes are those of Supavisor's own sources.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

import pytest

from devcluster import PostgresServer
from devcluster.tls import TlsFixture

T = TypeVar("T")

_SSL_REQUEST, _GSS_REQUEST, _CANCEL_REQUEST = 80877103, 80877104, 80877102
_CHUNK = 65536


class Supavisor:
    """A pooler for one project; runs from enter to exit. `logins` are the users that clients have named, in order."""

    host = "aws-0-eu-central-1.pooler.supabase.com"

    def __init__(self, server: PostgresServer, ref: str, tls: TlsFixture) -> None:
        self.ref = ref
        self.port = 0
        self.logins: list[str] = []
        self._server = server
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(tls.certificate, tls.key)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="supavisor", daemon=True)
        self._open: set[asyncio.Task[None]] = set()

    @property
    def direct_host(self) -> str:
        """The project's own host, which leads to the server itself."""
        return f"db.{self.ref}.supabase.co"

    def __enter__(self) -> "Supavisor":
        self._thread.start()
        listening = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = listening.sockets[0].getsockname()[1]
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
            writer.write(b"S" if code == _SSL_REQUEST else b"N")
            await writer.drain()
            if code == _SSL_REQUEST:
                await writer.start_tls(self._context)
                encrypted = True
            code, packet = await _first_packet(reader)
        if code != _CANCEL_REQUEST:
            parameters = _parameters(packet)
            login = parameters["user"]
            self.logins.append(login)
            role, _, ref = login.rpartition(".")
            if refusal := self._refusal(role, ref, encrypted=encrypted):
                writer.write(refusal)
                await writer.drain()
                return
            packet = _startup(code, parameters | {"user": role})
        behind, ahead = await asyncio.open_connection(self._server.host, self._server.port)
        ahead.write(packet)
        passing = [asyncio.create_task(_pass_on(reader, ahead)), asyncio.create_task(_pass_on(behind, writer))]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in passing:
                each.cancel()
            ahead.close()

    def _refusal(self, role: str, ref: str, *, encrypted: bool) -> bytes | None:
        if not role:
            return _fatal(
                "XX000", "(ENOIDENTIFIER) no tenant identifier provided (external_id or sni_hostname required)"
            )
        if ref != self.ref:
            return _fatal("XX000", f"(ENOTFOUND) tenant/user {role}.{ref} not found")
        if not encrypted:
            return _fatal("XX000", f"(ESSLREQUIRED) SSL connection is required for user: {role}")
        return None


def resolve_to_loopback(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Let these names lead to 127.0.0.1 in this process, for whoever asks Python: no DNS is at hand for a test."""
    real: Callable[..., Any] = socket.getaddrinfo
    known = {host.encode() for host in hosts}

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.encode() if isinstance(host, str) else host
        if name not in known:
            return real(host, *args, **kwargs)
        if kwargs.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        return real("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


async def _first_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    length, code = struct.unpack("!II", await reader.readexactly(8))
    return code, struct.pack("!II", length, code) + await reader.readexactly(length - 8)


def _parameters(packet: bytes) -> dict[str, str]:
    words = packet[8:].rstrip(b"\0").decode().split("\0")
    return dict(zip(words[::2], words[1::2], strict=True))


def _startup(code: int, parameters: dict[str, str]) -> bytes:
    body = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items()) + b"\0"
    return struct.pack("!II", len(body) + 8, code) + body


def _fatal(code: str, text: str) -> bytes:
    body = f"SFATAL\0VFATAL\0C{code}\0M{text}\0\0".encode()
    return b"E" + struct.pack("!I", len(body) + 4) + body


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
