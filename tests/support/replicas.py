"""Replicas that compete for one Lease on an API server in memory, each with a network and a processor of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cipher_operator.core.permit import NotLeading
from cipher_operator.kube.leases import LEASE_NAME, lease_path
from cipher_operator.kube.port import JSON, ApiError, ApiUnavailable, Json
from cipher_operator.runtime.leader import Elector
from support.memory_api import MemoryApi

NAMESPACE = "ns"
T = TypeVar("T")


class Network:
    """One replica's way to the API server. `cut`: requests fail; `hangs`: they get no answer, and may have arrived;
    `frozen`: the process stands still at its next request or answer; `delay` is in seconds, each way. `homeless`: what
    is to be made is not found, as where its namespace is not there."""

    def __init__(self, api: MemoryApi) -> None:
        self._api = api
        self.cut, self.hangs, self.delay, self.homeless = False, False, 0.0, False
        self.thawed = asyncio.Event()
        self.thawed.set()

    async def get(self, path: str, *, accept: str = JSON, **query: str) -> Json:
        return await self._through(lambda: self._api.get(path, accept=accept, **query))

    async def post(self, path: str, body: Json) -> Json:
        if self.homeless:
            raise ApiError(404, "NotFound", f'namespaces "{NAMESPACE}" not found')
        return await self._through(lambda: self._api.post(path, body))

    async def put(self, path: str, body: Json) -> Json:
        return await self._through(lambda: self._api.put(path, body))

    async def patch(self, path: str, body: Json | list[Json], content_type: str) -> Json:
        return await self._through(lambda: self._api.patch(path, body, content_type))

    async def _through(self, ask: Callable[[], Awaitable[T]]) -> T:
        await self.thawed.wait()
        if self.cut:
            raise ApiUnavailable("cut")
        await asyncio.sleep(self.delay)
        try:
            return await ask()
        finally:
            if self.hangs:
                await asyncio.sleep(3_600)
            await asyncio.sleep(self.delay)
            await self.thawed.wait()


class Replica:
    """One process: `led` are the moments at which it began to lead, with whether it was warm; `ended` those at which it
    was told that it leads no more."""

    def __init__(self, api: MemoryApi, name: str) -> None:
        self.network = Network(api)
        self.loop = asyncio.get_running_loop()
        self.elector = Elector(self.network, NAMESPACE, name, clock=self.loop.time)
        self.led: list[tuple[float, bool]] = []
        self.ended: list[float] = []
        self.ends = True
        self.elector.start(lambda warm: self.led.append((self.loop.time(), warm)), self._follow)
        self.elector.compete()

    async def _follow(self) -> bool:
        self.ended.append(self.loop.time())
        return self.ends

    @property
    def writes(self) -> bool:
        """Return whether a write of it would go out now."""
        try:
            self.elector.permit()
        except NotLeading:
            return False
        return True

    async def leads(self, within: float) -> float:
        """Return the seconds until it may write."""
        started = self.loop.time()
        while not self.writes:
            assert self.loop.time() - started < within, f"it does not lead within {within:g} s"
            await asyncio.sleep(0.01)
        return self.loop.time() - started

    async def crash(self) -> None:
        """End it as kill -9 does."""
        task = self.elector._task
        assert task is not None
        task.cancel()
        await asyncio.wait({task})


def holder(api: MemoryApi) -> str:
    """Return who holds the Lease, by what is written in it."""
    lease = api.read("leases", LEASE_NAME, namespace=NAMESPACE)
    return "" if lease is None else str(lease["spec"]["holderIdentity"])


LEASE_PATH = lease_path(NAMESPACE, LEASE_NAME)
