"""Whether a server speaks: real ones do, and what only takes connections does not count."""

import asyncio
import contextlib
import os
import signal
import ssl
from collections.abc import Awaitable, Callable

import pytest

from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.probe import answers
from devcluster import PostgresServer
from devcluster.longrun import SetupError
from devcluster.tls import CertificateAuthority
from support.poolers import Pooler

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


async def greets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a mail server: it is up, and a session says that it is no PostgreSQL."""
    writer.write(b"220 mail ESMTP\r\n")
    await writer.drain()
    await reader.read()


SERVERS: dict[str, tuple[Serve, bool]] = {
    "it takes connections and says nothing": (silent, False),
    "it hangs up: a balancer without a server": (hangs_up, False),
    "it speaks": (refuses, True),
    "it speaks another language": (greets, True),
}


@pytest.mark.parametrize("case", list(SERVERS))
async def test_what_counts_as_an_answer(case: str) -> None:
    serve, expected = SERVERS[case]
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        assert await answers("127.0.0.1", server.sockets[0].getsockname()[1], POLICY) is expected


@pytest.mark.parametrize("host", ["127.0.0.1", f"0x{'0' * 70}7f000001"], ids=["an address", "one TLS has no form for"])
async def test_what_hangs_up_is_no_answer_whatever_it_is_called(host: str) -> None:
    server = await asyncio.start_server(hangs_up, "127.0.0.1", 0)
    async with server:
        assert not await answers(host, server.sockets[0].getsockname()[1], POLICY)


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


@pytest.fixture
def direct(certificate_authority: CertificateAuthority) -> ssl.SSLContext:
    """A balancer that ends TLS and knows no SSLRequest: what `sslnegotiation=direct` is for."""
    made = certificate_authority.server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    context.set_alpn_protocols(["postgresql"])
    return context


async def test_a_server_that_only_takes_direct_tls(direct: ssl.SSLContext) -> None:
    server = await asyncio.start_server(silent, "127.0.0.1", 0, ssl=direct)
    async with server:
        assert await answers("127.0.0.1", server.sockets[0].getsockname()[1], POLICY)


async def test_a_server_with_tls(
    postgres_server: Callable[..., PostgresServer], certificate_authority: CertificateAuthority
) -> None:
    server = postgres_server(tls=certificate_authority.server())
    assert await answers(server.host, server.port, POLICY)


async def test_a_pooler(postgres: PostgresServer) -> None:
    try:
        pooler = Pooler(postgres, "transaction").__enter__()
    except SetupError as error:
        pytest.skip(str(error))
    try:
        assert await answers(pooler.host, pooler.port, POLICY)
    finally:
        pooler.__exit__(None, None, None)


async def test_silent_addresses_share_one_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    async def four(host: str, port: int, policy: DialPolicy) -> tuple[str, ...]:
        return tuple(f"127.0.0.{number}" for number in range(1, 5))

    monkeypatch.setattr("cipher_operator.postgres.probe.resolve", four)
    server = await asyncio.start_server(silent, "0.0.0.0", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        begin = asyncio.get_running_loop().time()
        assert not await answers("several.example", port, POLICY)
        assert asyncio.get_running_loop().time() - begin < 2 * POLICY.connect_timeout


async def test_one_of_several_addresses_is_enough(monkeypatch: pytest.MonkeyPatch, postgres: PostgresServer) -> None:
    async def dead_and_alive(host: str, port: int, policy: DialPolicy) -> tuple[str, ...]:
        return ("127.0.0.2", postgres.host)

    monkeypatch.setattr("cipher_operator.postgres.probe.resolve", dead_and_alive)
    assert await answers("several.example", postgres.port, POLICY)


async def test_a_probe_leaves_nothing_open() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            assert not await answers("127.0.0.1", server.sockets[0].getsockname()[1], DialPolicy((), 0.05))
        await asyncio.sleep(0.05)
        assert len(os.listdir("/proc/self/fd")) <= before
