"""Servers that send too much, or what they should not: bounded memory and time, a reason, and no password told."""

import asyncio
import contextlib
import re
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password
from cipher_operator.postgres import bounded
from cipher_operator.postgres import opening as opening_module
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.errors import classify
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from support.sessions import POLICY, error_of


async def test_too_much_input_ends_the_session(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MAX_INPUT", 1_000_000)
    error = await error_of(session, "SELECT repeat('x', 100000) FROM generate_series(1, 100)")
    assert classify(error).reason is Reason.NOT_POSTGRES
    assert session.closed


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "TLS"])
async def test_one_row_of_any_size_costs_little_memory(
    admin: AdminConnection, postgres_server: Callable[..., PostgresServer], certificate_authority: Any, encrypted: bool
) -> None:
    if encrypted:
        server = postgres_server(16, tls=certificate_authority.server())
        password = Password(server.password)
        admin = replace(admin, port=server.port, password=password, ssl_mode=SSLMode.REQUIRE)
    async with await Session.open(admin, "postgres", POLICY) as session:
        before = forget_peak()
        error = await error_of(session, "SELECT repeat('x', 300000000)")
        assert classify(error).reason is Reason.NOT_POSTGRES
        assert session.closed
    assert peak() - before < 40


def forget_peak() -> float:
    """Return the process's memory in MiB, and begin to look for its peak from there (proc_pid_clear_refs(5))."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> float:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


async def test_a_flood_of_notices_ends_the_session(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MAX_INPUT", 1_000_000)
    flood = "DO $$ BEGIN LOOP RAISE WARNING '%', repeat('x', 20000); END LOOP; END $$"
    async with asyncio.timeout(10):
        error = await error_of(session, flood)
    assert classify(error).reason is Reason.NOT_POSTGRES


def packet(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


@contextlib.asynccontextmanager
async def hostile(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.read(4096)
            await talk(reader, writer)  # type: ignore[misc]
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("kind", "body"),
    [(b"S", b"name\0" + b"v" * 20_000 + b"\0"), (b"N", b"SWARNING\0C01007\0M" + b"m" * 20_000 + b"\0\0")],
    ids=["parameters", "notices"],
)
async def test_a_flood_before_the_session_is_bounded(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], kind: bytes, body: bytes
) -> None:
    monkeypatch.setattr(bounded, "MAX_INPUT", 1_000_000)
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(packet(b"R", struct.pack("!I", 0)))
        while sent < 100_000_000:
            writer.write(packet(kind, body))
            sent += len(body)
            await writer.drain()

    async with hostile(talk) as port:
        monkeypatch.setattr(opening_module, "_accepted_methods", lambda admin: "none")
        there = AdminConnection("127.0.0.1", port, "u", Password("p"), None, SSLMode.DISABLE)
        with pytest.raises(Failure) as caught:
            await Session.open(there, "postgres", DialPolicy((), 3.0))
    assert caught.value.reason is Reason.NOT_POSTGRES
    assert sent < 50_000_000
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", [b"N", b"E"], ids=["notice", "error"])
async def test_a_message_that_announces_a_gigabyte_gets_no_room_for_it(
    monkeypatch: pytest.MonkeyPatch, kind: bytes
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(packet(b"R", struct.pack("!I", 0)) + kind + struct.pack("!I", 1_000_000_000) + b"x" * 100_000)
        await reader.read()

    async with hostile(talk) as port:
        monkeypatch.setattr(opening_module, "_accepted_methods", lambda admin: "none")
        there = AdminConnection("127.0.0.1", port, "u", Password("p"), None, SSLMode.DISABLE)
        before = forget_peak()
        with pytest.raises(Failure) as caught:
            await Session.open(there, "postgres", DialPolicy((), 3.0))
    assert caught.value.reason is Reason.NOT_POSTGRES
    assert peak() - before < 10


@pytest.mark.parametrize(
    ("method", "body"),
    [("clear text", struct.pack("!I", 3)), ("MD5", struct.pack("!I", 5) + b"salt"), ("trust", struct.pack("!I", 0))],
    ids=["clear text", "MD5", "trust"],
)
async def test_a_server_that_asks_for_the_password_does_not_get_it(method: str, body: bytes) -> None:
    got = bytearray()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(packet(b"R", body))
        await writer.drain()
        got.extend(await reader.read(4096))

    async with hostile(talk) as port:
        there = AdminConnection("127.0.0.1", port, "u", Password("word-s3cr3t"), None, SSLMode.DISABLE)
        with pytest.raises(Failure) as caught:
            await Session.open(there, "postgres", DialPolicy((), 2.0))
    assert caught.value.reason is Reason.ACCESS_DENIED
    assert bytes(got) in {b"", b"X\0\0\0\x04"}, "no more than a good-bye"


async def test_values_that_are_none_are_an_error_of_the_server() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ready = packet(b"Z", b"I")
        version = packet(b"S", b"server_version\x0016.1\0") + packet(b"S", b"client_encoding\0UTF8\0")
        writer.write(packet(b"R", struct.pack("!I", 0)) + version + packet(b"K", struct.pack("!II", 1, 1)) + ready)
        while await reader.read(4096):
            column = b"n\0" + struct.pack("!IHIhih", 0, 0, 23, 4, -1, 0)
            row = packet(b"T", struct.pack("!H", 1) + column) + packet(b"D", struct.pack("!HI", 1, 3) + b"abc")
            writer.write(row + packet(b"C", b"SELECT 1\0") + ready)
            await writer.drain()

    async with hostile(talk) as port:
        there = AdminConnection("127.0.0.1", port, "u", Password("p"), None, SSLMode.DISABLE, require_auth="none")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(opening_module, "_accepted_methods", lambda admin: "none")
            session = await Session.open(there, "postgres", POLICY)
        async with session:
            error = await error_of(session, "SELECT 1")
        assert isinstance(error, psycopg.DataError)
        assert classify(error).reason is Reason.UNKNOWN
