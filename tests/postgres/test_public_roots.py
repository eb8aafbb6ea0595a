"""sslMode verify-* without caRef, against servers whose CA is in the bundle that the operator takes for public."""

import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import certifi
import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import SSLMode, parse_spec
from cipher_operator.core.connection.admin import AdminConnection, read_admin_connection
from cipher_operator.core.secret import PUBLIC_CA_BUNDLE, AppCredentials, app_door, app_secret_data
from cipher_operator.postgres import tls
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority, TlsFixture
from support.admins import changed, footprint
from support.provision import APP_PASSWORD, OPEN, Provisioner, desired, plain_admin
from support.public_roots import open_both, public_roots

VERIFYING = [SSLMode.VERIFY_CA, SSLMode.VERIFY_FULL]
_names = iter(range(10_000))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("public"), "a public CA")


@pytest.fixture(scope="module")
def server(authority: CertificateAuthority) -> Iterator[PostgresServer]:
    hba = "hostssl all all 127.0.0.1/32 scram-sha-256\n"
    with PostgresServer(16, tls=authority.server(), hba=hba) as running:
        yield running


@pytest.fixture
def roots(authority: CertificateAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle, as an operator is pointed to it."""
    bundle = public_roots(tmp_path / "roots.crt", authority.certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    return bundle


def by_name(server: PostgresServer, mode: SSLMode, user: str | None = None, word: str | None = None) -> AdminConnection:
    """Return the way in that a Secret with the URL's sslmode and a spec without caRef give."""
    url = server.admin_url(user=user, password=word, sslmode=mode.value).replace(server.host, "localhost")
    spec = parse_spec("team", "chat", {"connection": {"secretRef": {"name": "pg"}}})
    return read_admin_connection({"CIPHER_PG_URL": url.encode()}, spec.connection, None)


@pytest.mark.parametrize("mode", VERIFYING)
async def test_a_session(server: PostgresServer, roots: Path, mode: SSLMode) -> None:
    async with await Session.open(by_name(server, mode), "postgres", OPEN) as session:
        assert session.ssl_in_use


async def test_the_name_counts(server: PostgresServer, roots: Path) -> None:
    by_address = replace(by_name(server, SSLMode.VERIFY_FULL), host="127.0.0.1")
    async with await Session.open(by_address, "postgres", OPEN) as session:
        assert session.ssl_in_use, "the address stands in the certificate"


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (CertificateAuthority.wrong_name, Reason.TLS_HOSTNAME_MISMATCH),
        (CertificateAuthority.cloud_sql, Reason.TLS_HOSTNAME_MISMATCH),
        (CertificateAuthority.expired, Reason.TLS_UNTRUSTED),
    ],
    ids=["another name", "no name", "expired"],
)
async def test_a_public_ca_is_not_enough(
    postgres_server: Callable[..., PostgresServer],
    authority: CertificateAuthority,
    roots: Path,
    certificate: Callable[[CertificateAuthority], TlsFixture],
    reason: Reason,
) -> None:
    server = postgres_server(16, tls=certificate(authority))
    with pytest.raises(Failure) as caught:
        await Session.open(by_name(server, SSLMode.VERIFY_FULL), "postgres", OPEN)
    assert caught.value.reason is reason


async def test_a_bundle_that_changes_counts_at_once(
    server: PostgresServer, authority: CertificateAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = public_roots(tmp_path / "roots.crt")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    admin = by_name(server, SSLMode.VERIFY_FULL)
    with pytest.raises(Failure) as caught:
        await Session.open(admin, "postgres", OPEN)
    assert caught.value.reason is Reason.TLS_UNTRUSTED
    assert "known to the operator" in caught.value.message
    public_roots(bundle, authority.certificate)
    async with await Session.open(admin, "postgres", OPEN) as session:
        assert session.ssl_in_use


@pytest.mark.parametrize("mode", VERIFYING)
async def test_a_storage(server: PostgresServer, roots: Path, tmp_path: Path, mode: SSLMode) -> None:
    made = plain_admin(server, f"public_{next(_names)}").admin
    admin = Provisioner(replace(by_name(server, mode, made.user, made.password.reveal()), database="postgres"))
    wanted = desired(f"public{next(_names)}")
    before = footprint(server, "postgres")
    await admin.provision(wanted)
    second = await admin.run(replace(wanted, established=True))
    assert (second.statements, second.executed) == (0, ())

    app = parse_spec("team", "chat", {"connection": {"secretRef": {"name": "pg"}}}).app
    endpoint = app_door(admin.admin, app, wanted.database, ssl_in_use=True)
    published = app_secret_data(endpoint, AppCredentials(wanted.user, APP_PASSWORD)).data
    assert "certificates" not in published
    assert f"sslmode={mode.value}&sslrootcert={PUBLIC_CA_BUNDLE}" in published["uri"]
    opened = open_both(published, roots)
    assert opened == dict.fromkeys(("libpq", "node-pg locked", "node-pg newest"), (wanted.database, True))
    for client, refused in open_both(published, public_roots(tmp_path / "without.crt")).items():
        assert isinstance(refused, str), client
        assert "certificate" in refused, client

    await admin.remove(wanted)
    assert changed(before, footprint(server, "postgres")) == {}


def no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what OpenSSL was built with, so that a table of places is all there is."""
    real = ssl.get_default_verify_paths()
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: real._replace(cafile=""))


async def test_known_places_come_next_and_certifi_last(
    server: PostgresServer, authority: CertificateAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_default(monkeypatch)
    missing, empty = tmp_path / "missing.crt", tmp_path / "empty.crt"
    empty.touch()
    there = public_roots(tmp_path / "there.crt", authority.certificate)
    monkeypatch.setattr(tls, "_BUNDLES", (str(missing), str(empty), str(there)))
    assert tls.system_bundle() == str(there)
    async with await Session.open(by_name(server, SSLMode.VERIFY_FULL), "postgres", OPEN) as session:
        assert session.ssl_in_use
    monkeypatch.setattr(tls, "_BUNDLES", (str(missing), str(empty)))
    assert tls.system_bundle() == certifi.where()
    with pytest.raises(Failure) as caught:
        await Session.open(by_name(server, SSLMode.VERIFY_FULL), "postgres", OPEN)
    assert "known to the operator" in caught.value.message, "libpq reads certifi's file"


async def test_a_machine_without_public_cas_is_told_so(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    no_default(monkeypatch)
    monkeypatch.setattr(tls, "_BUNDLES", ())
    monkeypatch.setattr(tls, "_certifi", lambda: None)
    with pytest.raises(Failure) as caught:
        await Session.open(by_name(server, SSLMode.VERIFY_FULL), "postgres", OPEN)
    assert caught.value.reason is Reason.TLS_UNTRUSTED
    assert "spec.connection.caRef" in caught.value.message
