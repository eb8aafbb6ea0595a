"""A session that ends in the midst of any statement: the next run goes on by itself, and nothing is lost or left.

The rows of a table are met together on one server, each at its own statement and in a database of its own.
"""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import psycopg
import pytest

from cipher_operator.api.reasons import FailureClass
from cipher_operator.api.spec import AdoptFrom
from cipher_operator.core.connection.password import Password
from cipher_operator.core.orders import Credential
from cipher_operator.core.schema import TABLE_NAMES
from cipher_operator.core.sql.step import Kind
from devcluster import PostgresServer
from support.interrupted import Interrupted, Moment
from support.provision import APP_PASSWORD, Provisioner, Storage, desired, plain_admin, seen, told
from support.worlds import share

T = TypeVar("T")
MAJOR = 15
"""It has the most of them: from 16 on nothing is INHERITed by ALTER ROLE, and the owner role is `public`'s since."""
ADMIN = "half_admin"
ROW = "INSERT INTO {schema}.cipher_store VALUES ('k', 'kept', now(), now())"


@dataclass(frozen=True)
class Row:
    """A statement, and how it comes to be sent: `story` makes what is there before, `then` changes it."""

    kind: Kind
    statement: str
    story: str
    then: str = ""


ROWS = (
    Row(Kind.CREATE_OWNER, r'CREATE ROLE "\w+_owner"', "new"),
    Row(Kind.WRITE_MARKER, r'COMMENT ON ROLE "\w+_owner"', "new"),
    Row(Kind.JOIN_ROLE, rf'GRANT "\w+_owner" TO "{ADMIN}"', "new"),
    Row(Kind.CREATE_LOGIN, r'CREATE ROLE "\w+" LOGIN', "new"),
    Row(Kind.CREATE_DATABASE, r"CREATE DATABASE", "new"),
    Row(Kind.LIFT_LIMIT, r'ALTER DATABASE "\w+" CONNECTION LIMIT -1', "new"),
    Row(Kind.GRANT_DATABASE, r"GRANT ALL ON DATABASE", "new"),
    Row(Kind.REVOKE_PUBLIC, r"REVOKE CONNECT, TEMPORARY", "new"),
    Row(Kind.SET_SEARCH_PATH, r'ALTER ROLE "\w+" IN DATABASE "\w+" SET search_path', "new"),
    Row(Kind.GRANT_SCHEMA, r"GRANT USAGE, CREATE ON SCHEMA", "new"),
    Row(Kind.GRANT_FUTURE, r"ALTER DEFAULT PRIVILEGES .* GRANT ALL ON TABLES", "new"),
    Row(Kind.CREATE_TABLE, r'CREATE TABLE "\w+"."cipher_lists"', "new"),
    Row(Kind.CREATE_INDEX, r'CREATE INDEX "idx_cipher_lists_key"', "new"),
    Row(Kind.CREATE_SCHEMA, r'CREATE SCHEMA "own"', "new with an extension"),
    Row(Kind.CREATE_EXTENSION_SCHEMA, r'CREATE SCHEMA "cipher_extensions"', "new with an extension"),
    Row(Kind.CREATE_EXTENSION, r'CREATE EXTENSION "pgcrypto"', "new with an extension"),
    Row(Kind.GRANT_USAGE, r"GRANT USAGE ON SCHEMA", "new with an extension"),
    Row(Kind.WRITE_TABLE_MARKER, r"COMMENT ON TABLE", "new in Shared mode"),
    Row(Kind.SET_PASSWORD, r'ALTER ROLE "\w+" LOGIN PASSWORD', "rotated"),
    Row(Kind.DISABLE_LOGIN, r'ALTER ROLE "\w+" NOLOGIN PASSWORD NULL', "revoked"),
    Row(Kind.ALTER_LOGIN, r'ALTER ROLE "\w+" LOGIN CONNECTION', "drifted", 'ALTER ROLE "{user}" NOLOGIN'),
    Row(Kind.SET_ACTING_ROLE, r'ALTER ROLE "\w+" SET role', "drifted", 'ALTER ROLE "{user}" RESET role'),
    Row(
        Kind.RESET_SETTING,
        r'ALTER ROLE "\w+" IN DATABASE "\w+" RESET',
        "drifted",
        'ALTER ROLE "{user}" IN DATABASE "{db}" SET role = \'none\'',
    ),
    Row(
        Kind.INHERIT_ROLES,
        r'ALTER ROLE "\w+" INHERIT',
        "drifted",
        'REVOKE "{owner}" FROM "{user}"; ALTER ROLE "{user}" NOINHERIT',
    ),
    Row(
        Kind.GRANT_RELATIONS,
        r"GRANT ALL ON TABLE",
        "drifted",
        f"CREATE TABLE by_admin (id int); ALTER TABLE by_admin OWNER TO {ADMIN}; "
        'REVOKE ALL ON by_admin FROM "{owner}"',
    ),
    Row(
        Kind.SET_TABLE_OWNER,
        r'ALTER TABLE "public"."cipher_store" OWNER',
        "drifted",
        f"ALTER TABLE cipher_store OWNER TO {ADMIN}",
    ),
    Row(
        Kind.MEND_TABLE,
        r'ALTER TABLE "public"."cipher_store" ALTER COLUMN',
        "drifted",
        "ALTER TABLE cipher_store ALTER COLUMN value DROP NOT NULL",
    ),
    Row(Kind.RELEASE_TABLES, r'COMMENT ON ROLE "former\w+_owner"', "handed over"),
    Row(Kind.CLOSE_DATABASE, r'ALTER DATABASE "\w+" WITH ALLOW_CONNECTIONS', "deleted"),
    Row(Kind.END_SESSIONS, r"SELECT pg_terminate_backend", "deleted"),
    Row(Kind.RENAME_DATABASE, r'ALTER DATABASE "\w+" RENAME', "deleted"),
    Row(Kind.DROP_DATABASE, r"DROP DATABASE", "deleted"),
    Row(Kind.DROP_ROLE, r'DROP ROLE "\w+_owner"', "deleted"),
    Row(Kind.DROP_TABLE, r'DROP TABLE "\w+"."cipher_lists"', "deleted from a database of others"),
    Row(Kind.DROP_SCHEMA, r'DROP SCHEMA "own"', "deleted from a database of others"),
    Row(Kind.DROP_EXTENSION, r"DROP EXTENSION", "deleted from a database of others"),
    Row(Kind.REVOKE_DATABASE, r"REVOKE ALL ON DATABASE", "deleted from a database of others"),
    Row(Kind.REVOKE_SCHEMA, r"REVOKE ALL ON SCHEMA", "deleted from public of others"),
    Row(
        Kind.REVOKE_FUTURE,
        r"ALTER DEFAULT PRIVILEGES .* REVOKE",
        "deleted from public of others",
        f'ALTER DEFAULT PRIVILEGES FOR ROLE {ADMIN} IN SCHEMA public GRANT ALL ON TABLES TO "{{owner}}"',
    ),
)
ELSEWHERE = {Kind.BUILD_INDEX: "test_index_builds: it runs beside the run, in a session of its own"}


def test_each_kind_of_step_has_a_row() -> None:
    assert {row.kind for row in ROWS} | set(ELSEWHERE) == set(Kind)
    assert not {row.kind for row in ROWS} & set(ELSEWHERE)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    # What is committed has to outlast an immediate stop, else there is nothing to find half-done.
    with PostgresServer(MAJOR, settings={"synchronous_commit": "on", "full_page_writes": "on"}) as running:
        yield running


@pytest.fixture(scope="module")
def admin(server: PostgresServer) -> Provisioner:
    return plain_admin(server, ADMIN)


_numbers = iter(range(10_000))
NEW = Password("of-the-next-run")


async def storage(server: PostgresServer, admin: Provisioner, row: Row) -> Storage:
    """Make what is there before, and return the storage with the orders of the run that is ended."""
    number = next(_numbers)
    wanted = desired(f"h{number}", credential=Credential(None, APP_PASSWORD, change=True))
    if row.story == "new":
        return wanted
    if row.story == "new with an extension":
        return replace(wanted, schema="own", extensions=("pgcrypto",))
    if row.story == "new in Shared mode":
        return replace(wanted, user=ADMIN, shared=True, credential=None)
    if "others" in row.story:
        await asyncio.to_thread(server.execute, f'CREATE DATABASE "{wanted.database}" OWNER {ADMIN}')
        await asyncio.to_thread(server.execute, "CREATE TABLE precious (id int)", database=wanted.database)
    if row.story == "deleted from a database of others":
        wanted = replace(wanted, schema="own", extensions=("pgcrypto",))
    former = replace(wanted, user=f"former{number}", identity=replace(wanted.identity, name=f"former{number}"))
    first = former if row.story == "handed over" else wanted
    made = replace(first.following(told(await admin.report(first))), established=True)
    row_of = ROW.format(schema=wanted.schema)
    then = row.then.format(user=wanted.user, owner=wanted.owner, db=wanted.database)
    for statement in filter(None, (row_of, *then.split("; "))):
        await asyncio.to_thread(server.execute, statement, database=wanted.database)
    match row.story:
        case "rotated":
            return replace(made, credential=Credential(made.user, NEW, change=True))
        case "revoked":
            other = Credential(made.logins[1], NEW, change=True)
            await admin.run(replace(made, credential=other))
            return replace(made, credential=replace(other, change=False), revoke_previous=True)
        case "handed over":
            owner = former.identity
            return replace(wanted, adopt_from=AdoptFrom(owner.instance, owner.namespace, owner.name))
    return made


async def play(operator: Provisioner, row: Row, wanted: Storage) -> str | None:
    """Do what the row is about; return why it stopped, or what it says of a change that it can do without."""
    if row.story.startswith("deleted"):
        failure = (await operator.removal(replace(wanted, credential=None))).failure
    else:
        report = await operator.report(wanted)
        failure = report.failure
        if row.kind is Kind.MEND_TABLE and failure is None and report.warnings:
            return report.warnings[0]
    if failure is not None:
        assert failure.failure_class is FailureClass.TRANSIENT, f"it is not tried again by itself: {failure.message}"
    return failure.message if failure is not None else None


async def goes_on(server: PostgresServer, admin: Provisioner, row: Row, wanted: Storage) -> None:
    """Run once more, and find everything as if nothing had happened."""

    async def query(
        text: str, parameters: list[str] | None = None, database: str = "postgres"
    ) -> list[tuple[Any, ...]]:
        return await asyncio.to_thread(server.execute, text, parameters, database=database)

    if row.story.startswith("new") and not wanted.shared:
        wanted = replace(wanted, credential=Credential(None, NEW, change=True))
    if row.story.startswith("deleted"):
        assert await play(admin, row, wanted) is None
        left = (
            "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s) UNION ALL "
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
        )
        names = await query(left, [wanted.user, wanted.database])
        assert names == ([(wanted.database,)] if "others" in row.story else [])
        if "others" in row.story:
            inside = (
                "SELECT relname FROM pg_class WHERE relnamespace::regnamespace::text !~ '^(pg_|information_schema)' "
                "UNION ALL SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' UNION ALL SELECT nspname FROM "
                "pg_namespace WHERE nspname !~ '^(pg_|information_schema|public$)' UNION ALL SELECT 'defaults' FROM "
                "pg_default_acl"
            )
            assert await query(inside, database=wanted.database) == [("precious",)]
        return
    report = told(await admin.report(wanted))
    assert report.warnings == ()
    settled = replace(wanted.following(report), established=True, adopted=True, revoke_previous=False)
    if settled.credential is not None:
        settled = replace(settled, credential=replace(settled.credential, change=False))
    password = settled.credential.password if settled.credential is not None else APP_PASSWORD
    await admin.prove(settled, password)
    rest = await admin.run(settled)
    assert (rest.executed, rest.warnings) == ((), ())
    observed = seen(rest)
    assert observed.database is not None and observed.local is not None
    assert (observed.database.connection_limit, observed.dropping) == (-1, frozenset())
    if not wanted.shared:
        marker = observed.roles[wanted.owner].marker
        assert marker is not None and marker.created | marker.adopted >= {"owner", *TABLE_NAMES}
        assert row.story == "handed over" or "database" in marker.created, "what a crash cut off is still ours"
        assert observed.database.public == frozenset() or row.story == "handed over"
    if not row.story.startswith("new"):
        kept = await query("SELECT value FROM cipher_store WHERE key = 'k'", database=wanted.database)
        assert kept == [("kept",)]


async def held(server: PostgresServer, operators: list[Interrupted]) -> None:
    """Return when all sessions wait where they shall."""
    await asyncio.gather(*(operator.met.wait() for operator in operators))
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY (%s) AND wait_event = 'PgSleep'"
    pids = [operator.pid for operator in operators if not operator.done]
    while await asyncio.to_thread(server.execute, asleep, [pids]) != [(len(pids),)]:
        await asyncio.sleep(0.05)


async def cancelled(server: PostgresServer, operators: list[Interrupted]) -> None:
    pids = [operator.pid for operator in operators if not operator.done]
    await asyncio.to_thread(server.execute, "SELECT pg_cancel_backend(pid) FROM unnest(%s::int[]) pid", [pids])


async def terminated(server: PostgresServer, operators: list[Interrupted]) -> None:
    pids = [operator.pid for operator in operators]
    await asyncio.to_thread(server.execute, "SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) pid", [pids])


async def stopped(server: PostgresServer, operators: list[Interrupted]) -> None:
    await asyncio.to_thread(server.restart, "immediate")


End = Callable[[PostgresServer, list[Interrupted]], Awaitable[None]]
WAYS: dict[str, tuple[End, Moment]] = {
    "cancelled behind it": (cancelled, Moment.BEHIND),
    "terminated before it": (terminated, Moment.BEFORE),
    "terminated before the answer": (terminated, Moment.UNANSWERED),
    "an immediate stop behind it": (stopped, Moment.BEHIND),
    "an immediate stop before the answer": (stopped, Moment.UNANSWERED),
}
AT_ONCE = 8


@pytest.mark.parametrize("way", WAYS)
async def test_the_next_run_goes_on(
    server: PostgresServer, admin: Provisioner, way: str, request: pytest.FixtureRequest
) -> None:
    end, moment = WAYS[way]
    rows = share(request, ROWS, way, list(WAYS))
    few = asyncio.Semaphore(AT_ONCE)

    async def at_most(work: Awaitable[T]) -> T:
        async with few:
            return await work

    made = await asyncio.gather(*(at_most(storage(server, admin, row)) for row in rows))
    operators = [Interrupted(admin.admin, statement=re.compile(row.statement), moment=moment) for row in rows]
    played = [
        asyncio.create_task(play(operator, row, wanted))
        for operator, row, wanted in zip(operators, rows, made, strict=True)
    ]
    waiting = asyncio.create_task(held(server, operators))
    done, _ = await asyncio.wait([waiting, *played], timeout=25, return_when=asyncio.FIRST_COMPLETED)
    early = [row.kind for row, task in zip(rows, played, strict=True) if task in done]
    missed = [row.kind for row, operator in zip(rows, operators, strict=True) if not operator.met.is_set()]
    assert done == {waiting}, f"ended before it was held: {early}; not held: {missed}"
    await end(server, operators)
    for operator in operators:
        operator.over.set()
    why = await asyncio.gather(*played)
    assert [row.kind for row, said in zip(rows, why, strict=True) if said is None] == []
    ends = await asyncio.gather(
        *(at_most(goes_on(server, admin, row, wanted)) for row, wanted in zip(rows, made, strict=True)),
        return_exceptions=True,
    )
    broken = {f"{row.kind} ({row.story})": error for row, error in zip(rows, ends, strict=True) if error is not None}
    assert broken == {}


@contextmanager
def locked(server: PostgresServer) -> Iterator[None]:
    """Keep everybody from writing who owns what: CREATE DATABASE has made its row by then, DROP DATABASE none gone."""
    with psycopg.connect(server.admin_url()) as connection:
        connection.execute("LOCK TABLE pg_catalog.pg_shdepend IN SHARE MODE")
        yield


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """Freeze a session of somebody's: DROP DATABASE waits for all of them when there is no way back any more."""
    with psycopg.connect(server.admin_url()) as connection:
        os.kill(connection.info.backend_pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(connection.info.backend_pid, signal.SIGCONT)


Hold = Callable[[PostgresServer], AbstractContextManager[None]]
IN_THE_MIDST: list[tuple[str, Kind, Hold, str]] = [
    ("CREATE DATABASE", Kind.CREATE_DATABASE, locked, "Lock"),
    ("DROP DATABASE", Kind.DROP_DATABASE, locked, "Lock"),
    ("DROP DATABASE past the point of no return", Kind.DROP_DATABASE, frozen, "IPC"),
]


# An immediate stop thaws what is frozen first, and the drop may end before it.
CELLS = [
    pytest.param(*row[1:], end, id=f"{row[0]}-{end.__name__}")
    for row in IN_THE_MIDST
    for end in (cancelled, terminated, stopped)
    if not (row[2] is frozen and end is stopped)
]


@pytest.mark.parametrize(("kind", "hold", "waits", "end"), CELLS)
async def test_what_runs_in_no_transaction_and_is_ended_in_its_midst(
    server: PostgresServer, admin: Provisioner, kind: Kind, hold: Hold, waits: str, end: End
) -> None:
    row = next(row for row in ROWS if row.kind is kind)
    wanted = await storage(server, admin, row)
    operator = Interrupted(admin.admin)
    with contextlib.suppress(psycopg.OperationalError), hold(server):
        played = asyncio.create_task(play(operator, row, wanted))
        there = "SELECT pid FROM pg_stat_activity WHERE query ~ %s AND wait_event_type = %s"
        while not (pids := await asyncio.to_thread(server.execute, there, [f"^{row.statement}", waits])):
            assert not played.done(), await played
            await asyncio.sleep(0.05)
        operator.pid = pids[0][0]
        await end(server, [operator])
        assert await played is not None
    invalid = await asyncio.to_thread(server.execute, "SELECT count(*) FROM pg_database WHERE datconnlimit = -2")
    assert invalid == [(int(hold is frozen),)], "the server's own mark of a drop that was begun"
    await goes_on(server, admin, row, wanted)
