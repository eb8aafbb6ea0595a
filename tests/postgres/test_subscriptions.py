"""A storage that moved by logical replication: a subscription that is left is told of, and keeps its database."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cipher_operator.api.reasons import Reason
from cipher_operator.postgres.provision import Report
from devcluster import PostgresServer
from support.provision import Provisioner, Storage, desired, plain_admin

_numbers = itertools.count()


@pytest.fixture(scope="module", params=[13, 16], ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with PostgresServer(
        request.param, settings={"wal_level": "logical", "wal_retrieve_retry_interval": "20"}
    ) as running:
        yield running


@pytest.fixture
def admin(server: PostgresServer) -> Provisioner:
    return plain_admin(server, f"cloud_admin_{next(_numbers)}")


async def moving(server: PostgresServer, admin: Provisioner, *, ends: bool) -> Storage:
    """Return a storage that gets the rows of another one. With a row in their way, the first copy never ends."""
    source, wanted = desired(f"from{next(_numbers)}"), desired(f"to{next(_numbers)}")
    for each in (source, wanted):
        await admin.run(each)
        if each is source or not ends:
            server.execute("INSERT INTO cipher_store VALUES ('k', 'v', now(), now())", database=each.database)
    slot = wanted.database
    server.execute("CREATE PUBLICATION moving FOR ALL TABLES", database=source.database)
    server.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,), database=source.database)
    way = (
        f"host={server.host} port={server.port} user={server.superuser} password={server.password} "
        f"dbname={source.database}"
    )
    server.execute(
        f"CREATE SUBSCRIPTION moving CONNECTION '{way}' PUBLICATION moving "
        f"WITH (create_slot = false, slot_name = '{slot}')",
        database=wanted.database,
    )
    copied = "SELECT 1 FROM pg_subscription_rel WHERE srrelid <> 'cipher_store'::regclass AND srsubstate <> 'r'"
    whole = "SELECT 1 FROM pg_subscription_rel WHERE srsubstate <> 'r'"
    until = time.monotonic() + 30.0
    while server.execute(whole if ends else copied, database=wanted.database):
        assert time.monotonic() < until
        time.sleep(0.05)
    return replace(wanted, established=True)


def drop(server: PostgresServer, wanted: Storage) -> None:
    server.execute('DROP SUBSCRIPTION "moving"', database=wanted.database)


async def test_a_subscription_is_told_of_and_keeps_its_database_until_what_is_said_ends_it(
    server: PostgresServer, admin: Provisioner
) -> None:
    """DROP DATABASE refuses it, and DROP SUBSCRIPTION takes a session inside: the database stays open."""
    wanted = await moving(server, admin, ends=True)
    (said,) = subscriptions(await admin.run(wanted))
    assert "subscription 'moving' writes to Cipher's tables too" in said
    assert 'run: DROP SUBSCRIPTION "moving" (in this database)' in said
    beside = desired(f"beside{next(_numbers)}")
    await admin.run(beside)
    assert await admin.remove(beside), "that of another database is no concern"
    removal = await admin.removal(wanted)
    assert removal.failure is not None
    assert removal.failure.reason is Reason.DELETION_BLOCKED
    assert "subscription moving" in removal.failure.message
    assert removal.lines == ()
    drop(server, wanted)
    assert subscriptions(await admin.run(wanted)) == []
    assert await admin.remove(wanted)
    left = "SELECT 1 FROM pg_database WHERE starts_with(datname, %s)"
    assert server.execute(left, (wanted.database,)) == []


async def test_a_copy_that_is_not_whole_is_told_of(server: PostgresServer, admin: Provisioner) -> None:
    wanted = await moving(server, admin, ends=False)
    try:
        (said,) = subscriptions(await admin.run(wanted))
        assert "subscription 'moving' has not copied all rows yet: stop Cipher's pods" in said
    finally:
        drop(server, wanted)


def subscriptions(report: Report) -> list[str]:
    return [warning for warning in report.warnings if "subscription" in warning]
