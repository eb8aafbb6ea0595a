"""Every way a connection can fail, produced by real servers, and the reason it gets."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import pytest
from psycopg import sql

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password
from cipher_operator.postgres.dial import DialPolicy, parse_blocked_ranges
from cipher_operator.postgres.session import Session
from devcluster import FaultProxy, PostgresServer

POLICY = DialPolicy((), 5.0)
WORD = "word-s3cr3t"
AUTH = Reason.AUTHENTICATION_FAILED
QUICK = DialPolicy((), 0.5)
ROLES = """
CREATE ROLE fail_nologin NOLOGIN PASSWORD 'word-s3cr3t';
CREATE ROLE fail_plain LOGIN PASSWORD 'word-s3cr3t';
CREATE ROLE fail_limited LOGIN PASSWORD 'word-s3cr3t' CONNECTION LIMIT 0;
CREATE ROLE fail_expired LOGIN PASSWORD 'word-s3cr3t' VALID UNTIL '2001-01-01';
CREATE ROLE fail_no_password LOGIN;
"""
HBA = """
host all fail_rejected 127.0.0.1/32 reject
hostssl all fail_tls_only 127.0.0.1/32 scram-sha-256
host all fail_trusted 127.0.0.1/32 trust
host all fail_clear 127.0.0.1/32 password
host all fail_md5 127.0.0.1/32 md5
host nowhere fail_unlisted 127.0.0.1/32 scram-sha-256
host all postgres,fail_nologin,fail_plain,fail_limited 127.0.0.1/32 scram-sha-256
host all fail_expired,fail_no_password,fail_unknown 127.0.0.1/32 scram-sha-256
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(hba=HBA) as server:
        for statement in ROLES.strip().splitlines():
            server.execute(statement)
        server.execute("SET password_encryption = 'md5'; CREATE ROLE fail_md5 LOGIN PASSWORD 'word-s3cr3t'")
        server.execute("CREATE ROLE fail_clear LOGIN PASSWORD 'word-s3cr3t'; CREATE ROLE fail_trusted LOGIN")
        server.execute("CREATE DATABASE fail_closed ALLOW_CONNECTIONS false")
        server.execute("CREATE DATABASE fail_private")
        server.execute("REVOKE CONNECT ON DATABASE fail_private FROM PUBLIC")
        yield server


def admin(server: PostgresServer, user: str | None = None, password: str = WORD) -> AdminConnection:
    word = server.password if user is None else password
    return AdminConnection(server.host, server.port, user or server.superuser, Password(word), None, SSLMode.DISABLE)


async def failure_of(admin: AdminConnection, database: str = "postgres", policy: DialPolicy = POLICY) -> Failure:
    with pytest.raises(Failure) as caught:
        session = await Session.open(admin, database, policy)
        await session.close()
    failure = caught.value
    assert failure.stage is ConditionType.CONNECTED
    for secret in (admin.host, str(admin.port), admin.password.reveal()):
        assert secret not in failure.message
    assert failure.__cause__ is None
    assert failure.__context__ is None, "a traceback would show libpq's text with the address"
    return failure


# reason for the row, login, password, database, expected reason, SQLSTATE, part of the message
LOGINS = [
    ("wrong password", "postgres", "wrong-s3cr3t", "postgres", AUTH, "28P01", "`postgres`"),
    ("unknown user", "fail_unknown", WORD, "postgres", AUTH, "28P01", "`fail_unknown`"),
    ("expired", "fail_expired", WORD, "postgres", AUTH, "28P01", "connection Secret"),
    ("no password set", "fail_no_password", WORD, "postgres", AUTH, "28P01", "refused"),
    ("NOLOGIN", "fail_nologin", WORD, "postgres", Reason.ACCESS_DENIED, "28000", 'ALTER ROLE "fail_nologin" LOGIN'),
    ("hba reject", "fail_rejected", WORD, "postgres", Reason.TLS_REQUIRED, "28000", "TLS"),
    ("hba has no line", "fail_nobody", WORD, "postgres", Reason.TLS_REQUIRED, "28000", "sslMode: require"),
    ("hba hostssl", "fail_tls_only", WORD, "postgres", Reason.TLS_REQUIRED, "28000", "sslMode: require"),
    ("trust", "fail_trusted", WORD, "postgres", Reason.ACCESS_DENIED, None, "trust"),
    ("clear text", "fail_clear", WORD, "postgres", Reason.ACCESS_DENIED, None, "plain text"),
    ("md5 not asked for", "fail_md5", WORD, "postgres", Reason.ACCESS_DENIED, None, "require_auth=md5"),
    ("role limit", "fail_limited", WORD, "postgres", Reason.TOO_MANY_CONNECTIONS, "53300", "limit"),
    ("no database", "fail_plain", WORD, "absent", Reason.DATABASE_MISSING, "3D000", "`absent` does not exist"),
    ("no CONNECT", "fail_plain", WORD, "fail_private", Reason.INSUFFICIENT_PRIVILEGE, "42501",
     'GRANT CONNECT ON DATABASE "fail_private" TO "fail_plain";'),
    ("closed database", "fail_plain", WORD, "fail_closed", Reason.SERVER_NOT_READY, "55000", "ALLOW_CONN"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("login", "word", "database", "reason", "sqlstate", "said"),
    [row[1:] for row in LOGINS],
    ids=[row[0] for row in LOGINS],
)
async def test_login_refused(
    server: PostgresServer, login: str, word: str, database: str, reason: Reason, sqlstate: str | None, said: str
) -> None:
    failure = await failure_of(admin(server, login, word), database)
    assert (failure.reason, failure.sqlstate) == (reason, sqlstate)
    assert said in failure.message
    assert sqlstate is None or failure.message.endswith(f"(SQLSTATE {sqlstate})")


async def test_md5_where_asked_for(server: PostgresServer) -> None:
    asked = replace(admin(server, "fail_md5"), require_auth="md5")
    async with await Session.open(asked, "postgres", POLICY) as session:
        assert await session.execute(sql.SQL("SELECT 1")) == [[(1,)]]


async def test_the_published_login_is_called_so(server: PostgresServer) -> None:
    with pytest.raises(Failure) as caught:
        await Session.open(admin(server, "fail_plain", "no"), "postgres", POLICY, app_login=True)
    assert "the published login `fail_plain`" in caught.value.message
    assert "connection Secret" not in caught.value.message


async def test_a_wrong_password_is_tried_once(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.mark_log()
    several = replace(admin(server, "fail_plain", "no"), host="localhost")

    async def both(host: str, port: int, policy: DialPolicy) -> tuple[str, ...]:
        return ("127.0.0.1", "127.0.0.1", "127.0.0.1")

    monkeypatch.setattr("cipher_operator.postgres.session.resolve", both)
    assert (await failure_of(several)).reason is Reason.AUTHENTICATION_FAILED
    assert server.log_text().count("password authentication failed") == 1


async def test_the_next_address_is_tried_when_one_is_dead(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dead_and_alive(host: str, port: int, policy: DialPolicy) -> tuple[str, ...]:
        return ("127.0.0.2", "127.0.0.1")

    monkeypatch.setattr("cipher_operator.postgres.session.resolve", dead_and_alive)
    async with await Session.open(replace(admin(server), host="localhost"), "postgres", POLICY) as session:
        assert session.connections_made == 1


async def test_refused() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    gone = AdminConnection("127.0.0.1", port, "u", Password(WORD), None, SSLMode.REQUIRE)
    assert (await failure_of(gone)).reason is Reason.CONNECTION_REFUSED


async def test_dns() -> None:
    gone = AdminConnection("no-such-host.invalid", 5432, "u", Password(WORD), None, SSLMode.REQUIRE)
    assert (await failure_of(gone)).reason is Reason.DNS_FAILURE


async def test_blocked(server: PostgresServer) -> None:
    policy = DialPolicy(parse_blocked_ranges("loopback"), 5.0)
    server.mark_log()
    assert (await failure_of(admin(server), policy=policy)).reason is Reason.BLOCKED_ADDRESS
    assert "connection received" not in server.log_text()


async def test_black_hole(server: PostgresServer, fault_proxy: Callable[..., FaultProxy]) -> None:
    hole = fault_proxy(server.port, mode="black-hole")
    begin = time.monotonic()
    failure = await failure_of(replace(admin(server), port=hole.port), policy=QUICK)
    assert failure.reason is Reason.CONNECT_TIMEOUT
    assert time.monotonic() - begin < 15, "a limit of ours, not the minutes of TCP"


async def test_half_open(server: PostgresServer, fault_proxy: Callable[..., FaultProxy]) -> None:
    proxy = fault_proxy(server.port, mode="half-open")
    assert (await failure_of(replace(admin(server), port=proxy.port), policy=QUICK)).reason is Reason.CONNECT_TIMEOUT


async def test_reset(server: PostgresServer, fault_proxy: Callable[..., FaultProxy]) -> None:
    proxy = fault_proxy(server.port, mode="reset")
    for mode in (SSLMode.DISABLE, SSLMode.REQUIRE):
        reset = replace(admin(server), port=proxy.port, ssl_mode=mode)
        assert (await failure_of(reset)).reason is Reason.DISCONNECTED


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """A TCP server that says this to everybody and hangs up; gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(answer)
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("mode", [SSLMode.DISABLE, SSLMode.REQUIRE, SSLMode.PREFER, SSLMode.ALLOW])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Reason.NOT_POSTGRES),
        (b"220 mail ESMTP\r\n", Reason.NOT_POSTGRES),
        (b"", Reason.DISCONNECTED),
    ],
    ids=["HTTP", "SMTP", "hangs up"],
)
async def test_not_postgres(mode: SSLMode, answer: bytes, reason: Reason) -> None:
    async with answering(answer) as port:
        there = AdminConnection("127.0.0.1", port, "u", Password(WORD), None, mode)
        failure = await failure_of(there)
    assert failure.reason is reason
    assert "HTTP" not in failure.message, "what answers is not told"


async def test_too_many_clients(postgres_server: Callable[..., PostgresServer]) -> None:
    small = postgres_server(settings={"max_connections": "4", "superuser_reserved_connections": "1"})
    small.execute("CREATE ROLE plain LOGIN PASSWORD 'word-s3cr3t'")
    plain = admin(small, "plain")
    async with contextlib.AsyncExitStack() as stack:
        with pytest.raises(Failure) as caught:
            for _ in range(5):
                await stack.enter_async_context(await Session.open(plain, "postgres", POLICY))
    assert (caught.value.reason, caught.value.sqlstate) == (Reason.TOO_MANY_CONNECTIONS, "53300")


async def test_shutting_down_and_down(postgres_server: Callable[..., PostgresServer]) -> None:
    server = postgres_server()
    held = await Session.open(admin(server), "postgres", POLICY)
    stopping = asyncio.create_task(asyncio.to_thread(server.stop, "smart"))
    try:
        reasons = set()
        for _ in range(50):
            await asyncio.sleep(0.02)
            try:
                await (await Session.open(admin(server), "postgres", POLICY)).close()
            except Failure as failure:
                reasons.add(failure.reason)
                if failure.sqlstate == "57P03":
                    break
        assert reasons == {Reason.SERVER_NOT_READY}
    finally:
        await held.close()
        await stopping
    assert (await failure_of(admin(server))).reason is Reason.CONNECTION_REFUSED


async def test_frozen_server(postgres_server: Callable[..., PostgresServer]) -> None:
    server = postgres_server()
    server.freeze()
    assert (await failure_of(admin(server), policy=QUICK)).reason is Reason.CONNECT_TIMEOUT
