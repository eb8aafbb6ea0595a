"""Both published URLs, opened by those who will open them: node-postgres as Cipher has it, and libpq.

Where `uri` works, CIPHER_PG_URL works, encrypted or not alike; where the server must not be trusted, neither does.
"""

import asyncio
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cipher_operator.api.spec import App, SSLMode
from cipher_operator.core.connection.admin import VERIFYING, AdminConnection, Password
from cipher_operator.core.connection.certificates import certificate_blocks
from cipher_operator.core.secret import AppCredentials, app_door, app_secret_data
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority, TlsFixture, self_signed
from support import node_pg

D, A, P, R, C, F = SSLMode
POLICY = DialPolicy((), 5.0)
HBA = "host all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 scram-sha-256\n"
TLS_ONLY_HBA = HBA.replace("host ", "hostssl ")

PLAIN, TLS = False, True
UNTRUSTED = r"SELF_SIGNED|UNABLE_TO_|certificate verify failed"
MISMATCH = r"ERR_TLS_CERT_ALTNAME_INVALID|does not match host name|could not get server's host name"
NO_TLS = r"does not support SSL"
PLAINTEXT_REFUSED = r"no pg_hba.conf entry"

EXPECTED: dict[str, dict[SSLMode, bool | str]] = {
    "trusted CA": {D: PLAIN, A: PLAIN, P: TLS, R: TLS, C: TLS, F: TLS},
    "self-signed": {D: PLAIN, A: PLAIN, P: TLS, R: TLS, C: UNTRUSTED, F: UNTRUSTED},
    "expired": {D: PLAIN, A: PLAIN, P: TLS, R: TLS, C: "CERT_HAS_EXPIRED|verify failed", F: "EXPIRED|verify failed"},
    "another name": {D: PLAIN, A: PLAIN, P: TLS, R: TLS, C: TLS, F: MISMATCH},
    "cloud sql": {D: PLAIN, A: PLAIN, P: TLS, R: TLS, C: TLS, F: MISMATCH},
    "no TLS": {D: PLAIN, A: PLAIN, P: PLAIN, R: NO_TLS, C: NO_TLS, F: NO_TLS},
    "TLS only": {D: PLAINTEXT_REFUSED, A: TLS, P: TLS, R: TLS, C: TLS, F: TLS},
}
DATABASES = [
    "Upper",
    "with-hyphen",
    "with \"quote's",
    "with space",
    "100%41%3F",
    "münchen日本",
    "a;b,c@d:e&f=g+h$i",
    "/a//b",
]
DATABASES += ["\\|^`{}<>[]~!*()", ".a..b"]
ODD_PASSWORD = "p@ss/wo rd?#:%41&=+[]\\'\"ü日ﬃ\u00a0\u00ade\u0301"


@dataclass(frozen=True, slots=True)
class Row:
    """One URL of the table, and what must come of it: encrypted or not, or words of the refusal."""

    server: str
    mode: SSLMode
    expected: bool | str
    host: str = "localhost"
    database: str = "postgres"
    login: str = "postgres"
    ca: bool = True

    def __str__(self) -> str:
        odd = [self.host, self.database, self.login] if self.host + self.database + self.login != DEFAULT else []
        return " ".join([self.server, self.mode, *odd, *([] if self.ca else ["public CAs"])])


DEFAULT = "localhostpostgrespostgres"
ROWS = [Row(server, mode, expected) for server, modes in EXPECTED.items() for mode, expected in modes.items()]
ROWS += [
    Row("trusted CA", mode, EXPECTED["trusted CA"][mode], host)
    for mode in (D, P, R, C)
    for host in ("::1", "127.0.0.1")
]
ROWS += [Row("self-signed", C, UNTRUSTED, host) for host in ("::1", "127.0.0.1")]
ROWS += [Row("no TLS", P, PLAIN, "::1"), Row("trusted CA", F, UNTRUSTED, ca=False)]
ROWS += [Row("trusted CA", F, TLS, database=name, login="odd") for name in DATABASES]
ROWS += [Row("trusted CA", mode, mode is not D, login="cipher_user.abcdefghij") for mode in (D, R, F)]


@dataclass(frozen=True, slots=True)
class Opened:
    """What came of one row: of libpq, and of each node-postgres."""

    libpq: dict[str, Any]
    node: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def servers(
    certificate_authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, PostgresServer]]:
    authority = certificate_authority
    certificates: dict[str, TlsFixture | None] = {
        "trusted CA": authority.server(),
        "self-signed": self_signed(tmp_path_factory.mktemp("self-signed")),
        "expired": authority.expired(),
        "another name": authority.wrong_name(),
        "cloud sql": authority.cloud_sql(),
        "no TLS": None,
        "TLS only": authority.server(),
    }
    assert certificates.keys() == EXPECTED.keys()
    settings = {"listen_addresses": "127.0.0.1,::1"}
    running = {
        kind: PostgresServer(16, tls=tls, settings=settings, hba=TLS_ONLY_HBA if kind == "TLS only" else HBA)
        for kind, tls in certificates.items()
    }
    try:
        for server in running.values():
            server.start()
        with psycopg.connect(**_keywords(running["trusted CA"]), autocommit=True) as connection:
            for name in DATABASES:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            for login in ("cipher_user.abcdefghij", "odd"):
                statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
                connection.execute(statement.format(sql.Identifier(login), sql.Literal(ODD_PASSWORD)))
        yield running
    finally:
        for server in running.values():
            server.close()


@pytest.fixture(scope="module")
def mounted_ca(certificate_authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle: the CA that counts, after another one."""
    other = CertificateAuthority(tmp_path_factory.mktemp("other-ca"), "another CA")
    path = tmp_path_factory.mktemp("cipher") / "ca.crt"
    path.write_bytes(other.certificate.read_bytes() + certificate_authority.certificate.read_bytes())
    return path


@pytest.fixture(scope="module")
def opened(servers: dict[str, PostgresServer], mounted_ca: Path) -> dict[str, Opened]:
    began = time.monotonic()
    published = asyncio.run(_publish(servers, mounted_ca))
    libpq = {key: _open(data["uri"]) for key, data in published.items()}
    node = node_pg.open_all({key: data["CIPHER_PG_URL"] for key, data in published.items()})
    assert time.monotonic() - began < 120
    return {key: Opened(libpq[key], {version: node[version, key] for version in node_pg.VERSIONS}) for key in published}


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_means_the_same_to_both(opened: dict[str, Opened], row: Row) -> None:
    if row.host == "::1" and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    results = {"libpq": opened[str(row)].libpq, **opened[str(row)].node}
    if isinstance(row.expected, str):
        for client, result in results.items():
            assert re.search(row.expected, result.get("error", "it worked")), (client, result)
        return
    wanted = {"database": row.database, "user": row.login, "encrypted": row.expected, "name": "grüß"}
    assert results == dict.fromkeys(results, wanted)


def _has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


async def _publish(servers: dict[str, PostgresServer], ca_path: Path) -> dict[str, dict[str, str]]:
    """Return the app Secret of each row; what prefer and allow come to is what the operator's own session got."""
    return {str(row): await _app_secret(row, servers[row.server], ca_path) for row in ROWS}


async def _app_secret(row: Row, server: PostgresServer, ca_path: Path) -> dict[str, str]:
    ca = certificate_blocks(ca_path.read_bytes()) if row.mode in VERIFYING and row.ca else None
    admin = AdminConnection(row.host, server.port, server.superuser, Password(server.password), None, row.mode, ca)
    encrypted = False
    if row.mode in (A, P):
        async with await Session.open(replace(admin, database="postgres"), "postgres", POLICY) as session:
            encrypted = session.ssl_in_use
    app = App("chat-cipher", {}, {}, None, None, str(ca_path) if ca else None, 7)
    password = Password(server.password if row.login == server.superuser else ODD_PASSWORD)
    endpoint = app_door(admin, app, row.database, ssl_in_use=encrypted)
    data = dict(app_secret_data(endpoint, AppCredentials(row.login, password)).data)
    assert "max_connections=7" in data["CIPHER_PG_URL"]
    assert data.get("certificates") == ca
    return data


def _open(uri: str) -> dict[str, Any]:
    query = (
        'SELECT current_database() AS database, session_user AS "user", %s::text AS name, '
        "(SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS encrypted"
    )
    try:
        with psycopg.connect(uri, connect_timeout=10) as connection:
            database, user, name, encrypted = connection.execute(query, ["grüß"]).fetchone() or ()
    except psycopg.Error as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"database": database, "user": user, "encrypted": encrypted, "name": name}


def _keywords(server: PostgresServer) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": server.port, "user": server.superuser, "password": server.password,
            "dbname": "postgres"}  # fmt: skip
