"""How often a server has the password hashed: too often is refused before libpq begins, often holds nobody else up."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.hashing import FEW_ROUNDS, MAX_ROUNDS
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority
from support.sessions import POLICY

SSL_REQUEST = struct.pack("!I", 80877103)
MECHANISMS = struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0"


def packet(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def challenge(nonce: bytes, rounds: bytes) -> bytes:
    return packet(
        b"R", struct.pack("!I", 11) + b"r=" + nonce + b"srv,s=" + base64.b64encode(b"0123456789") + b",i=" + rounds
    )


Cut = Callable[[bytes], Iterable[bytes]]
CUTS: dict[str, tuple[bool, Cut]] = {
    "whole": (False, lambda text: [text]),
    "a byte at a time": (False, lambda text: [text[at : at + 1] for at in range(len(text))]),
    "in the midst of the number": (False, lambda text: [text[:-3], text[-3:]]),
    "behind the header": (False, lambda text: [text[:5], text[5:]]),
    "begun behind the message before": (True, lambda text: [text[11:]]),
    "with another before it": (False, lambda text: [packet(b"v", struct.pack("!II", 3, 0)) + text]),
}
"""How the challenge comes; True: the server has sent its first bytes, which need no nonce, with what came before."""
NUMBERS = {
    "five million": b"5000000",
    "two thousand million": b"2147483647",
    "as strtol reads it": b" \t+0005000000",
    "around the end of an int": b"4299967296",
    "digits without end": b"9" * 1500,
}


@contextlib.asynccontextmanager
async def asking(
    rounds: bytes, ahead: bool, cut: Cut, context: ssl.SSLContext | None
) -> AsyncIterator[tuple[int, bytearray]]:
    """Yield the port of a server that asks for so many rounds, and what it gets as an answer."""
    got = bytearray()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def packet_of(header: int) -> bytes:
            head = await reader.readexactly(header)
            return await reader.readexactly(int.from_bytes(head[-4:], "big") - 4)

        if (await packet_of(4))[:4] == SSL_REQUEST:
            writer.write(b"S")
            await writer.drain()
            assert context is not None
            await writer.start_tls(context)
            await packet_of(4)
        length = len(challenge(b"n" * 24, rounds)) - 1
        head = b"R" + struct.pack("!II", length, 11) + b"r="
        writer.write(packet(b"R", MECHANISMS) + (head if ahead else b""))
        await writer.drain()
        nonce = (await packet_of(5)).split(b"r=")[1]
        for part in cut(challenge(nonce, rounds)):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.003)
        got.extend(await reader.read(4096))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], got


CASES = [pytest.param(NUMBERS["five million"], *how, id=name) for name, how in CUTS.items()] + [
    pytest.param(number, *CUTS["whole"], id=name) for name, number in NUMBERS.items()
]


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize(("rounds", "ahead", "cut"), CASES)
async def test_too_many_rounds_are_refused_before_the_first(
    certificate_authority: CertificateAuthority, rounds: bytes, ahead: bool, cut: Cut, encrypted: bool
) -> None:
    context = None
    if encrypted:
        certificate = certificate_authority.server()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
    used = time.process_time()
    async with asking(rounds, ahead, cut, context) as (port, got):
        mode = SSLMode.REQUIRE if encrypted else SSLMode.DISABLE
        there = AdminConnection("127.0.0.1", port, "u", Password("p"), None, mode, channel_binding="disable")
        with pytest.raises(Failure) as refused:
            await Session.open(there, "postgres", DialPolicy((), 2.0 if ahead else 10.0))
    if ahead and not encrypted:
        # libpq is given whole messages alone, and what comes out of turn is never whole.
        assert refused.value.reason is Reason.CONNECT_TIMEOUT
    else:
        assert refused.value.reason is Reason.ACCESS_DENIED
        assert "more than a million times" in refused.value.message
    assert not got.startswith(b"p"), "nothing was answered"
    assert time.process_time() - used < 2.0, "five million take 18 s"


def verifier(password: str, rounds: int) -> str:
    """Return a SCRAM verifier with so many rounds (RFC 5803)."""
    salt = b"salt-of-sixteen!"
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    client = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    texts = [base64.b64encode(each).decode() for each in (salt, client, server)]
    return f"SCRAM-SHA-256${rounds}:{texts[0]}${texts[1]}:{texts[2]}"


@pytest.fixture(scope="module")
def both(certificate_authority: CertificateAuthority) -> Iterator[PostgresServer]:
    with PostgresServer(16, tls=certificate_authority.server()) as server:
        for rounds in (1, FEW_ROUNDS, FEW_ROUNDS + 1, 600_000, MAX_ROUNDS + 1):
            server.execute(f"CREATE ROLE rounds_{rounds} LOGIN PASSWORD '{verifier('p', rounds)}'")
        yield server


@pytest.mark.parametrize("mode", [SSLMode.DISABLE, SSLMode.REQUIRE], ids=["plain", "TLS"])
class TestARealServer:
    @pytest.mark.parametrize("rounds", [1, FEW_ROUNDS, FEW_ROUNDS + 1])
    async def test_takes_the_login(self, both: PostgresServer, mode: SSLMode, rounds: int) -> None:
        there = AdminConnection(both.host, both.port, f"rounds_{rounds}", Password("p"), None, mode)
        async with await Session.open(there, "postgres", POLICY) as session:
            assert session.ssl_in_use is (mode is SSLMode.REQUIRE)

    async def test_that_has_too_many_says_what_to_set(self, both: PostgresServer, mode: SSLMode) -> None:
        there = AdminConnection(both.host, both.port, f"rounds_{MAX_ROUNDS + 1}", Password("p"), None, mode)
        with pytest.raises(Failure, match="scram_iterations"):
            await Session.open(there, "postgres", POLICY)

    async def test_that_has_many_holds_nobody_else_up(self, both: PostgresServer, mode: SSLMode) -> None:
        there = AdminConnection(both.host, both.port, "rounds_600000", Password("p"), None, mode)
        opening = asyncio.create_task(Session.open(there, "postgres", DialPolicy((), 30.0)))
        begun, longest, ticks = time.monotonic(), 0.0, 0
        while not opening.done():
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest, ticks = max(longest, time.monotonic() - before), ticks + 1
        await (await opening).close()
        took = time.monotonic() - begun
        assert longest < took / 2, f"the loop stood for {longest:.2f} s of {took:.2f}"
        assert ticks > 10

    async def test_that_is_given_up_while_it_hashes_ends_cleanly(self, both: PostgresServer, mode: SSLMode) -> None:
        there = AdminConnection(both.host, both.port, "rounds_600000", Password("p"), None, mode)
        opening = asyncio.create_task(Session.open(there, "postgres", DialPolicy((), 30.0)))
        await asyncio.sleep(0.3)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        async with await Session.open(
            AdminConnection(both.host, both.port, "rounds_1", Password("p"), None, mode), "postgres", POLICY
        ):
            pass
