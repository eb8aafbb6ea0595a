"""Servers that do not speak English: a refused connection is told by its SQLSTATE, which comes with the refusal."""

import asyncio
import contextlib
import os
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password
from cipher_operator.postgres import startup
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority
from support.german import SPOKEN, German, speaking
from support.sessions import error_of

WORD = "word-s3cr3t"
POLICY = DialPolicy((), 5.0)
QUICK = DialPolicy((), 0.5)
AUTH = Reason.AUTHENTICATION_FAILED


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
    server.server.mark_log()
    failure = await failure_of(admin, database)
    assert (failure.reason, failure.sqlstate) == (reason, code)
    assert server.server.log_text().count(f"{login}@{database} FATAL:") == 1, "one login, as with any other server"


async def test_a_clear_password_goes_nowhere(
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


# --- a server that says what the test wants ---


def message(kind: str, code: str, text: str) -> bytes:
    body = f"SFATAL\0VFATAL\0C{code}\0M{text}\0\0".encode()
    return kind.encode() + struct.pack("!I", len(body) + 4) + body


LET_IN = b"R" + struct.pack("!II", 8, 0)
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
        failure = await failure_of(script.admin)
        assert (failure.reason, failure.sqlstate) == (reason, code)
        assert len(script.asked) == 1, "nobody is asked twice"


async def test_a_server_s_own_words_are_told_where_nothing_else_is_known() -> None:
    words = f"etwas anderes: 10.1.2.3, db.example.com:6543, postgres://u:{WORD}@h und {WORD} von 127.0.0.1\n\x1b[31m"
    async with scripted(message("E", "XX000", words)) as script:
        failure = await failure_of(script.admin)
        assert failure.reason is Reason.UNKNOWN
        assert "The server says: etwas anderes: …" in failure.message
        for secret in ("10.1.2.3", "db.example.com", "6543", "127.0.0.1", str(script.port)):
            assert secret not in failure.message
        assert failure.message.isprintable()


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        ("3D000", 'database "Connection refused" does not exist', Reason.DATABASE_MISSING),
        ("3D000", "Datenbank »SSL error« existiert nicht", Reason.DATABASE_MISSING),
        ("28P01", 'password authentication failed for user "the database system is starting up"', AUTH),
        ("42501", 'permission denied for database "too many clients"', Reason.INSUFFICIENT_PRIVILEGE),
        ("08P01", "no such database: app", Reason.DATABASE_MISSING),
        ("08P01", "unsupported startup parameter: options", Reason.ACCESS_DENIED),
        ("08P01", "server login has been failing, try again later (server_login_retry)", Reason.SERVER_NOT_READY),
        ("08P01", "query_wait_timeout", Reason.UNKNOWN),
        ("XX000", "Tenant or user not found", AUTH),
        ("28000", 'no pg_hba.conf entry for host "10.1.2.3", user "u", no encryption', Reason.TLS_REQUIRED),
        ("28000", "connection requires a valid client certificate", Reason.ACCESS_DENIED),
        ("0A000", "unsupported frontend protocol 3.2: server supports 1.0 to 3.0", Reason.NOT_POSTGRES),
    ],
    ids=["database named as a text", "the same in German", "user named as a text", "database named as a limit",
         "PgBouncer, database", "PgBouncer, parameter", "PgBouncer, upstream", "PgBouncer, unknown", "Supavisor", "hba",
         "client certificate", "protocol"],
)  # fmt: skip
async def test_code_and_text_together(code: str, text: str, reason: Reason) -> None:
    async with scripted(message("E", code, text)) as script:
        failure = await failure_of(script.admin)
    # A pooler's 08P01 stands for all that it says: where its words have a SQLSTATE of their own, that one is told.
    meant = {"no such database: app": "3D000"}.get(text, code)
    assert (failure.reason, failure.sqlstate) == (reason, meant)


async def test_without_libpq_s_switch_texts_still_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "_set_error_verbosity", lambda: None)
    async with scripted(message("E", "28P01", 'password authentication failed for user "u"')) as script:
        assert (await failure_of(script.admin)).reason is AUTH
    async with scripted(GERMAN) as script:
        failure = await failure_of(script.admin)
    assert (failure.reason, failure.sqlstate) == (Reason.UNKNOWN, None)
    assert "Passwort-Authentifizierung fehlgeschlagen" in failure.message


async def test_errors_of_a_session_are_as_short_as_ever(postgres: PostgresServer) -> None:
    admin = AdminConnection(
        postgres.host, postgres.port, postgres.superuser, Password(postgres.password), None, SSLMode.DISABLE
    )
    async with await Session.open(admin, "postgres", POLICY) as session:
        error = await error_of(session, "SELECT 1/0")
    assert str(error) == "division by zero"


@pytest.mark.parametrize("answer", [b"", None, LET_IN], ids=["hangs up", "is silent", "stops half-way"])
async def test_nothing_stays_open(answer: bytes | None) -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with scripted(answer) as script:
        failure = await failure_of(script.admin, policy=QUICK)
    assert failure.reason in {Reason.DISCONNECTED, Reason.CONNECT_TIMEOUT, Reason.ACCESS_DENIED}
    await asyncio.sleep(0.05)
    assert len(os.listdir("/proc/self/fd")) <= before


async def test_cancelled() -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with scripted(None) as script:
        opening = asyncio.create_task(Session.open(script.admin, "postgres", POLICY))
        while not script.asked:
            await asyncio.sleep(0.01)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    await asyncio.sleep(0.05)
    assert len(os.listdir("/proc/self/fd")) <= before
