"""Many objects at once, put into the API server as the admin over a few connections that stay open."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp

from devcluster import ControlPlane
from support.cluster import GROUP_PATH

T = TypeVar("T")
AT_ONCE = 16
Object = dict[str, Any]


def namespaces(plane: ControlPlane, prefix: str, count: int) -> list[str]:
    """Create namespaces and return their names."""
    names = [f"{prefix}-{number:02d}" for number in range(count)]
    client = plane.client()
    for name in names:
        client.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    return names


def path(namespace: str, plural: str, name: str = "", subresource: str = "") -> str:
    prefix = GROUP_PATH if plural == "cipherstorages" else "/api/v1"
    return "/".join(filter(None, (f"{prefix}/namespaces/{namespace}/{plural}", name, subresource)))


class Seeder:
    """Requests to one API server; every method raises AssertionError for an answer of 400 or above."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    async def storages(self, bodies: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Object]:
        """Create CipherStorages from (namespace, body) and return them in that order."""
        async with self.session() as send:

            async def create(item: tuple[str, Mapping[str, Any]]) -> Object:
                namespace, body = item
                full = {"apiVersion": "storage.cipher.dev/v1alpha1", "kind": "CipherStorage", **body}
                return await send("POST", path(namespace, "cipherstorages"), full)

            return await in_parallel(create, list(bodies))

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Callable[..., Awaitable[Object]]]:
        """Give a function `send(method, path, body)` that returns the decoded answer; PATCH is a merge patch."""
        tls = ssl.create_default_context(cadata=self._plane.ca.read_text())
        headers = {"Authorization": f"Bearer {self._plane.token}"}
        connector = aiohttp.TCPConnector(ssl=tls, limit=AT_ONCE)
        async with aiohttp.ClientSession(self._plane.url, headers=headers, connector=connector) as client:

            async def send(method: str, target: str, body: Mapping[str, Any] | None = None) -> Object:
                kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
                data = None if body is None else json.dumps(body).encode()
                async with client.request(method, target, data=data, headers={"Content-Type": kind}) as answer:
                    decoded: Object = await answer.json()
                    assert answer.status < 400, decoded
                    return decoded

            yield send


async def in_parallel(work: Callable[[Any], Awaitable[T]], items: list[Any]) -> list[T]:
    """Return what `work` makes of each item, in their order, AT_ONCE of them at a time."""
    results: list[Any] = [None] * len(items)
    numbers = iter(range(len(items)))

    async def worker() -> None:
        for number in numbers:
            results[number] = await work(items[number])

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(worker())
    return results
