"""What changes between our look and our write: each SQLSTATE of a lost race, on a real server, and what follows.

`postgres.errors.RACES` names them; a loser looks again and goes on.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import psycopg
import pytest
from psycopg import sql

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from support.fitness import filled
from support.provision import Provisioner, Storage, desired, plain_admin, superuser

_names = iter(range(10_000))


@dataclass
class Overtaken(Provisioner):
    """Its first message that has `statement` in it is sent when `other` has acted; `behind` is put behind it.
    `codes` are the SQLSTATEs that its messages ended with."""

    statement: re.Pattern[str] = field(default=re.compile("$^"))
    other: Callable[[], Awaitable[None]] | None = None
    behind: str = ""
    codes: list[str | None] = field(default_factory=list)

    @asynccontextmanager
    async def connect(self, database: str) -> AsyncIterator[Session]:
        async with super().connect(database) as session:
            yield cast(Session, _Overtaken(session, self))


class _Overtaken:
    def __init__(self, session: Session, operator: Overtaken) -> None:
        self._session, self._operator = session, operator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def execute(self, message: sql.Composable, **how: Any) -> list[list[tuple[Any, ...]]]:
        text, operator = message.as_string(None), self._operator
        found = operator.statement.search(text)
        if found is not None and operator.other is not None:
            other, operator.other = operator.other, None
            end = text.find("; ", found.end())
            if operator.behind and end > 0:
                message = sql.SQL(f"{text[:end]}; {operator.behind}{text[end:]}".replace("{", "{{").replace("}", "}}"))
                message = sql.Composed([message.format()])
            await other()
        try:
            return await self._session.execute(message, **how)
        except psycopg.Error as error:
            operator.codes.append(error.sqlstate)
            raise


@dataclass(frozen=True)
class Row:
    """What stands when we look, the statement that follows from it, and what another does before it is sent."""

    before: tuple[str, ...]
    statement: str
    meanwhile: tuple[str, ...]
    at: str = "{db}"
    """Where the other is."""
    changes: tuple[tuple[str, Any], ...] = ()


ROWS = {
    "42704": Row(('ALTER ROLE "{user}" RESET role',), r"ALTER ROLE \S+ SET role", ('DROP ROLE "{user}"',)),
    "42P01": Row(
        ('ALTER TABLE cipher_store OWNER TO "{admin}"',), r"ALTER TABLE \S+ OWNER", ("DROP TABLE cipher_store",)
    ),
    "3F000": Row(
        ("DROP TABLE own.cipher_lists",),
        r'CREATE TABLE "own"',
        ("DROP SCHEMA own CASCADE",),
        changes=(("schema", "own"),),
    ),
    "3D000": Row(
        ('DROP DATABASE "{db}"',),
        r"ALTER DATABASE \S+ CONNECTION LIMIT -1",
        ('DROP DATABASE "{db}"',),
        "postgres",
    ),
}


@pytest.fixture(scope="module", params=[13, 18], ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with PostgresServer(request.param) as running:
        yield running


async def overtaken(server: PostgresServer, wanted: Storage, statement: str, behind: str = "") -> Overtaken:
    made = plain_admin(server, f"racer_{next(_names)}")
    await made.provision(wanted)
    return Overtaken(made.admin, statement=re.compile(statement), behind=behind)


async def goes_on(operator: Overtaken, wanted: Storage, code: str) -> None:
    """The run lost a race with this SQLSTATE, and made everything all the same."""
    run = await operator.run(wanted)
    assert operator.codes == [code]
    assert run.executed
    await operator.prove(wanted.following(run))
    assert (await operator.run(wanted)).executed == ()


@pytest.mark.parametrize(("code", "row"), ROWS.items(), ids=ROWS)
async def test_what_was_seen_is_gone(server: PostgresServer, code: str, row: Row) -> None:
    changes: dict[str, Any] = dict(row.changes)
    wanted = desired(f"r{next(_names)}", **changes)
    operator = await overtaken(server, wanted, row.statement)

    async def do(statements: tuple[str, ...]) -> None:
        for statement in statements:
            text = filled(operator, wanted, statement)
            await asyncio.to_thread(server.execute, text, database=filled(operator, wanted, row.at))

    operator.other = lambda: do(row.meanwhile)
    await do(row.before)
    await goes_on(operator, wanted, code)


OF_OTHERS = (("create_database", False),)
DELETED = {
    "42704": Row((), r'; DROP ROLE "', ('DROP ROLE "{user}"',), "postgres"),
    "42P01": Row((), r'DROP TABLE "', ("DROP TABLE cipher_lists",), changes=OF_OTHERS),
    "3F000": Row((), r'DROP TABLE "', ("DROP SCHEMA own CASCADE",), changes=(*OF_OTHERS, ("schema", "own"))),
    "3D000": Row((), r"^DROP DATABASE", ('DROP DATABASE "{dropping}"',), "postgres"),
}


@pytest.mark.parametrize(("code", "row"), DELETED.items(), ids=DELETED)
async def test_what_is_to_be_dropped_is_gone(server: PostgresServer, code: str, row: Row) -> None:
    changes: dict[str, Any] = dict(row.changes)
    wanted = desired(f"r{next(_names)}", **changes)
    if not wanted.create_database:
        server.execute(f'CREATE DATABASE "{wanted.database}"')
        server.execute("GRANT ALL ON SCHEMA public TO PUBLIC", database=wanted.database)
        server.execute(f'GRANT ALL ON DATABASE "{wanted.database}" TO PUBLIC')
    made = superuser(server)
    await made.provision(wanted)
    operator = Overtaken(made.admin, statement=re.compile(row.statement))

    async def meanwhile() -> None:
        dropping = server.execute("SELECT datname FROM pg_database WHERE datname ~ '_dropping_'")
        for statement in row.meanwhile:
            text = filled(operator, wanted, statement.replace("{dropping}", str(dropping[0][0] if dropping else "")))
            await asyncio.to_thread(server.execute, text, database=filled(operator, wanted, row.at))

    operator.other = meanwhile
    await operator.remove(wanted)
    assert operator.codes == [code]
    assert server.execute("SELECT rolname FROM pg_roles WHERE rolname ~ %s", [f"^{wanted.user}"]) == []
    assert server.execute("SELECT datname FROM pg_database WHERE datname ~ '_dropping_'") == []


UNTIL_WAITED_FOR = """DO $$ BEGIN
  WHILE NOT EXISTS (SELECT FROM pg_locks WHERE relation = 'public.cipher_store'::regclass AND NOT granted) LOOP
    PERFORM pg_sleep(0.02); END LOOP; END $$"""
HELD = """SELECT 1 FROM pg_locks
  WHERE relation = 'cipher_store'::regclass AND mode = 'ShareLock' AND granted"""


async def test_a_deadlock_is_a_lost_race(server: PostgresServer) -> None:
    wanted = desired(f"r{next(_names)}")
    # We have the first table and come for the second, which the other has; it waits for the first, and longer than we.
    operator = await overtaken(server, wanted, r'CREATE INDEX "idx_cipher_store_updated_at"', UNTIL_WAITED_FOR)
    server.execute("DROP INDEX idx_cipher_store_updated_at, idx_cipher_lists_key", database=wanted.database)
    async with await psycopg.AsyncConnection.connect(server.admin_url(wanted.database)) as other:
        await other.execute("SET deadlock_timeout = '1min'")
        await other.execute("LOCK TABLE cipher_lists")
        waiting: list[asyncio.Task[Any]] = []

        async def come_for_ours() -> None:
            async def wait() -> None:
                while not await asyncio.to_thread(server.execute, HELD, database=wanted.database):
                    await asyncio.sleep(0.02)
                await other.execute("LOCK TABLE cipher_store")
                await other.commit()

            waiting.append(asyncio.create_task(wait()))

        operator.other = come_for_ours
        await goes_on(operator, wanted, "40P01")
        await waiting[0]


async def test_a_standby_that_makes_room_for_what_it_replays_is_looked_at_again() -> None:
    """40001 comes from nothing that we write: PostgreSQL has no serialisation failures in its catalogs. A standby ends
    with it what keeps it from replaying, so a look at one may meet it."""
    with PostgresServer(16, settings={"max_standby_streaming_delay": "100ms"}) as primary:
        made = superuser(primary)
        wanted = desired("chat")
        await made.provision(wanted)
        standby = primary.standby()
        try:
            operator = Overtaken(
                replace(made.admin, port=standby.port),
                statement=re.compile(r"SET LOCAL statement_timeout = \d+"),
                behind="SELECT count(*) FROM pg_database; SELECT pg_sleep(5)",
            )

            async def rewrite() -> None:
                async def later() -> None:
                    await asyncio.sleep(1)
                    await asyncio.to_thread(primary.execute, "VACUUM FULL pg_database")

                tasks.append(asyncio.create_task(later()))

            tasks: list[asyncio.Task[None]] = []
            operator.other = rewrite
            with pytest.raises(Failure) as caught:
                await operator.run(replace(wanted, established=True))
            await tasks[0]
            assert operator.codes == ["40001"]
            assert caught.value.reason is Reason.READ_ONLY_SERVER
        finally:
            standby.close()
