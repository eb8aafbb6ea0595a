"""A permit that ends between any two messages: nothing goes out after it, and the next leader ends what was begun."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import psycopg
import pytest

from cipher_operator.core.permit import NotLeading, Permit
from cipher_operator.kube.port import JSON, Json
from cipher_operator.reconcile.storage import Reconciler
from support.memory_api import MemoryApi
from support.runs import Runs

T = TypeVar("T")
MESSAGES = range(0, 26, 2)
"""After how many messages, to the API server and to PostgreSQL, the permit ends."""


class Permits:
    """Gives so many; `refused` counts who asked after that."""

    def __init__(self, left: int) -> None:
        self.left, self.refused = left, 0

    def __call__(self) -> float:
        if self.left == 0:
            self.refused += 1
            raise NotLeading
        self.left -= 1
        return 10.0


class Gated:
    """The API server as a client with a permit has it."""

    def __init__(self, api: MemoryApi, permit: Permit) -> None:
        self._api, self._permit = api, permit

    async def get(self, path: str, *, accept: str = JSON, **query: str) -> Json:
        return await self._api.get(path, accept=accept, **query)

    async def post(self, path: str, body: Json) -> Json:
        return await self._sent(lambda: self._api.post(path, body))

    async def put(self, path: str, body: Json) -> Json:
        return await self._sent(lambda: self._api.put(path, body))

    async def patch(self, path: str, body: Json | list[Json], content_type: str) -> Json:
        return await self._sent(lambda: self._api.patch(path, body, content_type))

    async def _sent(self, send: Callable[[], Awaitable[T]]) -> T:
        self._permit()
        return await send()


async def begun(runs: Runs, messages: int) -> Permits:
    """Run as a leader whose permit ends after so many messages."""
    permits = Permits(messages)
    leader = Reconciler(replace(runs.around, kube=Gated(runs.api, permits), permit=permits))
    runs.server.mark_log()
    await runs.run(reconciler=leader)
    await leader.reset()
    return permits


def sent(runs: Runs) -> int:
    """Return how many messages PostgreSQL has got since the mark."""
    return runs.server.log_text().count("LOG:  statement: ")


@pytest.mark.parametrize("messages", MESSAGES)
async def test_a_first_provisioning(runs: Runs, messages: int) -> None:
    runs.admin_secret()
    runs.storage()
    permits = await begun(runs, messages)
    assert sent(runs) + runs.api.count("POST", "PUT", "PATCH") <= messages + 1
    assert permits.refused <= 2, "whoever is refused ends, and the test beside it too"
    await runs.until(lambda: runs.says() == ("True", "Ready"))
    with runs.app() as app:
        app.execute("INSERT INTO cipher_store VALUES ('k', 'v', now(), now())")


@pytest.mark.parametrize("messages", MESSAGES)
async def test_a_rotation(runs: Runs, messages: int) -> None:
    await runs.ready()
    published = runs.secret()["uri"]
    runs.ask("rotate")
    await begun(runs, messages)
    for uri in {published, runs.secret()["uri"]}:
        psycopg.connect(uri).close()
    await runs.until(lambda: runs.api.status().get("handledRequests") == {"rotate": "1"})
    for uri in (published, runs.secret()["uri"]):
        psycopg.connect(uri).close()


@pytest.mark.parametrize("messages", MESSAGES)
async def test_a_deletion(runs: Runs, messages: int) -> None:
    await runs.ready(deletionPolicy="Delete")
    runs.api.delete("cipherstorages", "chat")
    await begun(runs, messages)
    assert sent(runs) <= messages
    for _ in range(3):
        await runs.run()
    assert runs.api.read("cipherstorages", "chat") is None
    assert runs.sql(f"SELECT 1 FROM pg_database WHERE datname = '{runs.database}'") == []
