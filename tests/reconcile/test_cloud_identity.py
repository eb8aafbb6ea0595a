"""A CipherServer without any password: its login's tokens come from a cloud, through a door that judges them itself."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from psycopg import sql

from cipher_operator.identity.cloud import CloudTokens
from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority, TlsFixture
from support.clouds import ISSUERS, REGION, STS, Issuer
from support.runs import SERVERS
from support.tenants import PROD, Tenants
from support.token_door import TokenDoor

USERS = sorted({issuer.user for issuer in ISSUERS})
BY_TOKEN = "".join(f'host all "{user}" 127.0.0.1/32 trust\n' for user in USERS)
HBA = BY_TOKEN + "host all all 127.0.0.1/32 scram-sha-256\n"


class ManagedDoor(TokenDoor):
    """One that lets who has no cloud identity in by password, as every cloud does."""

    def __init__(self, server: PostgresServer, tls: TlsFixture, issuer: Issuer) -> None:
        super().__init__(server, tls, issuer)
        self.server = server

    async def challenge(
        self, parameters: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | None:
        if parameters["user"].startswith("cipher_ns_"):
            return None
        return await super().challenge(parameters, reader, writer)


@pytest.fixture(scope="module")
def behind() -> Iterator[PostgresServer]:
    with PostgresServer(16, hba=HBA) as server:
        for user in USERS:
            server.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB CREATEROLE").format(sql.Identifier(user)).as_string())
        yield server


@pytest.fixture(params=ISSUERS, ids=lambda each: each.__name__)
async def issuer(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Issuer]:
    async with request.param(tmp_path) as running:
        yield running


@pytest.fixture
async def door(
    behind: PostgresServer, issuer: Issuer, certificate_authority: CertificateAuthority
) -> AsyncIterator[ManagedDoor]:
    with ManagedDoor(behind, certificate_authority.server(), issuer) as opened:
        yield opened


@pytest.fixture
async def tenants(door: ManagedDoor, certificate_authority: CertificateAuthority) -> AsyncIterator[Tenants]:
    """A CipherServer that names the door, and no Secret."""
    issuer = door.issuer
    made = Tenants(door.server, "cloud", instance="cloud")
    await made.tokens.close()
    made.tokens = CloudTokens(issuer.environ(), clock=lambda: issuer.late, wall=lambda: issuer.now, timeout=2.0)
    made.restart()
    made.api.configmap("ca", {"ca.crt": certificate_authority.certificate.read_text()}, namespace=SERVERS)
    connection = {"host": "localhost", "port": door.port, "user": issuer.user, "sslMode": "verify-full"}
    made.api.server(
        PROD,
        {
            "auth": {"method": str(issuer.method)},
            "connection": {**connection, "caRef": {"kind": "ConfigMap", "name": "ca"}},
            "defaults": {"app": {"caPath": "/etc/cipher/ca.crt"}},
            "limits": {"deletionPolicies": ["Delete", "Retain"]},
        },
    )
    yield made
    await made.close()
    for (name,) in door.server.execute("SELECT datname FROM pg_database WHERE datname ~ '^ns_'"):
        door.server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    for (name,) in door.server.execute("SELECT rolname FROM pg_roles WHERE rolname ~ '^cipher_ns_'"):
        door.server.execute(f'DROP ROLE "{name}"')


async def test_a_tenant_is_ready_and_goes_by_tokens_alone(tenants: Tenants, issuer: Issuer) -> None:
    before = tenants.there()
    await tenants.ready_tenant(deletionPolicy="Delete")
    await tenants.look_at_server()
    assert tenants.server_ready()["status"] == "True"
    assert issuer.asked == 1, "one token for all sessions"
    data = tenants.secret()
    assert data["STORAGE_DATABASE_USER"].startswith("cipher_"), "pods have a login and a password of their own"
    tenants.api.delete("cipherstorages", "chat")
    await tenants.look()
    assert tenants.api.read("cipherstorages", "chat") is None
    assert tenants.there() == before


async def test_a_cloud_that_refuses_is_said_and_mended(tenants: Tenants, issuer: Issuer) -> None:
    issuer.mood = "down"
    tenants.tenant()
    assert await tenants.look() == ("False", "IdentityUnavailable")
    assert f"CipherServer '{PROD}'" in tenants.api.condition()["message"]
    assert not tenants.lanes.counts().down, "the server itself was not asked"
    await tenants.look_at_server()
    ready = tenants.server_ready()
    assert (ready["status"], ready["reason"]) == ("False", "IdentityUnavailable")
    issuer.mood = "good"
    issuer.late += 30
    assert await tenants.look() == ("True", "Ready")


async def test_a_token_that_the_server_refuses_is_a_verdict_on_the_login(tenants: Tenants, issuer: Issuer) -> None:
    await tenants.ready_tenant()
    user = {"spec": {"connection": {"user": "nobody"}}}
    tenants.api.change("cipherservers", PROD, user, namespace="")
    assert await tenants.look() == ("False", "AuthenticationFailed")
    logins = sum(tenants.counts.logins.values())
    issuer.late += 1_000
    issuer.mount()
    for name in ("second", "third"):
        tenants.tenant(name)
        assert await tenants.look(name) == ("False", "AuthenticationFailed")
    assert sum(tenants.counts.logins.values()) == logins, "another token of the same login is not tried meanwhile"


async def test_what_was_revoked_is_given_anew(tenants: Tenants, issuer: Issuer) -> None:
    """A role's sessions, an account's tokens: what is kept would be refused for as long as it would have lasted."""
    await tenants.ready_tenant()
    issuer.revoke()
    assert await tenants.look() == ("False", "AuthenticationFailed")
    asked = issuer.asked
    for need in tuple(tenants.lanes._refusals):
        tenants.lanes.forget_verdict(*need)
    assert await tenants.look() == ("True", "Ready")
    assert issuer.asked == asked + 1
    assert await tenants.look() == ("True", "Ready")
    assert issuer.asked == asked + 1, "what is good is kept"


@pytest.mark.parametrize("issuer", [STS], indirect=True)
async def test_a_region_that_is_corrected_counts_at_once(tenants: Tenants) -> None:
    """A verdict on the login is one on what its tokens are made for."""
    method = {"method": "AWSIAM"}
    tenants.api.change("cipherservers", PROD, {"spec": {"auth": {**method, "region": "us-east-1"}}}, namespace="")
    tenants.tenant()
    assert await tenants.look() == ("False", "AuthenticationFailed")
    tenants.api.change("cipherservers", PROD, {"spec": {"auth": {**method, "region": REGION}}}, namespace="")
    assert await tenants.look() == ("True", "Ready")


async def test_checks_go_on_when_tokens_have_ended(tenants: Tenants, issuer: Issuer) -> None:
    await tenants.ready_tenant()
    for _ in range(3):
        issuer.late += 4_000
        issuer.mount()
        assert await tenants.look() == ("True", "Ready")
    assert issuer.asked >= 3


async def test_no_token_stands_anywhere(tenants: Tenants, door: ManagedDoor, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await tenants.ready_tenant()
    await tenants.look_at_server()
    assert door.passwords
    for token in set(door.passwords):
        assert token not in caplog.text
        assert not any(token in str(body) for body in tenants.api.store.objects.values())
