"""A session on a real server: messages and results, and what ends it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from psycopg import sql

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.connection.admin import AdminConnection, Password
from cipher_operator.core.sql.steps import create_login
from cipher_operator.postgres.apply import verifier, with_passwords
from cipher_operator.postgres.errors import Attempt, classify, is_race
from cipher_operator.postgres.session import Session
from devcluster import FaultProxy, PostgresServer
from support.sessions import POLICY, error_of, run


async def test_results_of_one_message(session: Session) -> None:
    results = await run(
        session, "SELECT 1, 'a'; SET LOCAL lock_timeout = 1; SELECT 2 WHERE false; SELECT '{\"a\": [1]}'::jsonb"
    )
    assert results == [[(1, "a")], [], [], [({"a": [1]},)]]


async def test_a_message_is_one_transaction_and_leaves_the_session_usable(session: Session) -> None:
    await error_of(session, "CREATE TABLE session_gone (); SELECT 1/0")
    assert await run(session, "SELECT to_regclass('session_gone')") == [[(None,)]]
    assert not session.closed


async def test_a_message_is_one_round_trip(
    postgres: PostgresServer, admin: AdminConnection, fault_proxy: Callable[..., FaultProxy]
) -> None:
    proxy = fault_proxy(postgres.port)
    async with await Session.open(replace(admin, port=proxy.port), "postgres", POLICY) as session:
        proxy.reset_counts()
        await run(session, "SELECT 1; SELECT 2; SELECT 3")
        await run(session, "SELECT 4")
        assert proxy.round_trips == 2


async def test_facts(postgres: PostgresServer, session: Session) -> None:
    assert session.server_version // 10_000 == postgres.installation.major
    assert session.ssl_in_use is False
    assert session.connections_made == 1
    shown = await run(session, "SELECT current_setting('application_name'), current_setting('client_encoding')")
    assert shown == [[("cipher-operator", "UTF8")]]


async def test_the_caller_may_name_the_application(admin: AdminConnection) -> None:
    async with await Session.open(admin, "postgres", POLICY, run="4f2a") as session:
        assert await run(session, "SELECT current_setting('application_name')") == [[("cipher-operator/4f2a",)]]


@pytest.mark.parametrize(
    "word", ["plain", "pä ss\u00a0w\u00aard", "x" * 500, "p\u0007", "\u200bzero"],
    ids=["ASCII", "prepared", "long", "control character", "mapped to nothing"],
)  # fmt: skip
async def test_libpq_s_verifier_logs_in(session: Session, admin: AdminConnection, word: str) -> None:
    password = Password(word)
    made = session.verifier("session_verified", password)
    assert made.startswith("SCRAM-SHA-256$4096:")
    assert session.verifier("session_verified", password) != made, "a new salt each time"
    assert word not in made
    await session.execute(sql.SQL("CREATE ROLE session_verified LOGIN PASSWORD {}").format(sql.Literal(made)))
    try:
        login = replace(admin, user="session_verified", password=password)
        async with await Session.open(login, "postgres", POLICY, app_login=True) as app:
            assert await run(app, "SELECT current_user") == [[("session_verified",)]]
    finally:
        await run(session, "DROP ROLE session_verified")


async def test_a_verifier_costs_no_round_trip(
    postgres: PostgresServer, admin: AdminConnection, fault_proxy: Callable[..., FaultProxy]
) -> None:
    proxy = fault_proxy(postgres.port)
    async with await Session.open(replace(admin, port=proxy.port), "postgres", POLICY) as session:
        proxy.reset_counts()
        session.verifier("x", Password("y"))
        assert proxy.bytes_to_server == 0
        with pytest.raises(ValueError, match="password"):
            session.verifier("x", Password(""))


async def test_a_server_does_not_say_how_much_work_a_verifier_is(admin: AdminConnection, session: Session) -> None:
    """libpq takes the number of iterations from the server, which may say two thousand millions."""
    if session.server_version < 160000:
        pytest.skip("before 16 there is no such setting")
    await run(session, "CREATE ROLE session_worker LOGIN PASSWORD 'word-s3cr3t'")
    await run(session, "ALTER ROLE session_worker SET scram_iterations = 5000")
    try:
        worker = replace(admin, user="session_worker", password=Password("word-s3cr3t"))
        async with await Session.open(worker, "postgres", POLICY) as other:
            assert other.verifier("x", Password("y")).startswith("SCRAM-SHA-256$4096:")
    finally:
        await run(session, "DROP ROLE session_worker")


async def test_a_verifier_of_ours_logs_in(session: Session, admin: AdminConnection, postgres: PostgresServer) -> None:
    word = Password("pä ss\u00a0w\u00aard")
    statement = create_login("session_scram", "pg_monitor", word, -1).statements[0]
    await session.execute(with_passwords(statement, verifier))
    try:
        login = replace(admin, user="session_scram", password=word)
        async with await Session.open(login, "postgres", POLICY, app_login=True) as app:
            assert await run(app, "SELECT current_user::text") == [[("session_scram",)]]
    finally:
        await run(session, "DROP ROLE session_scram")


async def test_timeout_cancels_the_statement(session: Session) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await run(session, "SELECT pg_sleep(30)")
    assert await run(session, "SELECT 1") == [[(1,)]]


async def test_cut_connection(
    postgres: PostgresServer, admin: AdminConnection, fault_proxy: Callable[..., FaultProxy]
) -> None:
    proxy = fault_proxy(postgres.port)
    async with await Session.open(replace(admin, port=proxy.port), "postgres", POLICY) as session:
        proxy.reset_open()
        error = await error_of(session, "SELECT 1")
        assert session.closed
        assert classify(error).reason is Reason.DISCONNECTED


async def test_terminated_by_an_administrator(session: Session) -> None:
    error = await error_of(session, "SELECT pg_terminate_backend(pg_backend_pid())")
    failure = classify(error)
    assert (failure.reason, failure.sqlstate) == (Reason.DISCONNECTED, "57P01")
    assert session.closed


# reason for the row, what goes before, message, expected reason, SQLSTATE, part of the text
ERRORS = [
    (
        "read-only",
        "SET default_transaction_read_only = on",
        "CREATE ROLE x",
        Reason.READ_ONLY_SERVER,
        "25006",
        "writer",
    ),
    ("privilege", "SET ROLE pg_monitor", "CREATE ROLE x", Reason.INSUFFICIENT_PRIVILEGE, "42501", "create role"),
    ("timeout", "SET statement_timeout = 50", "SELECT pg_sleep(5)", Reason.LOCK_TIMEOUT, "57014", "time limit"),
    (
        "cancelled",
        "",
        "SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(5)",
        Reason.DISCONNECTED,
        "57014",
        "cancel",
    ),
    ("reserved name", "", "CREATE ROLE pg_x", Reason.INVALID_SPEC, "42939", "reserves"),
    ("no such extension", "", "CREATE EXTENSION nothing_at_all", Reason.INVALID_SPEC, None, "`spec.extensions`"),
    ("in use", "", "DROP DATABASE postgres", Reason.LOCK_TIMEOUT, "55006", "in use"),
    ("dependents", "CREATE SCHEMA s CREATE TABLE t ()", "DROP SCHEMA s", Reason.DELETION_BLOCKED, "2BP01", "schema s"),
    ("fence", "", "SELECT 1/0", Reason.UNKNOWN, "22012", "marker"),
    ("syntax", "", "SELEKT 'word-s3cr3t'", Reason.UNKNOWN, "42601", "does not know"),
    ("disk full", "", "DO $$ BEGIN RAISE disk_full; END $$", Reason.DISK_FULL, "53100", "disk"),
    (
        "no room in /dev/shm",
        "",
        'DO $$ BEGIN RAISE disk_full USING MESSAGE = \'could not resize shared memory segment "/PostgreSQL.4711" to '
        "33624064 bytes: No space left on device'; END $$",
        Reason.DISK_FULL,
        "53100",
        "larger /dev/shm",
    ),
    (
        "temporary files",
        "SET temp_file_limit = 0; SET work_mem = 64",
        "SELECT count(*) FROM (SELECT g FROM generate_series(1, 20000) g ORDER BY -g OFFSET 1) s",
        Reason.UNKNOWN,
        "53400",
        'ALTER ROLE "postgres" SET temp_file_limit',
    ),
    (
        "another limit",
        "",
        "DO $$ BEGIN RAISE configuration_limit_exceeded USING MESSAGE = 'too many of these'; END $$",
        Reason.UNKNOWN,
        "53400",
        "too many of these. Raise it",
    ),
    ("broken disk", "", "DO $$ BEGIN RAISE io_error; END $$", Reason.UNKNOWN, "58030", "restore a backup"),
    ("damaged file", "", "DO $$ BEGIN RAISE data_corrupted; END $$", Reason.UNKNOWN, "XX001", "restore a backup"),
    ("damaged index", "", "DO $$ BEGIN RAISE index_corrupted; END $$", Reason.UNKNOWN, "XX002", "REINDEX"),
    ("deadlock", "", "DO $$ BEGIN RAISE deadlock_detected; END $$", Reason.LOCK_TIMEOUT, "40P01", "deadlock"),
]


@pytest.mark.parametrize(
    ("before", "text", "reason", "sqlstate", "said"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS]
)
async def test_errors_in_a_session(
    session: Session, before: str, text: str, reason: Reason, sqlstate: str | None, said: str
) -> None:
    await run(session, before)
    failure = classify(await error_of(session, text), Attempt("postgres", "postgres"))
    await run(session, "RESET ALL; RESET ROLE")
    await run(session, "DROP SCHEMA IF EXISTS s CASCADE")
    assert failure.reason is reason
    assert sqlstate is None or failure.sqlstate == sqlstate
    assert said in failure.message
    assert "s3cr3t" not in failure.message
    assert failure.stage is None, "the caller knows at which stage it was"


async def test_lock_timeout(session: Session, admin: AdminConnection) -> None:
    async with await Session.open(admin, "postgres", POLICY) as other:
        await run(other, "SELECT pg_advisory_lock(4711)")
        error = await error_of(session, "SET LOCAL lock_timeout = 50; SELECT pg_advisory_xact_lock(4711)")
    assert classify(error).reason is Reason.LOCK_TIMEOUT
    assert "prepared transaction" in classify(error).message, "who looks for a session alone may find none"


async def test_the_server_s_own_words_are_cleaned(session: Session) -> None:
    error = await error_of(
        session,
        "DO $$ BEGIN RAISE insufficient_privilege USING MESSAGE = E'see postgres://u:s3cr3t@h/d or\\n10.1.2.3 "
        "SCRAM-SHA-256$s3cr3t fe80::s3cr3t and ' || repeat('x', 5000); END $$",
    )
    message = classify(error).message
    assert "s3cr3t" not in message
    assert "10.1.2.3" not in message
    assert message.isprintable()
    assert len(message) < 500


RACES = [
    ("role", "CREATE ROLE postgres", True),
    ("database", "CREATE DATABASE postgres", True),
    ("schema", "CREATE SCHEMA pg_catalog", False),
    ("table", "CREATE TEMPORARY TABLE pg_temp.r (); CREATE TEMPORARY TABLE pg_temp.r ()", True),
    ("unique", "DO $$ BEGIN RAISE unique_violation; END $$", True),
    ("tuple", "DO $$ BEGIN RAISE internal_error USING MESSAGE = 'tuple concurrently updated'; END $$", True),
    ("other internal error", "DO $$ BEGIN RAISE internal_error USING MESSAGE = 'other'; END $$", False),
    ("fence: the run is over", "SELECT 1/0", False),
    ("privilege", "DO $$ BEGIN RAISE insufficient_privilege; END $$", False),
]


@pytest.mark.parametrize(("text", "race"), [row[1:] for row in RACES], ids=[row[0] for row in RACES])
async def test_races(session: Session, text: str, race: bool) -> None:
    assert is_race(await error_of(session, text)) is race


def test_what_is_no_database_error_is_no_race() -> None:
    assert not is_race(TimeoutError())
    assert not is_race(Failure(Reason.UNKNOWN, "x"))
