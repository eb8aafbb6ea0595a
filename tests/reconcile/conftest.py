"""One PostgreSQL for all runs of a module, an API server in memory for each test."""

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from cipher_operator.reconcile import tell
from devcluster import PostgresServer
from support.runs import Runs

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
