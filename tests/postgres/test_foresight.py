"""What `plan` prints is what runs, also inside a database that does not exist yet."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.connection.password import Password
from cipher_operator.core.orders import Credential
from devcluster import PostgresServer
from support.majors import majors
from support.provision import Provisioner, desired, plain_admin, snapshot, superuser

_names = iter(range(10_000))


@pytest.fixture(scope="module", params=majors(), ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with PostgresServer(request.param) as running:
        yield running


@pytest.fixture(scope="module", params=["superuser", "createrole", "noinherit"])
def admin(request: pytest.FixtureRequest, server: PostgresServer) -> Provisioner:
    if request.param == "superuser":
        return superuser(server)
    attributes = "CREATEROLE CREATEDB" + (" NOINHERIT" if request.param == "noinherit" else "")
    return plain_admin(server, f"{request.param}_admin", attributes)


WANTED: dict[str, dict[str, Any]] = {
    "public": {},
    "a schema of its own": {"schema": "cipher"},
    "a connection limit": {"connection_limit": 5},
    "a new password": {"credential": Credential(None, Password("new"), change=True)},
}


@pytest.mark.parametrize("case", list(WANTED))
async def test_what_is_planned_is_what_runs(server: PostgresServer, admin: Provisioner, case: str) -> None:
    wanted = desired(f"foreseen{next(_names)}", **WANTED[case])
    before = snapshot(server)
    foreseen = await admin.run(wanted, write=False)
    assert snapshot(server) == before
    run = await admin.run(wanted)
    assert foreseen.pending == run.executed
    assert any(line.startswith("CREATE TABLE") for line in run.executed)


async def test_the_roles_of_an_earlier_storage_are_counted_in(server: PostgresServer, admin: Provisioner) -> None:
    wanted = desired(f"again{next(_names)}")
    await admin.run(wanted)
    server.execute(f'DROP DATABASE "{wanted.database}" WITH (FORCE)')
    again = replace(wanted, established=True, recreate=True)
    foreseen = await admin.run(again, write=False)
    run = await admin.run(again)
    assert foreseen.pending == run.executed


async def test_a_shared_login_in_a_new_database(server: PostgresServer, admin: Provisioner) -> None:
    user = admin.admin.user
    wanted = desired(f"shared{next(_names)}", user=user, shared=True, credential=None)
    if server.installation.major == 15 and user.startswith("noinherit"):
        # `public` is pg_database_owner's, whose only member does not inherit: known before anything is made.
        before = snapshot(server)
        with pytest.raises(Failure, match=f'ALTER ROLE "{user}" INHERIT') as refused:
            await admin.run(wanted, write=False)
        assert refused.value.reason is Reason.INSUFFICIENT_PRIVILEGE
        assert snapshot(server) == before
        server.execute(f'ALTER ROLE "{user}" INHERIT', user=user, password="admin-pw")
    foreseen = await admin.run(wanted, write=False)
    run = await admin.run(wanted)
    assert foreseen.pending == run.executed


@pytest.fixture(scope="module", params=[16, 18], ids=lambda major: f"pg{major}")
def with_vector(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with PostgresServer(request.param, vector=True) as running:
        yield running


async def test_an_extension_is_foreseen_too(with_vector: PostgresServer) -> None:
    admin = superuser(with_vector)
    wanted = desired("vector", extensions=("vector",))
    foreseen = await admin.run(wanted, write=False)
    run = await admin.run(wanted)
    assert foreseen.pending == run.executed
    assert any("CREATE EXTENSION" in line for line in run.executed)
