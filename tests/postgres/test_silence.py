"""Servers that fall silent, at the login and in mid-session; and what a name with many addresses may cost."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.errors import Attempt, classify
from cipher_operator.postgres.session import Session
from devcluster import FaultProxy, PostgresServer
from support.sessions import POLICY, run

SELECT = sql.SQL("SELECT 1")


@contextlib.contextmanager
def within(least: float, most: float) -> Iterator[None]:
    begin = time.monotonic()
    yield
    assert least <= time.monotonic() - begin < most


async def fallen(session: Session, message: sql.SQL = SELECT, seconds: float = 0.3) -> psycopg.Error:
    with within(seconds, seconds + 1.7), pytest.raises(psycopg.OperationalError) as caught:
        await session.execute(message, seconds=seconds)
    assert session.closed
    failure = classify(caught.value, Attempt("postgres", "postgres"))
    assert failure.reason is Reason.DISCONNECTED
    assert "did not answer" in failure.message
    return caught.value


@pytest.mark.parametrize("mode", ["black-hole", "half-open"])
async def test_a_connection_that_goes_dead_in_mid_session(
    postgres: PostgresServer, admin: AdminConnection, fault_proxy: Callable[..., FaultProxy], mode: str
) -> None:
    proxy = fault_proxy(postgres.port)
    async with await Session.open(replace(admin, port=proxy.port), "postgres", POLICY) as session:
        await session.execute(SELECT, seconds=5)
        proxy.mode = mode  # type: ignore[assignment]
        await fallen(session)


async def test_a_server_that_is_frozen_in_mid_session(postgres_server: Callable[..., PostgresServer]) -> None:
    server = postgres_server()
    admin = _admin(server)
    async with await Session.open(admin, "postgres", POLICY) as session:
        server.freeze()
        await fallen(session)
    server.thaw()


async def test_a_statement_that_takes_too_long_ends_at_the_server_too(
    postgres: PostgresServer, session: Session
) -> None:
    await fallen(session, sql.SQL("SELECT pg_sleep(31.25)"))
    for _ in range(100):
        (count,) = postgres.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(31.25)' AND state = 'active'"
        )
        if count == (0,):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it goes on")


async def test_notices_drop_by_drop_are_no_answer(session: Session) -> None:
    await fallen(session, sql.SQL("DO $$ BEGIN LOOP RAISE WARNING 'x'; PERFORM pg_sleep(0.05); END LOOP; END $$"))


async def test_an_index_may_take_as_long_as_it_takes(session: Session) -> None:
    assert await session.execute(sql.SQL("SELECT pg_sleep(0.5)"), seconds=None) == [[("",)]]


async def test_the_time_of_one_message_is_not_that_of_the_next(session: Session) -> None:
    for _ in range(4):
        await session.execute(sql.SQL("SELECT pg_sleep(0.15)"), seconds=0.4)
    await asyncio.sleep(0.5)
    assert await run(session, "SELECT 1") == [[(1,)]]


async def test_who_cancels_is_told_so_and_the_session_goes_on(session: Session) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await session.execute(sql.SQL("SELECT pg_sleep(20)"), seconds=5)
    assert await run(session, "SELECT 1") == [[(1,)]]


# --- logins ---


def _admin(server: PostgresServer) -> AdminConnection:
    return AdminConnection(server.host, server.port, server.superuser, Password(server.password), None, SSLMode.DISABLE)


@contextlib.asynccontextmanager
async def silent_on(*hosts: str, drops: bool = False) -> AsyncIterator[int]:
    """Listeners that say nothing, or an error without end in drops, on one port of these addresses; gives the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            if drops:
                await reader.read(4096)
                writer.write(b"E" + struct.pack("!I", 20_000))
            while drops and not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
            await reader.read()
        writer.close()

    first = await asyncio.start_server(serve, hosts[0], 0, family=socket.AF_INET)
    port = first.sockets[0].getsockname()[1]
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(first)
        for host in hosts[1:]:
            await stack.enter_async_context(await asyncio.start_server(serve, host, port))
        yield port


def resolved_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    async def resolve(host: str, port: int, policy: DialPolicy) -> tuple[str, ...]:
        return addresses

    monkeypatch.setattr("cipher_operator.postgres.session.resolve", resolve)


QUICK = DialPolicy((), 0.4)


@pytest.mark.parametrize("count", [1, 2, 4])
async def test_silent_addresses_cost_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch, admin: AdminConnection, count: int
) -> None:
    hosts = [f"127.0.0.{number}" for number in range(2, 2 + count)]
    resolved_to(monkeypatch, *hosts)
    async with silent_on(*hosts) as port:
        most = QUICK.connect_timeout * min(count, 2)
        with within(most - 0.1, most + 0.4), pytest.raises(Failure) as caught:
            await Session.open(replace(admin, host="several.example", port=port), "postgres", QUICK)
    assert caught.value.reason is Reason.CONNECT_TIMEOUT


async def test_three_silent_addresses_leave_time_for_the_fourth(
    monkeypatch: pytest.MonkeyPatch, admin: AdminConnection
) -> None:
    hosts = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    resolved_to(monkeypatch, *hosts, "127.0.0.1")
    async with silent_on(*hosts) as port:
        forward = await _forward(port, admin.port)
        async with (
            forward,
            await Session.open(
                replace(admin, host="several.example", port=port), "postgres", DialPolicy((), 1.0)
            ) as session,
        ):
            assert session.connections_made == 1


async def _forward(port: int, target: int) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", target)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, to_server), pump(from_server, writer))

    return await asyncio.start_server(serve, "127.0.0.1", port)


async def test_a_login_that_trickles_is_bounded(admin: AdminConnection) -> None:
    async with silent_on("127.0.0.1", drops=True) as port:
        with within(0.3, 1.2), pytest.raises(Failure) as caught:
            await Session.open(replace(admin, port=port), "postgres", QUICK)
    assert caught.value.reason is Reason.CONNECT_TIMEOUT
