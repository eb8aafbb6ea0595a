"""Tokens as passwords: a real libpq over verified TLS, a door that judges the token itself, a real server behind it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from cipher_operator.api.choices import AuthMethod, SSLMode
from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.connection.password import Password
from cipher_operator.identity.cloud import CloudTokens
from cipher_operator.identity.port import Login
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority
from identity.conftest import PATIENCE, MakeTokens, login_of
from support.clouds import ISSUERS, STS, Issuer, PodIdentityAgent
from support.sessions import POLICY, run
from support.token_door import TRUST, TokenDoor

WORDS = {
    AuthMethod.AWS_IAM: 'PAM authentication failed for user "{user}"',
    AuthMethod.CLOUD_SQL_IAM: 'Cloud SQL IAM service account authentication failed for user "{user}"',
    AuthMethod.AZURE_ENTRA: "access token",
}


REMEDIES = {
    AuthMethod.AWS_IAM: "allow the operator's IAM role `rds-db:connect`",
    AuthMethod.CLOUD_SQL_IAM: "roles/cloudsql.instanceUser",
    AuthMethod.AZURE_ENTRA: "pgaadauth_create_principal",
}


@pytest.fixture(scope="module")
def behind() -> Iterator[PostgresServer]:
    with PostgresServer(hba=TRUST) as server:
        for user in sorted({issuer.user for issuer in ISSUERS}):
            make = sql.SQL("CREATE ROLE {} LOGIN CREATEDB CREATEROLE").format(sql.Identifier(user))
            server.execute(make.as_string(None))
        yield server


@pytest.fixture
async def door(
    issuer: Issuer, behind: PostgresServer, certificate_authority: CertificateAuthority
) -> AsyncIterator[TokenDoor]:
    opened = TokenDoor(behind, certificate_authority.server(), issuer)
    with opened:
        yield opened


async def connect(door: TokenDoor, token: Password, ca: Path, **more: Any) -> str:
    """Log in as the operator does where a token is the password, and return who the server says that we are."""
    keywords: dict[str, Any] = {
        "host": "localhost",
        "hostaddr": "127.0.0.1",
        "port": door.port,
        "dbname": "postgres",
        "user": door.issuer.user,
        "password": token.reveal(),
        "sslmode": "verify-full",
        "sslrootcert": str(ca),
        "require_auth": "password",
    }
    async with await psycopg.AsyncConnection.connect(**{**keywords, **more}) as opened:
        cursor = await opened.execute("SELECT session_user::text")
        row = await cursor.fetchone()
        assert row is not None
        return str(row[0])


async def refused(door: TokenDoor, token: Password, ca: Path, **more: Any) -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        await connect(door, token, ca, **more)
    said = str(caught.value)
    assert token.reveal() not in said
    return said


def times(issuer: Issuer) -> dict[str, Any]:
    """Return the clocks of CloudTokens for which time passes as for the issuer."""
    return {"clock": lambda: issuer.late, "wall": lambda: issuer.now}


def pass_time(issuer: Issuer, seconds: float) -> None:
    """Let time pass for all; the kubelet renews the ServiceAccount's token."""
    issuer.late += seconds
    issuer.mount()


def words(door: TokenDoor) -> str:
    return WORDS[door.issuer.method].format(user=door.issuer.user)


async def test_good(door: TokenDoor, make_tokens: MakeTokens, certificate_authority: CertificateAuthority) -> None:
    tokens = make_tokens(door.issuer.environ())
    for _ in range(3):
        token = await tokens.token(login_of(door.issuer, door.port))
        assert await connect(door, token, certificate_authority.certificate) == door.issuer.user
    assert door.passwords == [token.reveal()] * 3
    assert door.issuer.asked == 1


async def test_expired(door: TokenDoor, make_tokens: MakeTokens, certificate_authority: CertificateAuthority) -> None:
    """A token that was good is refused when its time is over, and the next one goes through."""
    tokens = make_tokens(door.issuer.environ(), **times(door.issuer))
    old = await tokens.token(login_of(door.issuer, door.port))
    pass_time(door.issuer, 3_700.0)
    assert words(door) in await refused(door, old, certificate_authority.certificate)
    new = await tokens.token(login_of(door.issuer, door.port))
    assert new != old
    assert await connect(door, new, certificate_authority.certificate) == door.issuer.user


async def test_a_token_is_good_at_the_door_for_as_long_as_it_is_handed_out(
    door: TokenDoor, make_tokens: MakeTokens, certificate_authority: CertificateAuthority
) -> None:
    tokens = make_tokens(door.issuer.environ(), **times(door.issuer))
    given = set()
    for _ in range(90):
        token = await tokens.token(login_of(door.issuer, door.port))
        given.add(token)
        pass_time(door.issuer, 59.0)
        assert door._judged(door.issuer.user, token.reveal()) is None
        pass_time(door.issuer, 61.0)
    # Three hours, in which those of AWS are good for ten minutes and the others' for an hour.
    assert len(given) >= (18 if door.issuer.method is AuthMethod.AWS_IAM else 3)
    assert door.issuer.asked <= 6


async def test_refused(door: TokenDoor, make_tokens: MakeTokens) -> None:
    """The cloud refuses the Pod: nothing is sent to the server at all."""
    door.issuer.mood = "down"
    tokens = make_tokens(door.issuer.environ())
    with pytest.raises(Failure, match="refused: HTTP 503"):
        await tokens.token(login_of(door.issuer, door.port))
    assert door.passwords == []


async def test_slow(door: TokenDoor, make_tokens: MakeTokens, certificate_authority: CertificateAuthority) -> None:
    """A cloud that falls silent is not felt while a token is good; without one it is said after the time limit."""
    tokens = make_tokens(door.issuer.environ(), timeout=PATIENCE, **times(door.issuer))
    first = await tokens.token(login_of(door.issuer, door.port))
    door.issuer.mood = "slow"
    pass_time(door.issuer, 590.0)
    assert await tokens.token(login_of(door.issuer, door.port)) == first
    assert await connect(door, first, certificate_authority.certificate) == door.issuer.user
    pass_time(door.issuer, 3_400.0)
    with pytest.raises(Failure, match="did not answer within"):
        await tokens.token(login_of(door.issuer, door.port))


async def test_the_operators_own_session(
    door: TokenDoor, make_tokens: MakeTokens, certificate_authority: CertificateAuthority
) -> None:
    tokens = make_tokens(door.issuer.environ(), **times(door.issuer))
    token = await tokens.token(login_of(door.issuer, door.port))
    ca = certificate_authority.certificate.read_text()
    admin = AdminConnection(
        "localhost", door.port, door.issuer.user, token, None, SSLMode.VERIFY_FULL, ca, require_auth="password"
    )
    async with await Session.open(admin, "postgres", POLICY) as session:
        assert await run(session, "SELECT session_user::text") == [[(door.issuer.user,)]]
    pass_time(door.issuer, 3_700.0)
    with pytest.raises(Failure) as refused:
        await Session.open(admin, "postgres", POLICY)
    assert refused.value.reason is Reason.AUTHENTICATION_FAILED
    assert REMEDIES[door.issuer.method] in refused.value.message
    assert token.reveal() not in refused.value.message


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-1] + ("0" if token[-1] != "0" else "1"),
        lambda _: "a password",
    ],
    ids=["one character", "no token"],
)
async def test_a_wrong_token(
    door: TokenDoor, make_tokens: MakeTokens, certificate_authority: CertificateAuthority, spoil: Any
) -> None:
    token = await make_tokens(door.issuer.environ()).token(login_of(door.issuer, door.port))
    assert words(door) in await refused(door, Password(spoil(token.reveal())), certificate_authority.certificate)


@pytest.mark.parametrize("issuer", [STS, PodIdentityAgent], indirect=True)
async def test_a_longer_life_breaks_the_signature(
    door: TokenDoor, make_tokens: MakeTokens, certificate_authority: CertificateAuthority
) -> None:
    token = await make_tokens(door.issuer.environ()).token(login_of(door.issuer, door.port))
    longer = token.reveal().replace("Amz-Expires=900", "Amz-Expires=9000")
    assert longer != token.reveal()
    assert words(door) in await refused(door, Password(longer), certificate_authority.certificate)


async def test_a_token_is_for_its_own_user(
    door: TokenDoor, make_tokens: MakeTokens, certificate_authority: CertificateAuthority
) -> None:
    token = await make_tokens(door.issuer.environ()).token(login_of(door.issuer, door.port))
    said = await refused(door, token, certificate_authority.certificate, user="somebody")
    assert WORDS[door.issuer.method].format(user="somebody") in said


@pytest.mark.parametrize(
    "change", [{"host": "another"}, {"port": 1}, {"region": "us-east-1"}], ids=["host", "port", "region"]
)
async def test_a_token_of_rds_is_for_its_own_endpoint(
    behind: PostgresServer,
    certificate_authority: CertificateAuthority,
    make_tokens: MakeTokens,
    tmp_path: Path,
    change: dict[str, Any],
) -> None:
    async with STS(tmp_path) as sts:
        with TokenDoor(behind, certificate_authority.server(), sts) as door:
            asked = {"method": sts.method, "host": "localhost", "port": door.port, "user": sts.user, **change}
            token = await make_tokens(sts.environ()).token(Login(**asked))
            assert "PAM authentication failed" in await refused(door, token, certificate_authority.certificate)


@pytest.mark.parametrize("user", ["Jane D", "jané+doe/x", "a&b=c", "50%~"])
async def test_a_users_name_is_signed_as_it_is(
    behind: PostgresServer,
    certificate_authority: CertificateAuthority,
    make_tokens: MakeTokens,
    tmp_path: Path,
    user: str,
) -> None:
    behind.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(user)).as_string(None))
    async with STS(tmp_path) as sts:
        sts.user = user
        with TokenDoor(behind, certificate_authority.server(), sts) as door:
            token = await make_tokens(sts.environ()).token(login_of(sts, door.port))
            assert f"DBUser={quote(user, safe='-_.~')}&" in token.reveal()
            assert await connect(door, token, certificate_authority.certificate) == user


async def test_nothing_is_sent_to_a_server_that_is_not_verified(
    door: TokenDoor, make_tokens: MakeTokens, tmp_path: Path
) -> None:
    token = await make_tokens(door.issuer.environ()).token(login_of(door.issuer, door.port))
    another = CertificateAuthority(tmp_path / "another")
    assert "certificate verify failed" in await refused(door, token, another.certificate)
    assert door.passwords == []


async def test_a_server_that_asks_for_something_else_gets_nothing(
    behind: PostgresServer, certificate_authority: CertificateAuthority, make_tokens: MakeTokens, tmp_path: Path
) -> None:
    """One that lets everybody in has not looked at the token: it is not the one that we mean."""
    async with STS(tmp_path) as sts:
        token = await make_tokens(sts.environ()).token(login_of(sts))

        class Open(TokenDoor):
            async def challenge(self, *_: Any) -> bytes | None:
                return None

        with Open(behind, certificate_authority.server(), sts) as door:
            assert "server did not complete authentication" in await refused(
                door, token, certificate_authority.certificate
            )


def test_tokens_are_a_port() -> None:
    """What is written against the port takes the adapter."""
    from cipher_operator.identity.port import Tokens

    tokens: Tokens = CloudTokens({})
    assert tokens is not None
