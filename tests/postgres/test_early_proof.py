"""The login test beside the schema: only in a database that the run itself created, and never the last word."""

import asyncio
from collections.abc import Awaitable, Iterator

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.orders import Orders
from cipher_operator.postgres.provision import converge
from devcluster import PostgresServer
from support.provision import Provisioner, desired, plain_admin, seen, told


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(16) as running:
        yield running


@pytest.fixture(scope="module")
def admin(server: PostgresServer) -> Provisioner:
    return plain_admin(server, "cloud_admin")


@pytest.mark.parametrize("schema", ["public", "cipher"], ids=["a schema that exists", "a schema still to be made"])
async def test_a_new_database_proves_its_login_while_the_schema_is_made(admin: Provisioner, schema: str) -> None:
    run = await admin.provision(desired(f"early-{schema}", schema=schema))
    assert run.tested


async def test_an_existing_database_is_proven_after_the_run(server: PostgresServer, admin: Provisioner) -> None:
    wanted = desired("standing")
    server.execute(f'CREATE DATABASE "{wanted.database}" OWNER cloud_admin')
    assert not (await admin.provision(wanted)).tested, "its login may lack grants until the schema's message"


async def test_a_login_that_fails_early_does_not_fail_the_run(admin: Provisioner) -> None:
    async def refused(orders: Orders, ready: Awaitable[None]) -> Failure:
        return Failure(Reason.AUTHENTICATION_FAILED, "not yet known to the pooler")

    wanted = desired("late")
    run = told(await converge(admin.connect, wanted, wanted.orders, maintenance="postgres", prove=refused))
    assert run.tested and run.refusal is not None and run.refusal.reason is Reason.AUTHENTICATION_FAILED
    local = seen(run).local
    assert local is not None
    assert set(local.relations) == {"cipher_store", "cipher_lists", "cipher_list_metadata"}


async def test_the_proof_may_wait_for_the_tables(admin: Provisioner) -> None:
    wanted, found = desired("waiting"), list[tuple[bool, int]]()

    async def waiting(orders: Orders, ready: Awaitable[None]) -> None:
        assert orders.login == wanted.login
        early = asyncio.ensure_future(ready).done()
        await ready
        with admin.app(wanted) as app:
            (row,) = app.execute("SELECT count(*) FROM cipher_store").fetchall()
        found.append((early, row[0]))

    run = told(await converge(admin.connect, wanted, wanted.orders, maintenance="postgres", prove=waiting))
    assert (run.tested, run.refusal, found) == (True, None, [(False, 0)])


async def test_a_run_that_fails_is_told_although_the_login_works(admin: Provisioner, server: PostgresServer) -> None:
    wanted, ended = desired("torn"), asyncio.Event()

    async def tear(orders: Orders, ready: Awaitable[None]) -> None:
        try:
            server.execute(f'DROP DATABASE "{wanted.database}" WITH (FORCE)')
            await ready
        finally:
            ended.set()

    run = await converge(admin.connect, wanted, wanted.orders, maintenance="postgres", prove=tear)
    assert run.failure is not None
    assert not run.tested
    assert ended.is_set(), "no test goes on behind a run that has ended"
