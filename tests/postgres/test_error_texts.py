"""Texts that no server here can be made to say: poolers, clouds, other versions. And what messages are like."""

import re

import psycopg
import pytest
from psycopg import errors

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.postgres import errors as module
from cipher_operator.postgres.error_table import SQLSTATES, Meaning
from cipher_operator.postgres.error_texts import TEXTS
from cipher_operator.postgres.errors import (
    Attempt,
    classify,
    hashes_itself,
    is_race,
    leads_on,
    reached_server,
    refuses_plaintext,
    refuses_tls,
    tells_most,
)
from cipher_operator.postgres.startup import Refused

ATTEMPT = Attempt("app_db", "admin")
AT = 'connection failed: connection to server at "10.11.12.13", port 6543 failed: '

CONNECTING = [
    ("Supavisor, 2024", "FATAL:  Tenant or user not found", Reason.AUTHENTICATION_FAILED),
    ("Supavisor project", "FATAL:  (ENOTFOUND) tenant/user postgres.abc not found", Reason.AUTHENTICATION_FAILED),
    ("Supavisor tenant", "FATAL:  (ETENANTNOTFOUND) tenant or user not found", Reason.AUTHENTICATION_FAILED),
    ("Supavisor user", "FATAL:  (ETENANTNOTFOUND) user not found: :not_found", Reason.AUTHENTICATION_FAILED),
    ("Supavisor session, 2024", "FATAL:  MaxClientsInSessionMode: max clients reached - in Session mode max clients "
     "are limited to pool_size", Reason.TOO_MANY_CONNECTIONS),
    ("Supavisor, no project", "FATAL:  (ENOIDENTIFIER) no tenant identifier provided (external_id or sni_hostname "
     "required)", Reason.AUTHENTICATION_FAILED),
    ("Supavisor breaker", "FATAL:  (ECIRCUITBREAKER) Too many authentication errors", Reason.AUTHENTICATION_FAILED),
    ("Supavisor upstream", "FATAL:  (ECIRCUITBREAKER) Unable to establish connection to upstream database",
     Reason.SERVER_NOT_READY),
    ("Supavisor session", "FATAL:  (EMAXCLIENTSESSION) max clients reached in session mode - max clients are limited "
     "to pool_size: 15", Reason.TOO_MANY_CONNECTIONS),
    ("Supavisor clients", "FATAL:  (EMAXCLIENTCONN) max client connections reached, limit: 200",
     Reason.TOO_MANY_CONNECTIONS),
    ("Supavisor address", "FATAL:  (EADDRNOTALLOWED) address not in tenant allow_list: {1, 2, 3, 4}",
     Reason.ACCESS_DENIED),
    ("Supavisor TLS", "FATAL:  (ESSLREQUIRED) SSL connection is required for user: app", Reason.TLS_REQUIRED),
    ("RDS IAM", 'FATAL:  PAM authentication failed for user "x"', Reason.AUTHENTICATION_FAILED),
    ("Cloud SQL IAM", 'FATAL:  Cloud SQL IAM service account authentication failed for user "x"',
     Reason.AUTHENTICATION_FAILED),
    ("Cloud SQL IAM, people", 'FATAL:  Cloud SQL IAM user authentication failed for user "x"',
     Reason.AUTHENTICATION_FAILED),
    ("Entra, audience", "FATAL:  The access token does not have a valid audience claim. Please acquire a new token for "
     'the resource "https://ossrdbms-aad.database.windows.net".', Reason.AUTHENTICATION_FAILED),
    ("Entra", "FATAL:  An error occurred while validating the access token. Please acquire a new token and retry.",
     Reason.AUTHENTICATION_FAILED),
    ("PgBouncer login", "FATAL:  SASL authentication failed", Reason.AUTHENTICATION_FAILED),
    ("PgBouncer database", "FATAL:  no such database: app", Reason.DATABASE_MISSING),
    ("PgBouncer user", "FATAL:  no such user: app", Reason.AUTHENTICATION_FAILED),
    ("PgBouncer limit", "FATAL:  no more connections allowed (max_client_conn)", Reason.TOO_MANY_CONNECTIONS),
    ("PgBouncer parameter", "FATAL:  unsupported startup parameter: options", Reason.ACCESS_DENIED),
    ("PgBouncer, statement mode", "FATAL:  transaction blocks not allowed in statement pooling mode",
     Reason.ACCESS_DENIED),
    ("PgBouncer, disabled", 'FATAL:  database "app" is disabled', Reason.ACCESS_DENIED),
    ("PgBouncer, its own query", "FATAL:  bouncer config error", Reason.ACCESS_DENIED),
    ("PgBouncer, its own list", "FATAL:  login rejected", Reason.ACCESS_DENIED),
    ("PgBouncer TLS", "FATAL:  SSL required", Reason.TLS_REQUIRED),
    ("empty password", "fe_sendauth: no password supplied", Reason.AUTHENTICATION_FAILED),
    ("hba plain", 'FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "x", database "y", no encryption',
     Reason.TLS_REQUIRED),
    ("hba plain, 13", 'FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "x", database "y", SSL off',
     Reason.TLS_REQUIRED),
    ("hba with TLS", 'FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "x", database "y", SSL encryption',
     Reason.ACCESS_DENIED),
    ("hba reject", 'FATAL:  pg_hba.conf rejects connection for host "1.2.3.4", user "x", database "y", SSL encryption',
     Reason.ACCESS_DENIED),
    ("Neon", "ERROR:  connection is insecure (try using `sslmode=require`)", Reason.TLS_REQUIRED),
    ("Azure", "FATAL:  SSL connection is required. Please specify SSL options and retry.", Reason.TLS_REQUIRED),
    ("client certificate", "FATAL:  connection requires a valid client certificate", Reason.ACCESS_DENIED),
    ("start, 13", "FATAL:  the database system is starting up", Reason.SERVER_NOT_READY),
    ("start, 14", "FATAL:  the database system is not yet accepting connections", Reason.SERVER_NOT_READY),
    ("recovery", "FATAL:  the database system is in recovery mode", Reason.SERVER_NOT_READY),
    ("cold standby", "FATAL:  Hot standby mode is disabled.", Reason.SERVER_NOT_READY),
    ("read-only", "session is read-only", Reason.READ_ONLY_SERVER),
    ("standby", "server is in hot standby mode", Reason.READ_ONLY_SERVER),
    ("reserved slots", "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
     Reason.TOO_MANY_CONNECTIONS),
    ("per database", 'FATAL:  too many connections for database "app"', Reason.TOO_MANY_CONNECTIONS),
    ("no process", "could not fork new process for connection: Resource temporarily unavailable",
     Reason.TOO_MANY_CONNECTIONS),
    ("no route", "No route to host", Reason.CONNECT_TIMEOUT),
    ("no IPv6", "Network is unreachable", Reason.CONNECT_TIMEOUT),
    ("kernel timeout", "Connection timed out", Reason.CONNECT_TIMEOUT),
    ("TLS stream broke", "SSL error: unexpected eof while reading", Reason.DISCONNECTED),
    ("TLS reset", "SSL SYSCALL error: Connection reset by peer", Reason.DISCONNECTED),
    ("old TLS", "SSL error: unsupported protocol", Reason.TLS_NOT_SUPPORTED),
    ("TLS to HTTP", "SSL error: wrong version number", Reason.NOT_POSTGRES),
    ("CA file", 'could not read root certificate file "/proc/self/fd/9": no certificate', Reason.TLS_UNTRUSTED),
    ("German", 'FATAL:  Passwort-Authentifizierung für Benutzer »x« fehlgeschlagen', Reason.UNKNOWN),
    ("nonsense", "FATAL:  \x1b[31mpostgres://u:word-s3cr3t@h", Reason.UNKNOWN),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), [row[1:] for row in CONNECTING], ids=[row[0] for row in CONNECTING])
def test_texts_while_connecting(text: str, reason: Reason) -> None:
    failure = classify(psycopg.OperationalError(AT + text), ATTEMPT)
    assert failure.reason is reason
    assert failure.stage is ConditionType.CONNECTED
    assert_clean(failure)
    assert_whole(failure)


def assert_clean(failure: Failure) -> None:
    assert failure.message.isprintable()
    for secret in ("10.11.12.13", "6543", "1.2.3.4", "s3cr3t", "/proc"):
        assert secret not in failure.message
    assert not re.search(r"[{}]", failure.message), "nothing of the template is left"


def assert_whole(failure: Failure) -> None:
    assert len(re.findall(r"[.;)](?: |$)", failure.message)) >= 2, "what happened, and what to do"


@pytest.mark.parametrize("attempt", [None, Attempt(), ATTEMPT, Attempt("d", "x", app_login=True, ca_given=True)])
def test_every_meaning_has_two_sentences(attempt: Attempt | None) -> None:
    for code in [*SQLSTATES, "XX000"]:
        failure = classify(Refused(AT + f"FATAL:  {code}: no text of the table"), attempt)
        assert_clean(failure)
        assert_whole(failure)
        assert failure.reason.failure_class


def test_names_in_sql_are_quoted() -> None:
    error = psycopg.OperationalError(AT + "FATAL:  permission denied for database")
    message = classify(error, Attempt('d"; DROP', "`x`\n")).message
    assert 'GRANT CONNECT ON DATABASE "d""; DROP" TO "`x`";' in message
    assert 'database `d"; DROP`' in message


def test_the_sqlstate_of_a_refusal_counts() -> None:
    german = Refused(AT + "FATAL:  28P01: Passwort-Authentifizierung fehlgeschlagen\nLOCATION:  auth_failed, auth.c:1")
    assert (german.code, german.said) == ("28P01", "Passwort-Authentifizierung fehlgeschlagen")
    failure = classify(german, ATTEMPT)
    assert (failure.reason, failure.sqlstate) == (Reason.AUTHENTICATION_FAILED, "28P01")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.ConnectionTimeout("connection timeout expired"), Reason.CONNECT_TIMEOUT),
        (TimeoutError(), Reason.CONNECT_TIMEOUT),
        (TimeoutError(), Reason.CONNECT_TIMEOUT),
        (ConnectionRefusedError(111, "Connection refused"), Reason.CONNECTION_REFUSED),
        (ConnectionResetError(104, "Connection reset by peer"), Reason.DISCONNECTED),
        (OSError(9, "Bad file descriptor"), Reason.DISCONNECTED),
        (psycopg.ProgrammingError("invalid connection option 'x'"), Reason.INVALID_URL),
        (psycopg.OperationalError("the connection is closed"), Reason.DISCONNECTED),
        (psycopg.OperationalError("consuming input failed: SSL error: x"), Reason.DISCONNECTED),
        (errors.lookup("08006")("x"), Reason.DISCONNECTED),
        (errors.lookup("08004")("x"), Reason.DISCONNECTED),
        (errors.lookup("40001")("x"), Reason.UNKNOWN),
        (errors.lookup("57P02")("x"), Reason.DISCONNECTED),
        (errors.lookup("0A000")("cannot do that"), Reason.UNKNOWN),
        (RecursionError("x"), Reason.UNKNOWN),
    ],
    ids=lambda value: value.__class__.__name__ if isinstance(value, BaseException) else str(value),
)
def test_other_errors(error: BaseException, reason: Reason) -> None:
    assert classify(error).reason is reason


def test_a_failure_comes_back_as_it_is() -> None:
    failure = Failure(Reason.CONFLICT, "x")
    assert classify(failure) is failure


# reason for the row, text, whether the next address is tried, whether a server was there
ADDRESSES = [
    ("refused", "Connection refused", True, False),
    ("no route", "No route to host", True, False),
    ("hangs up", "server closed the connection unexpectedly", True, False),
    ("starting", "FATAL:  57P03: the database system is starting up", True, True),
    ("starting, in German", "FATAL:  57P03: das Datenbanksystem startet", True, True),
    ("starting, no SQLSTATE", "FATAL:  the database system is not yet accepting connections", True, True),
    ("reader", "session is read-only", True, True),
    ("standby", "server is in hot standby mode", True, True),
    ("password", "FATAL:  28P01: password authentication failed", False, True),
    ("password, in German", "FATAL:  28P01: Passwort-Authentifizierung fehlgeschlagen", False, True),
    ("no database", 'FATAL:  3D000: database "Connection refused" does not exist', False, True),
    ("limit", "FATAL:  53300: sorry, too many clients already", False, True),
    ("pooler", "FATAL:  08P01: server closed the connection", False, True),
    ("certificate", "SSL error: certificate verify failed", False, True),
]


@pytest.mark.parametrize(
    ("text", "next_one", "there"), [row[1:] for row in ADDRESSES], ids=[row[0] for row in ADDRESSES]
)
def test_what_leads_to_another_address(text: str, next_one: bool, there: bool) -> None:
    error = Refused(AT + text)
    assert leads_on(error) is next_one
    assert reached_server(error) is there


def test_what_is_told_of_several_addresses() -> None:
    refused, starting = (
        Refused(AT + "Connection refused"),
        Refused(AT + "FATAL:  57P03: the database system is starting up"),
    )
    reader, silent = Refused(AT + "session is read-only"), errors.ConnectionTimeout("connection timeout expired")
    assert leads_on(silent)
    assert tells_most([refused, starting, reader, silent]) is reader
    assert tells_most([refused, starting, silent]) is starting
    assert tells_most([silent, refused]) is refused


def test_what_leads_to_another_mode() -> None:
    assert refuses_tls(psycopg.OperationalError(AT + "server does not support SSL, but SSL was required"))
    assert not refuses_tls(psycopg.OperationalError(AT + "SSL error: certificate verify failed"))
    assert refuses_plaintext(psycopg.OperationalError(AT + "ERROR:  connection is insecure"))
    assert not refuses_plaintext(psycopg.OperationalError(AT + "FATAL:  password authentication failed"))
    assert refuses_plaintext(Refused(AT + "FATAL:  28000: kein pg_hba.conf-Eintrag"))
    assert not refuses_plaintext(Refused(AT + "FATAL:  28P01: Passwort-Authentifizierung fehlgeschlagen"))


@pytest.mark.parametrize("sslmode", ["check failed", "negotiation error"])
def test_channel_binding_through_a_proxy(sslmode: str) -> None:
    failure = classify(Refused(AT + f"FATAL:  28000: SCRAM channel binding {sslmode}"), ATTEMPT)
    assert (failure.reason, failure.sqlstate) == (Reason.ACCESS_DENIED, "28000")
    assert "proxy" in failure.message
    assert "`channel_binding=disable`" in failure.message


@pytest.mark.parametrize(
    "text",
    [
        "channel binding is required, but server did not offer an authentication method that supports channel binding",
        "channel binding required, but SSL not in use",
        "channel binding required but not supported by server's authentication request",
    ],
)
def test_channel_binding_that_is_not_to_be_had(text: str) -> None:
    message = classify(Refused(AT + text), ATTEMPT).message
    assert "`channel_binding=require`" in message
    assert "proxy" not in message


FILE = 'could not extend file "base/5/2601"'
OF_THE_HOST = {
    "full, 13 to 16": ("XX000", "could not write init file", Reason.DISK_FULL, "more disk space"),
    "full": ("53100", f"{FILE}: No space left on device", Reason.DISK_FULL, f"{FILE}: No space left"),
    "quota": ("XX000", f"{FILE}: Disk quota exceeded", Reason.DISK_FULL, "disk quota of the user"),
    "too large": ("XX000", f"{FILE}: File too large", Reason.DISK_FULL, "`ulimit -f`"),
    "checkpoint": ("XX000", "checkpoint request failed", Reason.UNKNOWN, "its disk"),
    "open files": ("53000", "could not open file: Too many open files", Reason.UNKNOWN, "`ulimit -n`"),
    "read-only": ("42501", f"{FILE}: Read-only file system", Reason.UNKNOWN, "mounted read-only"),
    "of others": ("42501", f"{FILE}: Permission denied", Reason.UNKNOWN, "who owns the files"),
    "a privilege": ("42501", "permission denied for table file", Reason.INSUFFICIENT_PRIVILEGE, "Grant it"),
}


@pytest.mark.parametrize(("code", "text", "reason", "said"), OF_THE_HOST.values(), ids=OF_THE_HOST)
def test_what_the_operating_system_refuses_a_server(code: str, text: str, reason: Reason, said: str) -> None:
    failure = classify(Refused(AT + f"FATAL:  {code}: {text}"), ATTEMPT)
    assert (failure.reason, failure.sqlstate) == (reason, code)
    assert said in failure.message
    in_a_session = classify(errors.lookup(code)(text), ATTEMPT)
    assert (in_a_session.reason, in_a_session.sqlstate) == (reason, code)


VERIFIERS_REFUSED = {
    "Neon": ("XX000", "Neon only supports being given plaintext passwords"),
    "Neon's control plane": (
        "XX000",
        'Received HTTP code 400 from control plane: {"error":"Neon only supports being given plaintext passwords"}',
    ),
    "Lakebase": ("XX000", "Lakebase only supports being given plaintext passwords"),
    "another wording": ("0A000", "this server only accepts plain-text passwords"),
}


@pytest.mark.parametrize(("code", "text"), VERIFIERS_REFUSED.values(), ids=VERIFIERS_REFUSED)
def test_servers_that_hash_passwords_themselves(code: str, text: str) -> None:
    assert hashes_itself(errors.lookup(code)(text))


@pytest.mark.parametrize(
    "error",
    [
        errors.lookup("XX000")("Received HTTP code 500 from control plane"),
        errors.lookup("42501")("permission denied to create role"),
        errors.lookup("22023")("password is too short"),
        errors.lookup("42501")("passwords must not be given in plaintext"),
        TimeoutError(),
        Failure(Reason.UNKNOWN, "Neon only supports being given plaintext passwords"),
    ],
    ids=["another error of Neon", "privilege", "policy", "the opposite", "no database error", "a failure"],
)
def test_what_says_nothing_of_verifiers(error: BaseException) -> None:
    assert not hashes_itself(error)


def test_every_text_has_a_reason_of_a_class() -> None:
    for meaning in [*SQLSTATES.values(), *(meaning for _, meaning in TEXTS)]:
        assert isinstance(meaning, Meaning)
        assert meaning.reason.failure_class


class Reads:
    """Stands for a pattern, and notes how much it is given to read."""

    def __init__(self) -> None:
        self.read = 0

    def search(self, text: str) -> None:
        self.read = max(self.read, len(text))


ERRORS: dict[str, psycopg.Error] = {
    "of a function": errors.RaiseException('role "' * 700_000),
    "of a code that stands for several things": errors.FeatureNotSupported('database "' * 400_000),
    "of a login": Refused(AT + "FATAL:  " + "Cloud SQL IAM " * 2_000),
    "of the protocol": psycopg.OperationalError("authentication method requirement " * 100_000),
}


@pytest.mark.parametrize("case", ERRORS)
def test_of_an_error_of_megabytes_the_begin_is_looked_at(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """Whoever may raise an error in a database says how long it is, and some patterns take the square of that."""
    texts, reads, error = [(Reads(), meaning) for _, meaning in TEXTS], Reads(), ERRORS[case]
    monkeypatch.setattr(module, "TEXTS", texts)
    for name in ("_NETWORK", "_REFUSES_TLS", "_HASHES_ITSELF"):
        monkeypatch.setattr(module, name, reads)
    for look in (classify, leads_on, reached_server, refuses_plaintext, refuses_tls, hashes_itself, is_race):
        look(error)
    assert 1_000 < max(reads.read, *(pattern.read for pattern, _ in texts)) <= 4_000
