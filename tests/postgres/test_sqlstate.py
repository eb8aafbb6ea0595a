"""Servers that do not speak English: a refused connection is told by its SQLSTATE, at the cost of one more try."""

import asyncio
import contextlib
import os
import struct
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password
from cipher_operator.postgres import sqlstate
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.session import Session
from devcluster.tls import CertificateAuthority
from support.german import SPOKEN, German, speaking

WORD = "word-s3cr3t"
POLICY = DialPolicy((), 5.0)
QUICK = DialPolicy((), 0.5)
AUTH = Reason.AUTHENTICATION_FAILED


@pytest.fixture(autouse=True)
def nothing_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlstate, "_learnt", {})
    monkeypatch.setattr(sqlstate, "_probes", 0)


async def failure_of(admin: AdminConnection, database: str = "postgres", policy: DialPolicy = POLICY) -> Failure:
    with pytest.raises(Failure) as caught:
        await (await Session.open(admin, database, policy)).close()
    assert WORD not in caught.value.message
    assert caught.value.__context__ is None
    return caught.value


# --- real servers in German ---

HBA = """
hostssl all tongue_clear 127.0.0.1/32 password
hostssl all postgres,tongue_plain,tongue_nologin,tongue_limited 127.0.0.1/32 scram-sha-256
"""
ROLES = """
CREATE ROLE tongue_plain LOGIN PASSWORD 'word-s3cr3t'; CREATE ROLE tongue_clear LOGIN PASSWORD 'word-s3cr3t';
CREATE ROLE tongue_nologin NOLOGIN PASSWORD 'word-s3cr3t';
CREATE ROLE tongue_limited LOGIN PASSWORD 'word-s3cr3t' CONNECTION LIMIT 0;
CREATE DATABASE tongue_private;
REVOKE CONNECT ON DATABASE tongue_private FROM PUBLIC
"""


@pytest.fixture(scope="module", params=SPOKEN, ids=str)
def server(request: pytest.FixtureRequest, certificate_authority: CertificateAuthority) -> Iterator[German]:
    with speaking(request.param, hba=HBA, tls=certificate_authority.server()) as german:
        for statement in ROLES.strip().splitlines():
            german.server.execute(statement)
        yield german


@pytest.mark.parametrize(
    ("login", "word", "database", "reason", "code"),
    [
        ("tongue_plain", "wrong", "postgres", AUTH, "28P01"),
        ("tongue_nologin", WORD, "postgres", Reason.ACCESS_DENIED, "28000"),
        ("tongue_nobody", WORD, "postgres", Reason.ACCESS_DENIED, "28000"),
        ("tongue_plain", WORD, "absent", Reason.DATABASE_MISSING, "3D000"),
        ("tongue_plain", WORD, "tongue_private", Reason.INSUFFICIENT_PRIVILEGE, "42501"),
        ("tongue_limited", WORD, "postgres", Reason.TOO_MANY_CONNECTIONS, "53300"),
    ],
    ids=["wrong password", "NOLOGIN", "no line in pg_hba.conf", "no database", "no CONNECT", "limit"],
)
async def test_german_server(server: German, login: str, word: str, database: str, reason: Reason, code: str) -> None:
    admin = AdminConnection(server.host, server.port, login, Password(word), None, SSLMode.REQUIRE)
    for connections in (2, 1):
        server.server.mark_log()
        failure = await failure_of(admin, database)
        assert (failure.reason, failure.sqlstate) == (reason, code)
        assert server.server.log_text().count(f"{login}@{database} FATAL:") == connections, (
            "probed once, then remembered"
        )


async def test_the_trace_with_a_clear_password_goes_nowhere(
    server: German,
    certificate_authority: CertificateAuthority,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    ca = certificate_authority.certificate.read_text()
    admin = AdminConnection(server.host, server.port, "tongue_clear", Password(WORD), None, SSLMode.VERIFY_CA, ca=ca)
    failure = await failure_of(admin, "absent")
    assert (failure.reason, failure.sqlstate) == (Reason.DATABASE_MISSING, "3D000")
    assert WORD not in caplog.text
    assert WORD not in "".join(capfd.readouterr())
    assert WORD not in str(sqlstate._learnt)


# --- a server that says what the test wants ---


def message(kind: str, code: str, text: str) -> bytes:
    body = f"SFATAL\0VFATAL\0C{code}\0M{text}\0\0".encode()
    return kind.encode() + struct.pack("!I", len(body) + 4) + body


LET_IN = b"R" + struct.pack("!II", 8, 0)
READY = LET_IN + b"Z" + struct.pack("!I", 5) + b"I"
GERMAN = message("E", "28P01", "Passwort-Authentifizierung fehlgeschlagen")


@dataclass
class Scripted:
    """Answers the first connection, the second and so on; the last answer goes on. None is silence."""

    answers: list[bytes | None]
    port: int = 0
    asked: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            self.asked.append(await reader.read(4096))
            answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()

    @property
    def admin(self) -> AdminConnection:
        return AdminConnection("127.0.0.1", self.port, "u", Password(WORD), None, SSLMode.DISABLE)


@contextlib.asynccontextmanager
async def scripted(*answers: bytes | None) -> AsyncIterator[Scripted]:
    script = Scripted(list(answers))
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    async with server:
        script.port = server.sockets[0].getsockname()[1]
        yield script


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        ("28P01", "Passwort-Authentifizierung für Benutzer »u« fehlgeschlagen", AUTH),
        ("28000", "Rolle »u« hat keine Berechtigung zum Einloggen", Reason.ACCESS_DENIED),
        ("3D000", "Datenbank »d« existiert nicht", Reason.DATABASE_MISSING),
        ("42501", "keine Berechtigung für Datenbank »d«", Reason.INSUFFICIENT_PRIVILEGE),
        ("53300", "tut mir leid, schon zu viele Verbindungen", Reason.TOO_MANY_CONNECTIONS),
        ("57P03", "das Datenbanksystem startet", Reason.SERVER_NOT_READY),
        ("XX000", "etwas anderes", Reason.UNKNOWN),
    ],
)
async def test_by_code(code: str, text: str, reason: Reason) -> None:
    async with scripted(message("E", code, text)) as script:
        for connections in (2, 3):
            failure = await failure_of(script.admin)
            assert (failure.reason, failure.sqlstate) == (reason, code)
            assert len(script.asked) == connections
    assert len(set(script.asked)) == 1, "the same start-up packet"


async def test_a_text_that_is_known_is_not_probed() -> None:
    async with scripted(message("E", "28P01", 'password authentication failed for user "u"')) as script:
        assert (await failure_of(script.admin)).reason is AUTH
        assert len(script.asked) == 1


@pytest.mark.parametrize(
    "second",
    [READY, None, b"", LET_IN + message("N", "00000", "x" * 20_000) * 500 + GERMAN],
    ids=["lets in", "is silent", "hangs up", "floods"],
)
async def test_a_probe_that_learns_nothing(second: bytes | None) -> None:
    before = len(os.listdir("/proc/self/fd"))
    begin = time.monotonic()
    async with scripted(GERMAN, second) as script:
        failure = await failure_of(script.admin, policy=QUICK)
        assert (failure.reason, failure.sqlstate) == (Reason.UNKNOWN, None)
        assert len(script.asked) == 2
    assert time.monotonic() - begin < 2 * QUICK.connect_timeout
    assert sqlstate._learnt == {}
    await asyncio.sleep(0.05)
    assert len(os.listdir("/proc/self/fd")) <= before


async def test_another_failure_is_told_but_not_learnt() -> None:
    async with scripted(GERMAN, message("E", "57P03", "das Datenbanksystem startet")) as script:
        assert (await failure_of(script.admin)).reason is Reason.SERVER_NOT_READY
    assert sqlstate._learnt == {}


async def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlstate, "MAX_PROBES", 3)
    monkeypatch.setattr(sqlstate, "MAX_LEARNT", 2)
    reasons = []
    for number in range(4):
        async with scripted(message("E", "28P01", f"Nein {number}")) as script:
            reasons.append((await failure_of(script.admin)).reason)
    assert reasons == [AUTH, AUTH, AUTH, Reason.UNKNOWN]
    assert len(sqlstate._learnt) == 2


async def test_cancelled() -> None:
    async with scripted(GERMAN, None) as script:
        opening = asyncio.create_task(Session.open(script.admin, "postgres", POLICY))
        while len(script.asked) < 2:
            await asyncio.sleep(0.01)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
