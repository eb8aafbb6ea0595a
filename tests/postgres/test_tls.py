"""sslMode against servers with good, bad and no certificates; nothing under HOME and in the environment counts."""

import asyncio
import os
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password
from cipher_operator.core.connection.certificates import certificate_blocks
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.session import Session, neutralise_environment
from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority, TlsFixture, self_signed
from support.wire import SSL_REQUEST, WireProxy

POLICY = DialPolicy((), 5.0)
KINDS = ["good", "expired", "wrong name", "cloud sql", "self-signed", "no TLS", "TLS only"]
D, A, P, R, C, F = SSLMode
PLAIN, TLS = False, True
UNTRUSTED, MISMATCH = Reason.TLS_UNTRUSTED, Reason.TLS_HOSTNAME_MISMATCH

# What comes of each mode: encrypted or not, or the reason. verify-* with the CA of the good certificate.
MATRIX: dict[str, dict[SSLMode, bool | Reason]] = {
    "good": {D: PLAIN, A: PLAIN, P: TLS, R: TLS, C: TLS, F: TLS},
    "expired": {P: TLS, R: TLS, C: UNTRUSTED, F: UNTRUSTED},
    "wrong name": {P: TLS, R: TLS, C: TLS, F: MISMATCH},
    "cloud sql": {P: TLS, R: TLS, C: TLS, F: MISMATCH},
    "self-signed": {P: TLS, R: TLS, C: UNTRUSTED, F: UNTRUSTED},
    "no TLS": {D: PLAIN, A: PLAIN, P: PLAIN, **dict.fromkeys((R, C, F), Reason.TLS_NOT_SUPPORTED)},
    "TLS only": {D: Reason.TLS_REQUIRED, A: TLS, P: TLS, R: TLS, C: TLS, F: TLS},
}


@pytest.fixture(scope="module")
def servers(
    certificate_authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], PostgresServer]]:
    """Servers by kind, each started when first asked for."""
    certificates: dict[str, Callable[[], TlsFixture]] = {
        "good": certificate_authority.server,
        "expired": certificate_authority.expired,
        "wrong name": certificate_authority.wrong_name,
        "cloud sql": certificate_authority.cloud_sql,
        "self-signed": lambda: self_signed(tmp_path_factory.mktemp("self-signed")),
        "TLS only": certificate_authority.server,
    }
    running: dict[str, PostgresServer] = {}

    def server(kind: str) -> PostgresServer:
        if kind not in running:
            tls = certificates[kind]() if kind in certificates else None
            hba = "hostssl all all 127.0.0.1/32 scram-sha-256\n" if kind == "TLS only" else None
            running[kind] = PostgresServer(tls=tls, hba=hba)
            running[kind].start()
        return running[kind]

    yield server
    for each in running.values():
        each.close()


def way_in(server: PostgresServer, mode: SSLMode, ca: Path | None = None) -> AdminConnection:
    pem = certificate_blocks(ca.read_bytes()) if ca is not None else None
    return AdminConnection(server.host, server.port, server.superuser, Password(server.password), None, mode, pem)


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind in KINDS for mode in MATRIX[kind]], ids=str)
async def test_matrix(
    servers: Callable[[str], PostgresServer], certificate_authority: CertificateAuthority, kind: str, mode: SSLMode
) -> None:
    server, expected = servers(kind), MATRIX[kind][mode]
    ca = certificate_authority.certificate if mode in (C, F) else None
    try:
        async with await Session.open(way_in(server, mode, ca), "postgres", POLICY) as session:
            ((encrypted,),) = (
                await session.execute(sql.SQL("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
            )[0]
            assert encrypted is session.ssl_in_use is expected
            second_try = (kind, mode) in {("no TLS", P), ("TLS only", A)}
            assert session.connections_made == 1 + second_try
    except Failure as failure:
        assert failure.reason is expected
        assert "127.0.0.1" not in failure.message


async def test_self_signed_is_trusted_when_named(servers: Callable[[str], PostgresServer]) -> None:
    server = servers("self-signed")
    assert server.tls is not None
    async with await Session.open(way_in(server, F, server.tls.certificate), "postgres", POLICY) as session:
        assert session.ssl_in_use


async def test_verify_full_checks_the_name_and_not_the_address(
    servers: Callable[[str], PostgresServer], certificate_authority: CertificateAuthority
) -> None:
    by_name = replace(way_in(servers("good"), F, certificate_authority.certificate), host="localhost")
    async with await Session.open(by_name, "postgres", POLICY) as session:
        assert session.ssl_in_use


async def test_verify_full_without_ca_takes_the_public_ones(servers: Callable[[str], PostgresServer]) -> None:
    with pytest.raises(Failure) as caught:
        await Session.open(way_in(servers("good"), F), "postgres", POLICY)
    assert caught.value.reason is Reason.TLS_UNTRUSTED
    assert "spec.connection.caRef" in caught.value.message


async def test_the_message_knows_that_a_ca_was_given(
    servers: Callable[[str], PostgresServer], certificate_authority: CertificateAuthority
) -> None:
    with pytest.raises(Failure) as caught:
        await Session.open(way_in(servers("self-signed"), C, certificate_authority.certificate), "postgres", POLICY)
    assert "its CA is not the one in `spec.connection.caRef`" in caught.value.message


async def test_a_broken_certificate_is_named(servers: Callable[[str], PostgresServer]) -> None:
    broken = replace(way_in(servers("good"), C), ca="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(Failure) as caught:
        await Session.open(broken, "postgres", POLICY)
    assert caught.value.reason is Reason.TLS_UNTRUSTED
    assert "/" not in caught.value.message.replace("`spec.connection.caRef`", "")


async def test_channel_binding(servers: Callable[[str], PostgresServer]) -> None:
    bound = replace(way_in(servers("good"), R), channel_binding="require")
    async with await Session.open(bound, "postgres", POLICY) as session:
        assert session.ssl_in_use
    with pytest.raises(Failure) as caught:
        await Session.open(replace(bound, ssl_mode=D), "postgres", POLICY)
    assert caught.value.reason is Reason.ACCESS_DENIED
    assert "channel_binding" in caught.value.message


class _Renewing(WireProxy):
    """Ends the client's TLS and starts another to the server, as a proxy that inspects traffic does."""

    async def reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await super().reach()
        writer.write(SSL_REQUEST)
        assert await reader.readexactly(1) == b"S"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        await writer.start_tls(context)
        return reader, writer


@pytest.mark.parametrize("mode", [R, F])
async def test_a_proxy_that_ends_tls_and_starts_it_anew(
    servers: Callable[[str], PostgresServer], certificate_authority: CertificateAuthority, mode: SSLMode
) -> None:
    server = servers("good")
    ca = certificate_authority.certificate if mode is F else None
    with _Renewing(server, certificate_authority.server()) as proxy:
        through = replace(way_in(server, mode, ca), port=proxy.port)
        with pytest.raises(Failure) as caught:
            await Session.open(through, "postgres", POLICY)
        assert (caught.value.reason, caught.value.sqlstate) == (Reason.ACCESS_DENIED, "28000")
        assert "proxy between the operator and the server ends TLS" in caught.value.message
        assert "`channel_binding=disable`" in caught.value.message
        assert "require" not in caught.value.message
        async with await Session.open(replace(through, channel_binding="disable"), "postgres", POLICY) as session:
            assert session.ssl_in_use


async def test_direct_negotiation(
    servers: Callable[[str], PostgresServer], certificate_authority: CertificateAuthority
) -> None:
    server = servers("good")
    direct = replace(way_in(server, R), ssl_negotiation="direct")
    if server.installation.major >= 17:
        async with await Session.open(direct, "postgres", POLICY) as session:
            assert session.ssl_in_use
        return
    with pytest.raises(Failure) as caught:
        await Session.open(direct, "postgres", POLICY)
    assert caught.value.reason in {Reason.DISCONNECTED, Reason.NOT_POSTGRES, Reason.TLS_NOT_SUPPORTED}


async def test_a_cancelled_statement_ends_at_the_server_too(
    servers: Callable[[str], PostgresServer], certificate_authority: CertificateAuthority
) -> None:
    # A cancellation is a second connection, which verifies the server again.
    server = servers("good")
    async with await Session.open(way_in(server, F, certificate_authority.certificate), "postgres", POLICY) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await session.execute(sql.SQL("SELECT pg_sleep(30)"))
        assert not session.closed
        assert await session.execute(sql.SQL("SELECT 1")) == [[(1,)]]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificate_authority: CertificateAuthority) -> Path:
    """A HOME with everything libpq looks for, all of it wrong."""
    folder = tmp_path / ".postgresql"
    folder.mkdir()
    strange = self_signed(tmp_path / "strange")
    (folder / "root.crt").write_bytes(strange.certificate.read_bytes())
    (folder / "root.crl").write_text("no revocation list")
    (folder / "postgresql.crt").write_bytes(strange.certificate.read_bytes())
    (folder / "postgresql.key").write_bytes(strange.key.read_bytes())
    (folder / "postgresql.key").chmod(0o600)
    (tmp_path / ".pgpass").write_text("*:*:*:*:wrong\n")
    (tmp_path / ".pgpass").chmod(0o600)
    (tmp_path / ".pg_service.conf").write_text("[x]\nhost=wrong\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("mode", [A, P, R, C, F])
async def test_files_under_home_never_matter(
    servers: Callable[[str], PostgresServer],
    certificate_authority: CertificateAuthority,
    planted: Path,
    mode: SSLMode,
) -> None:
    ca = certificate_authority.certificate if mode in (C, F) else None
    async with await Session.open(way_in(servers("good"), mode, ca), "postgres", POLICY) as session:
        assert session.ssl_in_use is (mode is not A)


async def test_the_planted_home_would_matter(servers: Callable[[str], PostgresServer], planted: Path) -> None:
    """The proof that the test above proves something: libpq left alone reads these files."""
    server = servers("good")
    with pytest.raises(psycopg.OperationalError, match="certificate"):
        await psycopg.AsyncConnection.connect(
            host=server.host, port=server.port, user=server.superuser, password=server.password, dbname="postgres",
            sslmode="require",
        )  # fmt: skip


async def test_variables_of_the_environment_never_matter(
    servers: Callable[[str], PostgresServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stolen = tmp_path / "keys.log"
    wrong = {
        "PGHOST": "wrong.invalid", "PGHOSTADDR": "192.0.2.1", "PGPORT": "1", "PGUSER": "wrong", "PGPASSWORD": "wrong",
        "PGDATABASE": "wrong", "PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/wrong", "PGOPTIONS": "-c role=wrong",
        "PGSERVICE": "wrong", "PGSERVICEFILE": "/wrong", "PGTARGETSESSIONATTRS": "standby",
        "PGSSLKEYLOGFILE": str(stolen),
        "PGREQUIREAUTH": "none", "PGCHANNELBINDING": "disable", "PGAPPNAME": "wrong", "PGCLIENTENCODING": "LATIN1",
    }  # fmt: skip
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NOT_PG", "stays")
    neutralise_environment(os.environ)
    assert not [name for name in os.environ if name.startswith("PG")]
    assert os.environ["NOT_PG"] == "stays"
    async with await Session.open(way_in(servers("good"), R), "postgres", POLICY) as session:
        settings = sql.SQL("SELECT current_setting('application_name'), current_setting('client_encoding')")
        assert await session.execute(settings) == [[("cipher-operator", "UTF8")]]
    assert not stolen.exists()
