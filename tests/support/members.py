"""Members of one cluster behind one name and one port: each address leads to one of them (Patroni, repmgr)."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from devcluster import PostgresServer
from support.runs import Runs
from support.wire import error_message

NAME = "cluster.example"
_STARTING = error_message({"S": "FATAL", "V": "FATAL", "C": "57P03", "M": "the database system is starting up"})
_REFUSED = error_message({"S": "FATAL", "V": "FATAL", "C": "28P01", "M": "password authentication failed"})


@dataclass
class Members:
    """The members of a cluster behind one port: each address leads to one of them."""

    primary: PostgresServer
    standby: PostgresServer

    @contextlib.asynccontextmanager
    async def behind(self, *kinds: str) -> AsyncIterator[tuple[int, tuple[str, ...]]]:
        """Give the port and the addresses, in the order of the kinds: primary, standby, starting,
        refusing, silent, away."""
        addresses = tuple(f"127.0.0.{number}" for number in range(2, 2 + len(kinds)))
        port = 0
        async with contextlib.AsyncExitStack() as stack:
            for kind, address in zip(kinds, addresses, strict=True):
                if kind == "away":
                    continue
                server = await asyncio.start_server(getattr(self, f"_{kind}"), address, port)
                await stack.enter_async_context(server)
                port = server.sockets[0].getsockname()[1]
            yield port, addresses

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Keep the standby from learning what the primary does meanwhile."""
        self.standby.execute("SELECT pg_wal_replay_pause()")
        try:
            yield
        finally:
            self.standby.execute("SELECT pg_wal_replay_resume()")

    async def level(self) -> None:
        """Wait until the standby has what the primary has written so far. Raises TimeoutError after 30 s."""
        written = self.primary.execute("SELECT pg_current_wal_lsn()")[0][0]
        async with asyncio.timeout(30.0):
            while not self.standby.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (written,))[0][0]:
                await asyncio.sleep(0.02)

    async def _primary(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _pass_on(self.primary, reader, writer)

    async def _standby(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _pass_on(self.standby, reader, writer)

    async def _starting(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(_STARTING)
        writer.close()

    async def _refusing(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(_REFUSED)
        writer.close()

    async def _silent(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()


async def _pass_on(server: PostgresServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    behind, ahead = await asyncio.open_connection(server.host, server.port)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
        sink.close()

    await asyncio.gather(pump(reader, ahead), pump(behind, writer))


def resolve_to(monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]) -> None:
    """Have NAME lead to these addresses."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in {NAME, NAME.encode()}:
            return real(host, *args, **kwargs)
        if kwargs.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        return [found for address in addresses for found in real(address, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def administered_at(runs: Runs, port: int, attrs: str | None) -> None:
    """Have the connection Secret lead to NAME."""
    query = {} if attrs is None else {"target_session_attrs": attrs}
    url = runs.server.admin_url(sslmode="disable", **query)
    runs.api.secret(
        "pg-admin", {"CIPHER_PG_URL": url.replace(f"{runs.server.host}:{runs.server.port}", f"{NAME}:{port}")}
    )
