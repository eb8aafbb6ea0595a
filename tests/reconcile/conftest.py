"""One PostgreSQL for all runs of a module, an API server in memory for each test."""

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from devcluster import PostgresServer
from support.runs import Runs

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(16, settings={"log_statement": "all", "log_disconnections": "on"}) as running:
        yield running


@pytest.fixture
async def runs(server: PostgresServer) -> AsyncIterator[Runs]:
    number = next(_numbers)
    made = Runs(server, f"chat_{number}", instance=f"instance-{number}")
    yield made
    await made.close()
