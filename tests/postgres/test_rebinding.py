"""DNS that changes its answer: what was checked is what is dialled, on every connection that a session makes.

Only the resolver is a stand-in, at `socket.getaddrinfo`; both addresses are real. 127.0.0.1 stands for the address that
is allowed, 127.0.0.2 for the one that is blocked, where a trap takes every connection and counts it.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password
from cipher_operator.postgres.dial import DialPolicy, resolve
from cipher_operator.postgres.probe import answers
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority

NAME = "rebinding.example"
ALLOWED, BLOCKED, DEAD = "127.0.0.1", "127.0.0.2", "127.0.0.3"
POLICY = DialPolicy((ip_network(f"{BLOCKED}/32"),), 5.0)
FAMILY = socket.AF_INET


class Trap:
    """A listener on the blocked address, on the server's port: `caught` counts who came."""

    def __init__(self, port: int) -> None:
        self.caught = 0
        self._listener = socket.create_server((BLOCKED, port))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.caught += 1
                connection.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@dataclass
class Resolver:
    """DNS: each lookup of NAME takes the next answer, and the last one stays."""

    answers: list[list[str]]
    asked: int = 0

    def getaddrinfo(self, host: Any, port: int, *_: Any, **options: Any) -> list[Any]:
        if (host.decode() if isinstance(host, bytes) else host) != NAME:
            return list(_REAL(host, port, *_, **options))
        if options.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not numeric")
        found = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [(FAMILY, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)) for address in found]


_REAL = socket.getaddrinfo
Answers = Callable[..., Resolver]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Answers:
    def install(*answered: str | list[str]) -> Resolver:
        resolver = Resolver([[answer] if isinstance(answer, str) else answer for answer in answered])
        monkeypatch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
        return resolver

    return install


@pytest.fixture
def trap(postgres: PostgresServer) -> Iterator[Trap]:
    opened = Trap(postgres.port)
    with socket.create_connection((BLOCKED, postgres.port), 5) as probe:
        probe.recv(1)
    assert opened.caught == 1, "the trap catches"
    opened.caught = 0
    yield opened
    opened.close()
    assert opened.caught == 0, "the blocked address was dialled"


@pytest.fixture
def admin(postgres: PostgresServer, trap: Trap) -> AdminConnection:
    return AdminConnection(NAME, postgres.port, postgres.superuser, Password(postgres.password), None, SSLMode.DISABLE)


async def address(session: Session) -> str:
    """Return where the server says that it was reached."""
    return str((await session.execute(sql.SQL("SELECT host(inet_server_addr())")))[0][0][0])


async def failure_of(admin: AdminConnection, database: str = "postgres", policy: DialPolicy = POLICY) -> Failure:
    with pytest.raises(Failure) as caught:
        await (await Session.open(admin, database, policy)).close()
    assert NAME not in caught.value.message
    assert BLOCKED not in caught.value.message
    return caught.value


async def test_the_address_that_was_checked_is_the_one_that_is_dialled(admin: AdminConnection, dns: Answers) -> None:
    resolver = dns(ALLOWED, BLOCKED)
    async with await Session.open(admin, "postgres", POLICY) as session:
        assert await address(session) == ALLOWED
        assert resolver.asked == 1
    assert (await failure_of(admin)).reason is Reason.BLOCKED_ADDRESS
    assert resolver.asked == 2, "every session asks and checks anew"


async def test_without_a_pinned_address_the_trap_would_catch(admin: AdminConnection, trap: Trap, dns: Answers) -> None:
    dns(ALLOWED, BLOCKED)
    assert await resolve(NAME, admin.port, POLICY) == (ALLOWED,)
    with pytest.raises(psycopg.OperationalError):
        await psycopg.AsyncConnection.connect(host=NAME, port=admin.port, user="x", dbname="x", connect_timeout=5)
    assert trap.caught > 0
    trap.caught = 0


@pytest.mark.parametrize("mode", [SSLMode.PREFER, SSLMode.ALLOW], ids=["prefer", "allow"])
async def test_falling_back_to_another_mode_asks_no_second_time(
    admin: AdminConnection, dns: Answers, mode: SSLMode
) -> None:
    resolver = dns(ALLOWED, BLOCKED)
    async with await Session.open(replace(admin, ssl_mode=mode), "postgres", POLICY) as session:
        assert session.connections_made == (2 if mode is SSLMode.PREFER else 1)
        assert await address(session) == ALLOWED
    assert resolver.asked == 1


async def test_cancelling_a_statement_asks_no_second_time(admin: AdminConnection, dns: Answers) -> None:
    resolver = dns(ALLOWED, BLOCKED)
    async with await Session.open(admin, "postgres", POLICY) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await session.execute(sql.SQL("SELECT pg_sleep(60)"))
        assert await address(session) == ALLOWED, "the statement was cancelled, and the session goes on"
    assert resolver.asked == 1


@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        ([BLOCKED], Reason.BLOCKED_ADDRESS),
        ([BLOCKED, BLOCKED], Reason.BLOCKED_ADDRESS),
        (["::ffff:127.0.0.2"], Reason.BLOCKED_ADDRESS),
        (["64:ff9b::7f00:2", BLOCKED], Reason.BLOCKED_ADDRESS),
        ([BLOCKED, DEAD], Reason.CONNECTION_REFUSED),
        ([DEAD, BLOCKED], Reason.CONNECTION_REFUSED),
        ([DEAD, BLOCKED, "::ffff:127.0.0.2"], Reason.CONNECTION_REFUSED),
    ],
    ids=["blocked", "twice", "mapped", "NAT64", "blocked first", "allowed first", "allowed among blocked"],
)
async def test_a_blocked_address_among_others_is_not_dialled_even_when_they_fail(
    admin: AdminConnection, dns: Answers, answered: list[str], reason: Reason
) -> None:
    dns(answered)
    assert (await failure_of(admin)).reason is reason
    assert not await answers(NAME, admin.port, POLICY)


@pytest.mark.parametrize("answered", [[BLOCKED, ALLOWED], [ALLOWED, BLOCKED], [DEAD, BLOCKED, ALLOWED]], ids=" ".join)
async def test_an_allowed_address_among_others_is_found(
    admin: AdminConnection, dns: Answers, answered: list[str]
) -> None:
    dns(answered)
    async with await Session.open(admin, "postgres", POLICY) as session:
        assert await address(session) == ALLOWED
    assert await answers(NAME, admin.port, POLICY)


async def test_the_probe_of_a_server_that_is_down_checks_every_time(admin: AdminConnection, dns: Answers) -> None:
    resolver = dns(ALLOWED, BLOCKED)
    assert await answers(NAME, admin.port, POLICY)
    assert not await answers(NAME, admin.port, POLICY)
    assert resolver.asked == 2


@pytest.mark.parametrize(
    "words",
    [f"host={BLOCKED} user=x", f"hostaddr={BLOCKED}", f"x' hostaddr='{BLOCKED}", f"x\\' hostaddr={BLOCKED} \\",
     f"postgresql://{BLOCKED}/x", f"postgres://x:y@{BLOCKED}"],
    ids=["keywords", "address", "quote", "backslash", "URL", "short URL"],
)  # fmt: skip
async def test_names_are_never_read_as_connection_strings(admin: AdminConnection, dns: Answers, words: str) -> None:
    dns(ALLOWED)
    for database in (words, words.replace(BLOCKED, f"{BLOCKED}:{admin.port}"), f"{words} port={admin.port}"):
        with pytest.raises(Failure) as caught:
            await Session.open(admin, database, POLICY)
        assert caught.value.reason is Reason.DATABASE_MISSING
    for changed in (replace(admin, user=words), replace(admin, password=Password(words))):
        with pytest.raises(Failure) as caught:
            await Session.open(changed, "postgres", POLICY)
        assert caught.value.reason is Reason.AUTHENTICATION_FAILED


async def test_certificates_are_compared_with_the_name_not_the_address(
    certificate_authority: CertificateAuthority, dns: Answers
) -> None:
    dns(ALLOWED)
    ca = certificate_authority.certificate.read_text()
    with PostgresServer(16, tls=certificate_authority.server()) as server:
        admin = AdminConnection(
            NAME, server.port, server.superuser, Password(server.password), None, SSLMode.VERIFY_FULL, ca
        )
        assert (await failure_of(admin)).reason is Reason.TLS_HOSTNAME_MISMATCH
        async with await Session.open(replace(admin, host="localhost"), "postgres", POLICY) as session:
            assert session.ssl_in_use


@contextlib.asynccontextmanager
async def _foreign_server() -> AsyncIterator[tuple[int, list[int]]]:
    """A server whose refusals no table knows; gives its port and one item for each connection."""
    came: list[int] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(1)
        size = int.from_bytes(await reader.readexactly(4), "big")
        await reader.readexactly(size - 4)
        fields = b"SFATAL\0VFATAL\0C28P01\0Mnescio quid\0\0"
        writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, ALLOWED, 0) as server:
        yield server.sockets[0].getsockname()[1], came


async def test_looking_for_the_sqlstate_asks_no_second_time(dns: Answers) -> None:
    resolver = dns(ALLOWED, BLOCKED)
    async with _foreign_server() as (port, came):
        snare = Trap(port)
        admin = AdminConnection(NAME, port, "x", Password("y"), None, SSLMode.DISABLE)
        assert (await failure_of(admin)).reason is Reason.AUTHENTICATION_FAILED
        snare.close()
    assert (len(came), snare.caught, resolver.asked) == (1, 0, 1)
