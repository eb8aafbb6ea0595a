"""A stand-in for errors that a test cannot make a server say: a proxy that says them for it, in a real session."""

import asyncio
import contextlib
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from devcluster import PostgresServer

_CHUNK = 65536


@dataclass(frozen=True)
class Injected:
    """An error. `instead_of` is part of the query that it answers, None for the start of a connection.

    `fatal` ends the connection after it, as a server does.
    """

    code: str
    text: str
    instead_of: bytes | None
    fatal: bool = False

    def message(self) -> bytes:
        severity = "FATAL" if self.fatal else "ERROR"
        body = f"S{severity}\0V{severity}\0C{self.code}\0M{self.text}\0\0".encode()
        return b"E" + struct.pack("!I", len(body) + 4) + body


class ErrorProxy:
    """On a free port of 127.0.0.1 before a server, for plaintext sessions. `error` may be changed at any time."""

    def __init__(self, server: PostgresServer) -> None:
        self.error: Injected | None = None
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="error-proxy", daemon=True)

    def __enter__(self) -> "ErrorProxy":
        self._thread.start()
        self._listening = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._listening.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _end(self) -> None:
        self._listening.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._talk(reader, writer)
        writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = await reader.readexactly(4)
        startup = length + await reader.readexactly(int.from_bytes(length) - 4)
        if self.error is not None and self.error.instead_of is None:
            writer.write(self.error.message())
            await writer.drain()
            return
        behind, ahead = await asyncio.open_connection(self._server.host, self._server.port)
        ahead.write(startup)
        answers = asyncio.create_task(_pass_on(behind, writer))
        try:
            while await self._forward(reader, ahead, writer):
                pass
        finally:
            answers.cancel()
            ahead.close()

    async def _forward(
        self, reader: asyncio.StreamReader, ahead: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> bool:
        """Pass on one message of the client, or answer it; return whether the connection goes on."""
        head = await reader.readexactly(5)
        body = await reader.readexactly(int.from_bytes(head[1:]) - 4)
        error = self.error
        if error is None or error.instead_of is None or head[:1] != b"Q" or error.instead_of not in body:
            ahead.write(head + body)
            await ahead.drain()
            return True
        # A simple query that failed is over, and its transaction rolled back: idle.
        writer.write(error.message() + (b"" if error.fatal else b"Z" + struct.pack("!I", 5) + b"I"))
        await writer.drain()
        return not error.fatal


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    writer.close()
