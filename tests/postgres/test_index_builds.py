"""Indexes of large tables: built beside the run, beside the app's writers, and under the operator's own limits."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import psycopg
import pytest

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import FailureClass, Reason
from cipher_operator.core.sql.step import Step, lines_of
from cipher_operator.postgres.indexes import build_indexes
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from support.poolers import Pooler
from support.provision import Provisioner, Storage, desired, plain_admin, seen

_names = iter(range(10_000))
INDEX = "idx_cipher_store_updated_at"


@pytest.fixture(scope="module", params=[13, 17], ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with PostgresServer(request.param) as running:
        yield running


@pytest.fixture
def admin(server: PostgresServer) -> Provisioner:
    return plain_admin(server, f"large_{next(_names)}")


async def large(server: PostgresServer, admin: Provisioner) -> Storage:
    """Return a storage that lacks an index on its large table."""
    wanted = desired(f"large{next(_names)}")
    await admin.run(wanted)
    server.execute(
        f"DROP INDEX {INDEX}; INSERT INTO cipher_store VALUES ('k', 'v', now(), now()); "
        # What ANALYZE would say of 160 MB.
        "UPDATE pg_class SET relpages = 20000 WHERE oid = 'cipher_store'::regclass",
        database=wanted.database,
    )
    return replace(wanted, established=True)


async def build(admin: Provisioner, wanted: Storage, steps: tuple[Step, ...]) -> None:
    async with admin.connect(wanted.database) as session:
        await build_indexes(session, steps)


def valid(server: PostgresServer, wanted: Storage) -> list[bool]:
    """Return whether the index, and what its builds left, is valid."""
    query = "SELECT indisvalid FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relname LIKE %s"
    return [row[0] for row in server.execute(query, [f"{INDEX}%"], database=wanted.database)]


async def test_a_missing_one_is_no_part_of_the_run(server: PostgresServer, admin: Provisioner) -> None:
    wanted = await large(server, admin)
    foreseen = await admin.run(wanted, write=False)
    run = await admin.run(wanted)
    assert (run.executed, run.statements) == ((), 0), "nothing of the run waits for it"
    assert [line.split(" ON ")[0] for line in lines_of(run.deferred)] == [f'CREATE INDEX CONCURRENTLY "{INDEX}"']
    assert foreseen.pending == lines_of(run.deferred), "what is built beside the run is planned as well"
    assert valid(server, wanted) == []
    await build(admin, wanted, run.deferred)
    assert valid(server, wanted) == [True]
    again = await admin.run(wanted)
    assert (again.executed, again.deferred, again.building) == ((), (), ())


async def test_one_that_a_build_left_invalid_is_built_anew(server: PostgresServer, admin: Provisioner) -> None:
    wanted = await large(server, admin)
    await build(admin, wanted, (await admin.run(wanted)).deferred)
    server.execute(
        f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{INDEX}'::regclass", database=wanted.database
    )
    repaired = await admin.run(wanted)
    assert [line.split(" ")[0] for line in lines_of(repaired.deferred)] == ["DROP", "CREATE"]
    await build(admin, wanted, repaired.deferred)
    again = await admin.run(wanted)
    assert (again.executed, again.deferred) == ((), ())
    assert valid(server, wanted) == [True]


LIMITS = {
    "of the role": 'ALTER ROLE "{admin}" SET {name} = {value}',
    "of the database": 'ALTER DATABASE "{db}" SET {name} = {value}',
    "of the role in the database": 'ALTER ROLE "{admin}" IN DATABASE "{db}" SET {name} = {value}',
}


@pytest.mark.parametrize("whose", list(LIMITS))
async def test_limits_of_others_do_not_hold(server: PostgresServer, admin: Provisioner, whose: str) -> None:
    wanted = await large(server, admin)
    steps = (await admin.run(wanted)).deferred
    names = {"admin": admin.admin.user, "db": wanted.database}
    # Milliseconds in which a session lifts the limits, on a busy machine too, and much less than a build waits.
    limits = {"statement_timeout": "400", "lock_timeout": "400"}
    if server.installation.major >= 17:
        limits["transaction_timeout"] = "400"
    for name, value in limits.items():
        server.execute(LIMITS[whose].format(name=name, value=value, **names))
    # An old transaction, for which a concurrent build waits.
    with psycopg.connect(server.admin_url(wanted.database), options=server.unlimited) as old:
        old.execute("INSERT INTO cipher_store VALUES ('old', 'v', now(), now())")
        building = asyncio.create_task(build(admin, wanted, steps))
        await asyncio.sleep(1.5)
        assert not building.done()
        old.commit()
    await building
    assert valid(server, wanted) == [True]


@asynccontextmanager
async def held_up(server: PostgresServer, admin: Provisioner, wanted: Storage) -> AsyncIterator[asyncio.Task[None]]:
    """Yield a build that goes on until the context ends."""
    steps = (await admin.run(wanted)).deferred
    with psycopg.connect(server.admin_url(wanted.database)) as old:
        old.execute("INSERT INTO cipher_store VALUES ('held-up', 'v', now(), now())")
        building = asyncio.create_task(build(admin, wanted, steps))
        for _ in range(100):
            if valid(server, wanted) == [False]:
                break
            await asyncio.sleep(0.05)
        assert valid(server, wanted) == [False]
        try:
            yield building
        finally:
            old.rollback()


async def test_everything_else_is_healed_while_an_index_is_built(server: PostgresServer, admin: Provisioner) -> None:
    wanted = await large(server, admin)
    async with held_up(server, admin, wanted) as building:
        server.execute("DROP INDEX idx_cipher_lists_key", database=wanted.database)
        server.execute(f'ALTER ROLE "{wanted.user}" RESET role')
        healed = await admin.run(wanted)
        assert [line.split(" ")[0] for line in healed.executed if "SET LOCAL" not in line] == ["ALTER", "CREATE"]
        assert (healed.deferred, healed.building) == ((), (INDEX,)), "what is under construction is no drift"
        assert valid(server, wanted) == [False]
        assert not building.done()
    await building
    assert valid(server, wanted) == [True]
    assert (await admin.run(wanted)).building == ()


async def test_two_builds_of_one_index_do_not_fight(server: PostgresServer, admin: Provisioner) -> None:
    wanted = await large(server, admin)
    steps = (await admin.run(wanted)).deferred
    another = plain_admin(server, f"other_{next(_names)}", "SUPERUSER")
    async with held_up(server, admin, wanted) as building:
        # Another admin does not see whose build it is, and another operator has found the index invalid.
        invalid = (await another.run(wanted)).deferred
        for who, what in ((admin, steps), (another, steps), (another, invalid)):
            if what:
                with pytest.raises(Failure) as busy:
                    await build(who, wanted, what)
                assert busy.value.reason is Reason.BUILDING_INDEX
        assert valid(server, wanted) == [False]
        assert not building.done()
    await building
    await build(another, wanted, invalid)
    await build(another, wanted, steps)
    assert valid(server, wanted) == [True], "what another session has finished is not dropped"


async def test_a_build_that_ends_half_way_is_done_again(server: PostgresServer, admin: Provisioner) -> None:
    wanted = await large(server, admin)
    async with held_up(server, admin, wanted) as building:
        server.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index")
        with pytest.raises(Failure) as cancelled:
            await building
        assert cancelled.value.stage is ConditionType.SCHEMA_APPLIED
    assert valid(server, wanted) == [False]
    steps = (await admin.run(wanted)).deferred
    await build(admin, wanted, steps)
    assert valid(server, wanted) == [True]


async def test_an_operator_that_is_killed_leaves_its_build_to_end_by_itself(
    server: PostgresServer, admin: Provisioner
) -> None:
    wanted = await large(server, admin)
    async with held_up(server, admin, wanted) as building:
        building.cancel()
        await asyncio.wait([building])
    for _ in range(200):
        run = await admin.run(wanted)
        if run.deferred:
            await build(admin, wanted, run.deferred)
        if not (run.deferred or run.building):
            break
        await asyncio.sleep(0.05)
    assert valid(server, wanted) == [True]


async def test_a_table_that_is_gone_ends_a_build_quietly(server: PostgresServer, admin: Provisioner) -> None:
    wanted = await large(server, admin)
    steps = (await admin.run(wanted)).deferred
    server.execute("DROP TABLE cipher_store", database=wanted.database)
    await build(admin, wanted, steps)
    assert (await admin.run(wanted)).executed


@pytest.mark.parametrize("name", ["statement_timeout", "lock_timeout"])
async def test_behind_a_transaction_pooler_nothing_is_set_and_the_limit_is_named(
    server: PostgresServer, admin: Provisioner, name: str
) -> None:
    wanted = await large(server, admin)
    server.execute(f'ALTER ROLE "{admin.admin.user}" SET {name} = 30')
    with Pooler(server, "transaction", {admin.admin.user: admin.admin.password.reveal()}) as pooler:
        through = Provisioner(replace(admin.admin, port=pooler.port))
        steps = (await through.run(wanted)).deferred
        with psycopg.connect(server.admin_url(wanted.database)) as old:
            old.execute("INSERT INTO cipher_store VALUES ('old', 'v', now(), now())")
            with pytest.raises(Failure) as limited:
                await build(through, wanted, steps)
        assert limited.value.failure_class is FailureClass.WAITING, "not tried every minute"
        assert f"`{name}` = 30ms, which role '{admin.admin.user}' has" in limited.value.message
        remedy = limited.value.message.split("run: ")[1]
        assert remedy == f'ALTER ROLE "{admin.admin.user}" RESET {name}'
        with psycopg.connect(
            host="127.0.0.1",
            port=pooler.port,
            user=admin.admin.user,
            password=admin.admin.password.reveal(),
            dbname=wanted.database,
            sslmode="disable",
        ) as stranger:
            row = stranger.execute(f"SELECT current_setting('{name}')".encode()).fetchone()
            assert row == ("30ms",), "no setting of ours stays with others"
        server.execute(remedy)
    await build(admin, wanted, (await admin.run(wanted)).deferred)
    assert valid(server, wanted) == [True]


async def test_a_database_is_created_and_dropped_whatever_time_others_give(server: PostgresServer) -> None:
    name = f"hurried_{next(_names)}"
    admin = plain_admin(server, name)
    for limit in ("statement_timeout", "lock_timeout"):
        server.execute(f'ALTER ROLE "{name}" SET {limit} = 20')
    wanted = desired(f"hurried{next(_names)}")
    run = await admin.run(wanted)
    assert seen(run).local is not None
    await admin.remove(replace(wanted, established=True))
    assert server.execute("SELECT 1 FROM pg_database WHERE datname LIKE %s", [f"{wanted.database}%"]) == []


async def test_a_build_may_take_longer_than_any_other_message(
    server: PostgresServer, admin: Provisioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = await large(server, admin)
    run = await admin.run(wanted)
    monkeypatch.setitem(cast(dict[str, Any], Session.execute.__kwdefaults__), "seconds", 1.0)
    with psycopg.connect(server.admin_url(wanted.database)) as older:
        older.execute("UPDATE cipher_store SET value = value")
        building = asyncio.create_task(build(admin, wanted, run.deferred))
        await asyncio.sleep(3)
        assert not building.done(), "it waits for the older transaction"
    await building
    assert valid(server, wanted) == [True]
