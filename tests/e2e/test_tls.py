"""TLS, as a user meets it: the reason in the status, the remedy it names, and Ready a moment after the remedy."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority, TlsFixture, private_key_pem, self_signed
from support.cluster import Namespace, wait_until

SOON = 8.0
"""Seconds to the status, and from the mend to Ready: a second each on an idle machine."""
TLS_ONLY = "hostssl all all 127.0.0.1/32 scram-sha-256\n"

Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def servers(
    certificate_authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], PostgresServer]]:
    """Servers by kind, each started when first asked for."""
    running: dict[str, PostgresServer] = {}

    def server(kind: str) -> PostgresServer:
        if kind not in running:
            certificates: dict[str, Callable[[], TlsFixture]] = {
                "trusted": certificate_authority.server,
                "self-signed": lambda: self_signed(tmp_path_factory.mktemp("self-signed")),
                "another name": certificate_authority.wrong_name,
                "cloud sql": certificate_authority.cloud_sql,
                "TLS only": certificate_authority.server,
            }
            tls = certificates.get(kind)
            running[kind] = PostgresServer(
                16, tls=tls() if tls is not None else None, hba=TLS_ONLY if kind == "TLS only" else None
            )
            running[kind].start()
        return running[kind]

    yield server
    for each in running.values():
        each.close()


def admin_secret(namespace: Namespace, server: PostgresServer) -> None:
    """Write the connection Secret with the host's name, which is what certificates are for."""
    namespace.secret("pg-admin", {"CIPHER_PG_URL": server.admin_url().replace(server.host, "localhost")})


def write_ca(namespace: Namespace, kind: str, text: str, key: str = "ca.crt") -> None:
    field = "data" if kind == "ConfigMap" else "stringData"
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "pg-ca"}, field: {key: text}}
    namespace.plane.kubectl("-n", namespace.name, "apply", "-f", "-", input=json.dumps(body))


def spec(namespace: Namespace, mode: str, kind: str | None = None, key: str | None = None) -> dict[str, Any]:
    """Return a spec; `app.caPath` stands only where a CA does."""
    connection: dict[str, Any] = {"secretRef": {"name": "pg-admin"}, "sslMode": mode}
    made: dict[str, Any] = {"connection": connection, "database": {"name": namespace.name.replace("-", "_")}}
    if kind is not None:
        connection["caRef"] = {"kind": kind, "name": "pg-ca", **({"key": key} if key else {})}
        made["app"] = {"caPath": "/etc/cipher/ca.crt"}
    return made


# reason -> server, sslMode, CA (None: none named), what the message says, the sslMode or the CA that mends it
CASES: dict[str, tuple[str, str, str, str | None, str, str]] = {
    "self-signed": ("TLSUntrusted", "self-signed", "verify-full", "good", "spec.connection.caRef", "ca:server"),
    "no CA in the object": ("TLSUntrusted", "trusted", "verify-ca", "junk", "BEGIN CERTIFICATE", "ca:good"),
    "CA of somebody else": ("TLSUntrusted", "trusted", "verify-full", "other", "not the one in", "ca:good"),
    "public CAs only": ("TLSUntrusted", "trusted", "verify-full", None, "spec.connection.caRef", "mode:require"),
    "another name": ("TLSHostnameMismatch", "another name", "verify-full", "good", "verify-ca", "mode:verify-ca"),
    "Cloud SQL": ("TLSHostnameMismatch", "cloud sql", "verify-full", "good", "verify-ca", "mode:verify-ca"),
    "server without TLS": ("TLSNotSupported", "plain", "require", None, "sslMode: disable", "mode:disable"),
    "server that insists": ("TLSRequired", "TLS only", "disable", None, "sslMode: require", "mode:require"),
}


@pytest.mark.parametrize("case", list(CASES))
def test_named_within_seconds_and_mended_as_the_message_says(
    namespace: Namespace,
    servers: Callable[[str], PostgresServer],
    certificate_authority: CertificateAuthority,
    tmp_path: Path,
    record_property: Record,
    case: str,
) -> None:
    reason, kind, mode, ca, words, mend = CASES[case]
    server = servers(kind)
    texts: dict[str, Callable[[], str]] = {
        "good": certificate_authority.certificate.read_text,
        "other": CertificateAuthority(tmp_path, "another CA").certificate.read_text,
        "junk": lambda: "the CA is in the other file\n",
        "server": lambda: server.tls.certificate.read_text() if server.tls else "",
    }
    admin_secret(namespace, server)
    if ca is not None:
        write_ca(namespace, "ConfigMap", texts[ca]())
    began = time.monotonic()
    namespace.storage("chat", spec(namespace, mode, "ConfigMap" if ca else None))
    namespace.wait_reason("chat", reason, SOON)
    to_status = time.monotonic() - began
    message = namespace.condition("chat")["message"]
    assert words in message
    assert "localhost" not in message
    assert namespace.condition("chat", "Connected")["reason"] == reason
    assert namespace.condition("chat", "Reconciling")["status"] == "True"
    began = time.monotonic()
    what, _, value = mend.partition(":")
    if what == "ca":
        write_ca(namespace, "ConfigMap", texts[value]())
    else:
        namespace.patch("chat", {"spec": {"connection": {"sslMode": value}}})
    namespace.wait_ready("chat", SOON)
    to_ready = time.monotonic() - began
    record_property("seconds_to_status", round(to_status, 2))
    record_property("seconds_from_mend_to_ready", round(to_ready, 2))
    print(f"{reason} ({case}): {to_status:.2f} s to the status, {to_ready:.2f} s from the mend to Ready")


@pytest.mark.parametrize(
    ("kind", "key"), [("ConfigMap", None), ("ConfigMap", "rds.pem"), ("Secret", None), ("Secret", "tls-chain.pem")]
)
def test_a_bundle_from_either_kind(
    namespace: Namespace,
    servers: Callable[[str], PostgresServer],
    certificate_authority: CertificateAuthority,
    tmp_path: Path,
    kind: str,
    key: str | None,
) -> None:
    other = CertificateAuthority(tmp_path, "another CA").certificate.read_text()
    good, private = certificate_authority.certificate.read_text(), private_key_pem().decode()
    admin_secret(namespace, servers("trusted"))
    write_ca(namespace, kind, f"# the CAs of our servers\r\n{other}\nand\n{private}{good}", key or "ca.crt")
    namespace.storage("chat", spec(namespace, "verify-full", kind, key))
    namespace.wait_ready("chat", SOON)
    published = namespace.app_secret("chat")
    assert published["certificates"].split() == (other + good).split(), "the certificates and nothing else of it"
    assert "sslmode=verify-full&sslrootcert=/etc/cipher/ca.crt" in published["CIPHER_PG_URL"]
    mounted = tmp_path / "ca.crt"
    mounted.write_text(published["certificates"])
    uri = published["uri"].replace("/etc/cipher/ca.crt", str(mounted))
    with psycopg.connect(uri) as connection:
        assert connection.pgconn.ssl_in_use


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_a_ca_that_changes_while_running_counts_at_once(
    namespace: Namespace,
    servers: Callable[[str], PostgresServer],
    certificate_authority: CertificateAuthority,
    tmp_path: Path,
    record_property: Record,
    kind: str,
) -> None:
    good = certificate_authority.certificate.read_text()
    other = CertificateAuthority(tmp_path, "another CA").certificate.read_text()
    admin_secret(namespace, servers("trusted"))
    write_ca(namespace, kind, good)
    namespace.storage("chat", spec(namespace, "verify-full", kind) | {"interval": "1h"})
    namespace.wait_ready("chat", SOON)
    write_ca(namespace, kind, other)
    record_property("seconds_to_untrusted", round(namespace.wait_reason("chat", "TLSUntrusted", SOON), 2))
    assert namespace.app_secret("chat")["certificates"].split() == good.split(), "what worked stays published"
    write_ca(namespace, kind, other + good)
    record_property("seconds_to_ready", round(namespace.wait_ready("chat", SOON), 2))
    wait_until(
        lambda: namespace.app_secret("chat")["certificates"].split() == (other + good).split(), "it is published", SOON
    )


def test_a_server_moves_to_another_ca(
    namespace: Namespace,
    postgres_server: Callable[..., PostgresServer],
    certificate_authority: CertificateAuthority,
    tmp_path: Path,
) -> None:
    server = postgres_server(16, tls=certificate_authority.server())
    following = CertificateAuthority(tmp_path, "the following CA")
    admin_secret(namespace, server)
    write_ca(namespace, "ConfigMap", certificate_authority.certificate.read_text())
    namespace.storage("chat", spec(namespace, "verify-full", "ConfigMap"))
    namespace.wait_ready("chat", SOON)
    server.tls = following.server()
    server.restart()
    namespace.annotate("chat", "reconcile-requested-at", "moved")
    namespace.wait_reason("chat", "TLSUntrusted", SOON)
    write_ca(namespace, "ConfigMap", following.certificate.read_text())
    namespace.wait_ready("chat", SOON)


def test_verify_full_by_address_is_refused_before_anything_is_written(
    namespace: Namespace, servers: Callable[[str], PostgresServer], certificate_authority: CertificateAuthority
) -> None:
    # The operator itself could: the certificate names 127.0.0.1. Cipher's client cannot.
    server = servers("trusted")
    roles = server.execute("SELECT rolname FROM pg_roles ORDER BY 1")
    namespace.secret("pg-admin", {"CIPHER_PG_URL": server.admin_url()})
    write_ca(namespace, "ConfigMap", certificate_authority.certificate.read_text())
    namespace.storage("chat", spec(namespace, "verify-full", "ConfigMap"))
    namespace.wait_reason("chat", "InvalidSpec", SOON)
    assert "spec.app.host" in namespace.condition("chat")["message"]
    assert server.execute("SELECT rolname FROM pg_roles ORDER BY 1") == roles
    namespace.patch("chat", {"spec": {"app": {"host": "localhost"}}})
    namespace.wait_ready("chat", SOON)


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_a_namespace_goes_away_with_the_ca_that_its_storage_needs(
    new_namespace: Callable[[], Namespace], servers: Callable[[str], PostgresServer], kind: str
) -> None:
    namespace, server = new_namespace(), servers("trusted")
    admin_secret(namespace, server)
    assert server.tls is not None
    write_ca(namespace, kind, server.tls.ca.read_text())
    database = namespace.name.replace("-", "_")
    spec = {
        "connection": {
            "secretRef": {"name": "pg-admin"},
            "sslMode": "verify-full",
            "caRef": {"kind": kind, "name": "pg-ca", "key": "ca.crt"},
        },
        "app": {"caPath": "/etc/cipher/ca.crt"},
        "database": {"name": database},
        "deletionPolicy": "Delete",
    }
    namespace.storage("chat", spec)
    namespace.wait_ready("chat")
    namespace.request("DELETE", f"/api/v1/namespaces/{namespace.name}")
    wait_until(lambda: not namespace.exists(), "the namespace is gone", 30)
    assert server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]) == []
