"""Whether a server speaks: real ones do, and what only takes connections does not count."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.probe import answers
from devcluster import PostgresServer

POLICY = DialPolicy((), 0.5)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(8)
    writer.close()


async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(8)
    writer.write(b"N")
    await writer.drain()
    await reader.read()


SERVERS: dict[str, tuple[Serve, bool]] = {
    "it takes connections and says nothing": (silent, False),
    "it hangs up: a balancer without a server": (hangs_up, False),
    "it speaks": (refuses, True),
}


@pytest.mark.parametrize("case", list(SERVERS))
async def test_what_counts_as_an_answer(case: str) -> None:
    serve, expected = SERVERS[case]
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        assert await answers("127.0.0.1", server.sockets[0].getsockname()[1], POLICY) is expected


async def test_a_port_where_nobody_listens() -> None:
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    assert not await answers("127.0.0.1", port, POLICY)


async def test_a_postgresql_and_a_frozen_one(postgres_server: Callable[..., PostgresServer]) -> None:
    server = postgres_server(16)
    assert await answers(server.host, server.port, POLICY)
    pid = int((server.data_path / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGSTOP)
    try:
        assert not await answers(server.host, server.port, POLICY)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert await answers(server.host, server.port, POLICY)
