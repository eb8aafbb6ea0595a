"""One name, several addresses: readers, servers that start, and which of them a session ends at (Patroni, repmgr)."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from psycopg import sql

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.errors import classify
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from support.members import NAME, Members, resolve_to
from support.sessions import error_of

POLICY = DialPolicy((), 5.0)
READ_ONLY = Reason.READ_ONLY_SERVER

_numbers = itertools.count()


@pytest.fixture(scope="module", params=[13, 16], ids=["13, which tells nothing by itself", "16"])
def members(request: pytest.FixtureRequest) -> Iterator[Members]:
    with PostgresServer(request.param) as primary:
        primary.execute("CREATE ROLE reader LOGIN PASSWORD 'word-s3cr3t'")
        primary.execute("ALTER ROLE reader SET default_transaction_read_only = on")
        standby = primary.standby()
        try:
            yield Members(primary, standby)
        finally:
            standby.close()


def admin_of(members: Members, port: int, attrs: str | None) -> AdminConnection:
    word = Password(members.primary.password)
    made = AdminConnection(NAME, port, members.primary.superuser, word, None, SSLMode.DISABLE)
    return replace(made, target_session_attrs=attrs)


# what the URL asks for, the members in the resolver's order, connections made
FOUND = {
    "the first is a standby": ("read-write", ("standby", "primary"), 2),
    "primary instead of read-write": ("primary", ("standby", "primary"), 2),
    "the first is the primary": ("read-write", ("primary", "standby"), 1),
    "one starts": ("read-write", ("starting", "primary"), 2),
    "one starts, and nothing is asked for": (None, ("starting", "primary"), 2),
    "all kinds": ("read-write", ("away", "starting", "standby", "primary"), 3),
    "one is silent": ("read-write", ("silent", "primary"), 1),
    "the primary is first, and nothing is asked for": (None, ("primary", "standby"), 1),
    "one is away, and nothing is asked for": (None, ("away", "primary"), 1),
    "the sixth of six (three members, with IPv4 and IPv6)": ("read-write", ("standby",) * 5 + ("primary",), 6),
    "the sixth, and five are silent": ("read-write", ("silent",) * 5 + ("primary",), 1),
}


@pytest.mark.parametrize("case", FOUND.values(), ids=FOUND)
async def test_the_one_that_takes_writes_is_found(
    members: Members, monkeypatch: pytest.MonkeyPatch, case: tuple[str | None, tuple[str, ...], int]
) -> None:
    attrs, kinds, connections = case
    async with members.behind(*kinds) as (port, addresses):
        resolve_to(monkeypatch, addresses)
        policy = DialPolicy((), 2.0)
        async with await Session.open(admin_of(members, port, attrs), "postgres", policy) as session:
            assert await session.execute(sql.SQL("SELECT pg_is_in_recovery()")) == [[(False,)]]
            assert session.connections_made == connections


# what the URL asks for, the members, the reason, parts of the message
TOLD = {
    "only standbys": ("read-write", ("standby", "standby"), READ_ONLY, "writer endpoint"),
    "the primary is away": ("read-write", ("standby", "away"), READ_ONLY, "writer endpoint"),
    "the primary starts": ("primary", ("starting", "standby"), READ_ONLY, "writer endpoint"),
    "all start": (None, ("starting", "starting"), Reason.SERVER_NOT_READY, "57P03"),
    "one starts, one is away": (None, ("starting", "away"), Reason.SERVER_NOT_READY, "57P03"),
    "nothing is asked for": (None, ("standby", "primary"), READ_ONLY, "`target_session_attrs=read-write`"),
    "any is asked for": ("any", ("standby", "primary"), READ_ONLY, "`target_session_attrs=read-write`"),
    "nothing is asked for, the first is away": (None, ("away", "standby"), READ_ONLY, "`target_session_attrs"),
    "one address": ("read-write", ("standby",), READ_ONLY, "writer endpoint"),
}


@pytest.mark.parametrize("case", TOLD.values(), ids=TOLD)
async def test_what_is_told_where_none_does(
    members: Members, monkeypatch: pytest.MonkeyPatch, case: tuple[str | None, tuple[str, ...], Reason, str]
) -> None:
    attrs, kinds, reason, said = case
    async with members.behind(*kinds) as (port, addresses):
        resolve_to(monkeypatch, addresses)
        with pytest.raises(Failure) as caught:
            await Session.open(admin_of(members, port, attrs), "postgres", POLICY)
    assert caught.value.reason is reason
    assert said in caught.value.message
    assert ("target_session_attrs" in caught.value.message) is ("target" in said), "told where it is not there yet"
    for secret in (NAME, str(port), *addresses):
        assert secret not in caught.value.message


# the members, what the primary has done that the standby does not know yet, what comes of it, connections made
BEHIND = {
    "made since, the standby is first": (("standby", "primary"), "CREATE", None, 2),
    "made since, the primary is first": (("primary", "standby"), "CREATE", None, 1),
    "made since, the primary is away": (("standby", "away"), "CREATE", Reason.DATABASE_MISSING, 0),
    "dropped since, the standby is first": (("standby", "primary"), "DROP", Reason.DATABASE_MISSING, 0),
    "dropped since, the primary is first": (("primary", "standby"), "DROP", Reason.DATABASE_MISSING, 0),
}


@pytest.mark.parametrize("case", BEHIND.values(), ids=BEHIND)
async def test_a_standby_that_is_behind_does_not_say_which_databases_there_are(
    members: Members, monkeypatch: pytest.MonkeyPatch, case: tuple[tuple[str, ...], str, Reason | None, int]
) -> None:
    kinds, verb, reason, connections = case
    database = f"moved_{next(_numbers)}"
    if verb == "DROP":
        members.primary.execute(f"CREATE DATABASE {database}")
        await members.level()
    async with members.behind(*kinds) as (port, addresses), members.paused():
        resolve_to(monkeypatch, addresses)
        members.primary.execute(f"{verb} DATABASE {database}")
        try:
            async with await Session.open(admin_of(members, port, "read-write"), database, POLICY) as session:
                assert session.connections_made == connections
        except Failure as failure:
            assert failure.reason is reason
        else:
            assert reason is None


async def test_one_address_and_nothing_asked_for_is_judged_by_the_plan(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with members.behind("standby") as (port, addresses):
        resolve_to(monkeypatch, addresses)
        async with await Session.open(admin_of(members, port, None), "postgres", POLICY) as session:
            failure = classify(await error_of(session, "CREATE ROLE x"))
    assert failure.reason is READ_ONLY


@pytest.mark.parametrize("attrs", [None, "read-write"], ids=["nothing asked for", "read-write"])
async def test_a_refused_login_is_tried_at_one_address_only(
    members: Members, monkeypatch: pytest.MonkeyPatch, attrs: str | None
) -> None:
    for server in (members.primary, members.standby):
        server.mark_log()
    async with members.behind("standby", "primary") as (port, addresses):
        resolve_to(monkeypatch, addresses)
        wrong = replace(admin_of(members, port, attrs), password=Password("wrong-s3cr3t"))
        with pytest.raises(Failure) as caught:
            await Session.open(wrong, "postgres", POLICY)
    assert caught.value.reason is Reason.AUTHENTICATION_FAILED
    assert members.standby.log_text().count("password authentication failed") == 1
    assert "password authentication failed" not in members.primary.log_text()


async def test_a_login_that_reads_only_by_its_own_setting(members: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    """`primary` asks what the server is, `read-write` what a session may."""
    async with members.behind("primary") as (port, addresses):
        resolve_to(monkeypatch, addresses)
        login = replace(admin_of(members, port, "primary"), user="reader", password=Password("word-s3cr3t"))
        async with await Session.open(login, "postgres", POLICY) as session:
            assert not session.closed
        with pytest.raises(Failure) as caught:
            await Session.open(replace(login, target_session_attrs="read-write"), "postgres", POLICY)
    assert caught.value.reason is READ_ONLY
