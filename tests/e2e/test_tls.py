"""The CA, as a user brings it: from either kind of object, changing while pods run. What goes wrong is in the table."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority, private_key_pem
from support.cluster import PROMPT, Namespace, wait_until
from support.faulty_servers import FaultyServers

SOON = PROMPT

Record = Callable[[str, object], None]


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


@pytest.mark.parametrize(
    ("kind", "key"), [("ConfigMap", None), ("ConfigMap", "rds.pem"), ("Secret", None), ("Secret", "tls-chain.pem")]
)
def test_a_bundle_from_either_kind(
    namespace: Namespace,
    servers: FaultyServers,
    certificate_authority: CertificateAuthority,
    tmp_path: Path,
    kind: str,
    key: str | None,
) -> None:
    other = CertificateAuthority(tmp_path, "another CA").certificate.read_text()
    good, private = certificate_authority.certificate.read_text(), private_key_pem().decode()
    admin_secret(namespace, servers("shared"))
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
    servers: FaultyServers,
    certificate_authority: CertificateAuthority,
    tmp_path: Path,
    record_property: Record,
    kind: str,
) -> None:
    good = certificate_authority.certificate.read_text()
    other = CertificateAuthority(tmp_path, "another CA").certificate.read_text()
    admin_secret(namespace, servers("shared"))
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
    namespace: Namespace, servers: FaultyServers, certificate_authority: CertificateAuthority
) -> None:
    # The operator itself could: the certificate names 127.0.0.1. Cipher's client cannot.
    server = servers("shared")
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
    new_namespace: Callable[[], Namespace], servers: FaultyServers, kind: str
) -> None:
    namespace, server = new_namespace(), servers("shared")
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
    namespace.end()
    assert server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]) == []
