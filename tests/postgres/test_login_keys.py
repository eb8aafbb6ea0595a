"""An administrator's login that comes again hashes nothing. Whatever the server does meanwhile ends as with the
password, with no login more that fails."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from psycopg import sql

from cipher_operator.api.choices import AuthMethod
from cipher_operator.api.connection import Auth
from cipher_operator.api.failures import Failure
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password
from cipher_operator.core.connection.certificates import certificate_blocks
from cipher_operator.core.connection.scram import Keys, Terms, derive
from cipher_operator.postgres import hashing, opening
from cipher_operator.postgres.bounded import Silent
from cipher_operator.postgres.hashing import FEW_ROUNDS, MAX_ROUNDS
from cipher_operator.postgres.login_keys import ENOUGH, LoginKeys
from cipher_operator.postgres.session import Session
from cipher_operator.postgres.startup import connect
from devcluster import PostgresServer
from devcluster.longrun import SetupError
from devcluster.pgbouncer import find_pgbouncer
from devcluster.tls import CertificateAuthority
from support.poolers import Pooler
from support.scram import verifier
from support.sessions import POLICY

WORD = "pass-w0rd of an admin"
ROUNDS = 4096
WARM = ENOUGH + 1
"""Logins until there are keys."""
HBA = [
    "host trusting all 127.0.0.1/32 trust",
    "host clear all 127.0.0.1/32 password",
    "host md5 all 127.0.0.1/32 md5",
    "host all all 127.0.0.1/32 scram-sha-256",
]
_names = iter(range(10_000))


@pytest.fixture(scope="module")
def server(certificate_authority: CertificateAuthority) -> Iterator[PostgresServer]:
    with PostgresServer(16, tls=certificate_authority.server(), hba=HBA) as running:
        for database in ("trusting", "clear", "md5"):
            running.execute(f"CREATE DATABASE {database}")
        yield running


@pytest.fixture(params=[SSLMode.DISABLE, SSLMode.REQUIRE, SSLMode.VERIFY_FULL], ids=str)
def admin(
    request: pytest.FixtureRequest, server: PostgresServer, certificate_authority: CertificateAuthority
) -> AdminConnection:
    """A login of its own."""
    return admin_of(server, WORD, SSLMode(request.param), certificate_authority)


def admin_of(
    server: PostgresServer, word: str, mode: SSLMode, authority: CertificateAuthority | None = None, rounds: int = 4096
) -> AdminConnection:
    user = f"keys_{next(_names)}"
    made = verifier(word, rounds) if word.isascii() else word
    server.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{made}'")
    ca = certificate_blocks(authority.certificate.read_bytes()) if authority is not None else None
    return AdminConnection(server.host, server.port, user, Password(word), None, mode, ca)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """How each connection began: with keys or not."""
    found: list[bool] = []

    async def watched(keywords: dict[str, Any], keys: Keys | None = None, **how: Any) -> Any:
        found.append(keys is not None)
        return await connect(keywords, keys, **how)

    monkeypatch.setattr(opening, "connect", watched)
    return found


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Terms]:
    """For which terms keys were made."""
    found: list[Terms] = []

    def watched(password: Password, terms: Terms) -> Keys:
        found.append(terms)
        return derive(password, terms)

    monkeypatch.setattr(hashing, "derive", watched)
    return found


async def outcome(admin: AdminConnection, keys: LoginKeys | None, database: str = "postgres") -> object:
    """Log in and return what came of it."""
    try:
        async with await Session.open(admin, database, POLICY, keys=keys) as session:
            return session.ssl_in_use
    except Failure as failure:
        return failure.reason, failure.message


async def warm(admin: AdminConnection, keys: LoginKeys) -> None:
    for _ in range(WARM):
        assert not isinstance(await outcome(admin, keys), tuple)


def refused_logins(server: PostgresServer, admin: AdminConnection) -> int:
    return len(re.findall(f'authentication failed for user "{admin.user}"', server.log_text()))


@pytest.mark.parametrize("rounds", [1, 4096, FEW_ROUNDS, FEW_ROUNDS + 1])
async def test_the_third_login_makes_keys_and_the_next_have_them(
    server: PostgresServer, begun: list[bool], made: list[Terms], rounds: int
) -> None:
    admin, keys = admin_of(server, WORD, SSLMode.DISABLE, rounds=rounds), LoginKeys()
    await warm(admin, keys)
    assert begun == [False, False, True]
    begun.clear()
    for _ in range(5):
        async with await Session.open(admin, "postgres", POLICY, keys=keys) as session:
            assert session.connections_made == 1
    assert begun == [True] * 5
    assert [terms.rounds for terms in made] == [rounds]


AGAIN, ONCE = (True, False), (True,)
MADE = "ALTER ROLE {user} PASSWORD '{made}'"


@dataclass(frozen=True)
class Case:
    """What is said to the server between two logins; how the connections of the second begin; whether keys remain."""

    sql: str = ""
    begins: Sequence[bool] = ONCE
    keeps: bool = True
    made: tuple[str, int] = (WORD, ROUNDS)
    """Of what `{made}` in the SQL is the verifier."""
    database: str = "postgres"
    require_auth: str | None = None


CASES = {
    "nothing": Case(),
    "the password set again": Case(f"ALTER ROLE {{user}} PASSWORD '{WORD}'", AGAIN, keeps=False),
    "other rounds, the same salt": Case(MADE, AGAIN, keeps=False, made=(WORD, ROUNDS + 1)),
    "many rounds": Case(MADE, AGAIN, keeps=False, made=(WORD, FEW_ROUNDS + 1)),
    "too many rounds": Case(MADE, made=(WORD, MAX_ROUNDS + 1)),
    "another password": Case("ALTER ROLE {user} PASSWORD 'other'", AGAIN, keeps=False),
    "another password, the same salt": Case(MADE, made=("other", ROUNDS)),
    "no such login": Case("DROP ROLE {user}", AGAIN, keeps=False),
    "no password": Case("ALTER ROLE {user} PASSWORD NULL", AGAIN, keeps=False),
    "no login": Case("ALTER ROLE {user} NOLOGIN"),
    "an md5 password": Case("SET password_encryption = md5; ALTER ROLE {user} PASSWORD 'other'", AGAIN, keeps=False),
    "md5": Case(
        f"SET password_encryption = md5; ALTER ROLE {{user}} PASSWORD '{WORD}'",
        keeps=False,
        database="md5",
        require_auth="md5",
    ),
    "md5, which was not asked for": Case(
        f"SET password_encryption = md5; ALTER ROLE {{user}} PASSWORD '{WORD}'", keeps=False, database="md5"
    ),
    "no proof asked for": Case(keeps=False, database="trusting"),
    "the password itself asked for": Case(keeps=False, database="clear"),
    "no such database": Case(database="nowhere"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_what_the_server_does_ends_as_with_the_password(
    server: PostgresServer, admin: AdminConnection, begun: list[bool], case: Case
) -> None:
    keys = LoginKeys()
    await warm(admin, keys)
    made = verifier(*case.made) if case.sql is MADE else ""
    server.execute(case.sql.format(user=admin.user, made=made) or "SELECT")
    admin = replace(admin, require_auth=case.require_auth)

    begun.clear()
    server.mark_log()
    found = await outcome(admin, keys, case.database)
    refusals = refused_logins(server, admin)
    assert begun == list(case.begins)

    server.mark_log()
    assert found == await outcome(admin, None, case.database)
    assert refusals == refused_logins(server, admin)

    begun.clear()
    await outcome(admin, keys, case.database)
    # A login that failed with them says nothing against the keys.
    assert begun == [case.keeps or (isinstance(found, tuple) and case.begins == ONCE)]


async def test_a_connection_that_is_given_up_says_nothing_in_the_servers_log(
    server: PostgresServer, admin: AdminConnection
) -> None:
    keys = LoginKeys()
    await warm(admin, keys)
    server.execute(f"ALTER ROLE {admin.user} PASSWORD '{WORD}'")
    server.mark_log()
    async with await Session.open(admin, "postgres", POLICY, keys=keys) as session:
        assert session.connections_made == 2
    assert server.connections_authorized() == 1
    assert not re.search("FATAL|ERROR|WARNING", server.log_text())


async def test_a_statement_of_such_a_session_can_be_cancelled(server: PostgresServer, admin: AdminConnection) -> None:
    """libpq makes a second connection for it, with what the first was given."""
    keys = LoginKeys()
    await warm(admin, keys)
    server.mark_log()
    async with await Session.open(admin, "postgres", POLICY, keys=keys) as session:
        with pytest.raises(Silent):
            await session.execute(sql.SQL("SELECT pg_sleep(30)"), seconds=0.3)
    for _ in range(200):
        if "canceling statement due to user request" in server.log_text():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(server.log_text())


async def test_two_logins_never_share_keys(server: PostgresServer, begun: list[bool]) -> None:
    admin, keys = admin_of(server, WORD, SSLMode.DISABLE), LoginKeys()
    await warm(admin, keys)
    server.execute(f"CREATE ROLE {admin.user}_b LOGIN PASSWORD '{verifier(WORD)}'")
    others = {
        "user": replace(admin, user=f"{admin.user}_b"),
        "password": replace(admin, password=Password("other")),
        "host": replace(admin, host="localhost"),
        "cloud": replace(admin, auth=Auth(AuthMethod.CLOUD_SQL_IAM)),
    }
    for what, other in others.items():
        begun.clear()
        await outcome(other, keys)
        assert begun == [False], what


@pytest.mark.parametrize(
    "word", ["pässwörd", "no\u00a0break", "bell\u0007", "日本語"],
    ids=["umlauts", "mapped", "control character", "Japanese"],
)  # fmt: skip
async def test_a_password_that_is_prepared_stays_libpqs(server: PostgresServer, begun: list[bool], word: str) -> None:
    admin, keys = admin_of(server, word, SSLMode.DISABLE), LoginKeys()
    await warm(admin, keys)
    assert not any(begun)


async def test_an_older_libpq_takes_the_password(
    server: PostgresServer, begun: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psycopg.pq.version", lambda: 170_999)
    await warm(admin_of(server, WORD, SSLMode.DISABLE), LoginKeys())
    assert not any(begun)


@pytest.mark.parametrize("known_as", ["password", "verifier"])
async def test_a_pooler_costs_no_connection_more(server: PostgresServer, begun: list[bool], known_as: str) -> None:
    try:
        find_pgbouncer()
    except SetupError as error:
        pytest.skip(str(error))
    admin, keys = admin_of(server, WORD, SSLMode.DISABLE), LoginKeys()
    entry = WORD if known_as == "password" else verifier(WORD)
    with Pooler(server, "session", {admin.user: entry}) as pooler:
        behind = replace(admin, port=pooler.port)
        for _ in range(6):
            assert await outcome(behind, keys) is False
    assert len(begun) == 6


async def test_nothing_secret_is_shown_or_kept(server: PostgresServer) -> None:
    admin, keys = admin_of(server, WORD, SSLMode.DISABLE), LoginKeys()
    await warm(admin, keys)
    login = keys.login(admin, admin.host)
    made = await keys.of(login, admin.password)
    assert made is not None
    shown = repr(made) + repr(keys) + repr(vars(keys))
    for secret in (WORD, made.client, made.server):
        assert secret not in shown
