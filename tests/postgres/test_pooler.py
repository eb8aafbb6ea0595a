"""Through a connection pooler: provisioning, rest, password change and deletion, in transaction and session mode."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.connection.password import Password
from cipher_operator.core.orders import Credential
from cipher_operator.postgres.session import STATEMENT_SECONDS
from devcluster import PostgresServer
from devcluster.longrun import SetupError
from devcluster.pgbouncer import find_pgbouncer
from support.admins import changed, footprint
from support.poolers import Pooler
from support.provision import CIPHER_START, Provisioner, Storage, desired, plain_admin

_names = iter(range(10_000))


@pytest.fixture(scope="module")
def pgbouncer() -> None:
    try:
        find_pgbouncer()
    except SetupError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=[14, 18], ids=lambda major: f"pg{major}")
def server(pgbouncer: None, request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with PostgresServer(request.param) as running:
        yield running


@pytest.fixture(scope="module", params=["transaction", "session"])
def admin(request: pytest.FixtureRequest, server: PostgresServer) -> Iterator[Provisioner]:
    direct = plain_admin(server, f"admin_{request.param}")
    with Pooler(server, request.param, {direct.admin.user: direct.admin.password.reveal()}) as pooler:
        yield Provisioner(replace(direct.admin, port=pooler.port))


async def remove_at_last(admin: Provisioner, wanted: Storage) -> None:
    """Remove, again while the pooler's own session, which is no business of the admin's, is still in the database."""
    for _ in range(20):
        begun = time.monotonic()
        try:
            await admin.remove(wanted)
            assert time.monotonic() - begun < STATEMENT_SECONDS / 2, "a closed database was waited for"
            return
        except Failure as failure:
            assert failure.reason is Reason.LOCK_TIMEOUT, failure.message
            assert f"database `{wanted.database}`" in failure.message
            await asyncio.sleep(0.5)
    raise AssertionError("the pooler never let go")


async def test_a_storage_lives_behind_a_pooler(server: PostgresServer, admin: Provisioner) -> None:
    before = footprint(server, "postgres")
    wanted = desired(f"p{next(_names)}")
    first = await admin.run(wanted)
    assert first.statements > 0
    await admin.prove(wanted)
    with admin.app(wanted) as app:
        for statement in CIPHER_START:
            app.execute(statement)
    second = await admin.run(replace(wanted, established=True))
    assert (second.statements, second.executed) == (0, ())
    new = Password("through-the-pooler")
    rotated = replace(
        wanted,
        established=True,
        credential=Credential(wanted.logins[1], new, change=True),
    )
    await admin.run(rotated)
    await admin.prove(rotated, new)
    await admin.prove(wanted)
    await remove_at_last(admin, rotated)
    assert changed(before, footprint(server, "postgres")) == {}


async def test_a_server_that_is_only_slow_is_looked_into_all_the_same(
    server: PostgresServer, admin: Provisioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    footprints, wanted = footprint(server, "postgres"), desired(f"slow{next(_names)}")
    await admin.run(wanted)
    monkeypatch.setattr("cipher_operator.postgres.remove.HASTY_SECONDS", 0.0)
    before = len(admin.opened)
    await admin.remove(wanted)
    assert admin.opened[before:] == [wanted.database, "postgres", wanted.database, "postgres"]
    assert changed(footprints, footprint(server, "postgres")) == {}


async def test_storages_side_by_side_share_server_connections(server: PostgresServer, admin: Provisioner) -> None:
    """What one session sets must not reach the next: all of them get the same few server connections."""
    shared = f"shared_by_all_{next(_names)}"
    several = [desired(f"q{next(_names)}", database=shared, schema=f"s{number}") for number in range(6)]
    server.execute(f'CREATE DATABASE {shared} OWNER "{admin.admin.user}"')
    for _ in range(2):
        runs = await asyncio.gather(*(admin.run(wanted) for wanted in several))
    assert [run.executed for run in runs] == [() for _ in several]
    for wanted in several:
        await admin.prove(wanted)
        with admin.app(wanted) as app:
            assert app.execute("SHOW search_path").fetchone() == (wanted.schema,)
            assert app.execute("SELECT count(*) FROM cipher_store").fetchone() == (0,)
    await asyncio.gather(*(admin.remove(wanted) for wanted in several))


async def test_what_goes_wrong_behind_a_pooler_has_the_reason_it_has_without(
    server: PostgresServer, admin: Provisioner
) -> None:
    wanted = desired(f"r{next(_names)}", create_database=False)
    with pytest.raises(Failure) as missing:
        await admin.run(replace(wanted, database="no_such_database"))
    assert missing.value.reason is Reason.DATABASE_MISSING
    with pytest.raises(Failure) as lost:
        await admin.run(replace(wanted, database="no_such_database_either", established=True))
    assert lost.value.reason is Reason.DATABASE_LOST
    stranger = Provisioner(replace(admin.admin, password=Password("wrong")))
    with pytest.raises(Failure) as wrong:
        await stranger.run(wanted)
    assert wrong.value.reason is Reason.AUTHENTICATION_FAILED
    server.execute(f'CREATE DATABASE "{wanted.database}" OWNER "{admin.admin.user}"')
    server.execute(f'ALTER DATABASE "{wanted.database}" SET default_transaction_read_only = on')
    with pytest.raises(Failure) as read_only:
        await admin.run(wanted)
    assert read_only.value.reason is Reason.READ_ONLY_SERVER
    server.execute(f'ALTER DATABASE "{wanted.database}" RESET default_transaction_read_only')
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(host="127.0.0.1", port=admin.admin.port, user=wanted.user, password="x", dbname=wanted.database)
