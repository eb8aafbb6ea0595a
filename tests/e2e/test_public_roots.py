"""verify-full without caRef, as a user has it: the operator's public CAs are the bundle that SSL_CERT_FILE names."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devcluster import ControlPlane, PostgresServer
from devcluster.tls import CertificateAuthority
from support.cluster import PROMPT, Namespace, Operator
from support.public_roots import open_both, public_roots

SOON = PROMPT


@pytest.fixture(scope="module")
def roots(certificate_authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return public_roots(tmp_path_factory.mktemp("roots") / "roots.crt", certificate_authority.certificate)


@pytest.fixture(scope="module")
def operator(cluster: ControlPlane, roots: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(roots))
        running = Operator(cluster, tmp_path_factory.mktemp("operator")).start()
    yield running
    running.stop()


def test_a_server_with_a_public_certificate_needs_no_ca(
    namespace: Namespace,
    postgres_server: Callable[..., PostgresServer],
    certificate_authority: CertificateAuthority,
    roots: Path,
) -> None:
    server = postgres_server(16, tls=certificate_authority.server(), hba="hostssl all all samehost scram-sha-256\n")
    namespace.secret("pg-admin", {"CIPHER_PG_URL": server.admin_url().replace(server.host, "localhost")})
    connection = {"secretRef": {"name": "pg-admin"}, "sslMode": "verify-full"}
    namespace.storage("chat", {"connection": connection, "database": {"name": "public_roots"}})
    namespace.wait_ready("chat", SOON)
    published = namespace.app_secret("chat")
    assert "certificates" not in published
    assert open_both(published, roots) == dict.fromkeys(
        ("libpq", "node-pg locked", "node-pg newest"), ("public_roots", True)
    )
