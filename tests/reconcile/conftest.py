"""One PostgreSQL for all runs of a module, an API server in memory for each test."""

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from cipher_operator.reconcile import tell
from devcluster import PostgresServer
from support.runs import Runs
from support.tenants import Tenants

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(16, settings={"log_statement": "all", "log_disconnections": "on"}) as running:
        yield running


@pytest.fixture(autouse=True)
def busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that takes long because much else is at work says nothing of it, so that writes can be counted."""
    monkeypatch.setattr(tell, "SAY_AFTER", 60.0)


@pytest.fixture
async def runs(server: PostgresServer) -> AsyncIterator[Runs]:
    number = next(_numbers)
    made = Runs(server, f"chat_{number}", instance=f"instance-{number}")
    yield made
    await made.close()


@pytest.fixture
async def tenants(server: PostgresServer) -> AsyncIterator[Tenants]:
    """A platform team's server. Nothing is left: names on it follow from those of the objects, which tests share."""
    number = next(_numbers)
    made = Tenants(server, f"tenants_{number}", instance=f"instance-{number}")
    yield made
    await made.close()
    own = "datname NOT IN ('postgres', 'template0', 'template1')"
    for (name,) in server.execute(f"SELECT datname FROM pg_database WHERE {own}"):
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    # Who has made others last: memberships depend on who granted them.
    roles = "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' AND NOT rolsuper ORDER BY rolcreaterole"
    for (name,) in server.execute(roles):
        server.execute(f'DROP ROLE "{name}"')
