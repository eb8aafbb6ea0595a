"""The login test beside the schema: only in a database that the run itself created, and never the last word."""

from collections.abc import Iterator

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.desired import Desired
from cipher_operator.postgres.provision import converge
from devcluster import PostgresServer
from support.provision import Provisioner, desired, plain_admin


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
    assert run.proven


async def test_an_existing_database_is_proven_after_the_run(server: PostgresServer, admin: Provisioner) -> None:
    wanted = desired("standing")
    server.execute(f'CREATE DATABASE "{wanted.database}" OWNER cloud_admin')
    assert not (await admin.provision(wanted)).proven, "its login may lack grants until the schema's message"


async def test_a_login_that_fails_early_does_not_fail_the_run(admin: Provisioner) -> None:
    async def refused(settled: Desired) -> None:
        raise Failure(Reason.AUTHENTICATION_FAILED, "not yet known to the pooler")

    run = await converge(admin.connect, desired("late"), maintenance="postgres", prove=refused)
    assert not run.proven
    assert run.observed.local is not None
    assert set(run.observed.local.relations) == {"cipher_store", "cipher_lists", "cipher_list_metadata"}


async def test_a_run_that_fails_is_told_although_the_login_works(admin: Provisioner, server: PostgresServer) -> None:
    wanted = desired("torn")

    async def tear(settled: Desired) -> None:
        server.execute(f'DROP DATABASE "{settled.database}" WITH (FORCE)')

    with pytest.raises(Failure):
        await converge(admin.connect, wanted, maintenance="postgres", prove=tear)
