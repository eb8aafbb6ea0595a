"""The operator process inside a test, with a stand-in for what it runs."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from cipher_operator.kube.access import load_access
from cipher_operator.kube.port import ApiUnavailable
from cipher_operator.queue.following import Next
from cipher_operator.queue.ticket import Ticket
from cipher_operator.reconcile.inputs import Key
from cipher_operator.reconcile.snapshot import read_snapshot
from cipher_operator.reconcile.surroundings import Surroundings
from cipher_operator.runtime.operator import Operator
from cipher_operator.runtime.settings import parse_settings

OWN = "runtime-"
"""How the namespaces of these tests begin: the control plane holds what other tests left, and they see all of it."""


class StandIn:
    """Reads a storage and its inputs as a run does, and records it. `runs` are keys, `uids` what was found.

    Storages of other tests are let through at once and not recorded.
    """

    def __init__(self) -> None:
        self.runs: list[Key] = []
        self.uids: list[str | None] = []
        self.ended: list[Key] = []
        self.seconds = 0.0
        self.around: Surroundings

    @property
    def instance_id(self) -> str:
        return self.around.rules.instance

    def make(self, around: Surroundings) -> "StandIn":
        self.around = around
        return self

    async def close(self) -> None:
        """Nothing goes on beside its runs."""

    async def reset(self) -> None:
        """Nothing is remembered."""

    async def run(self, key: Key, ticket: Ticket) -> Next:
        if not key[0].startswith(OWN):
            return Next()
        self.runs.append(key)
        try:
            around = self.around
            snapshot = await read_snapshot(
                around.kube, around.inputs, around.namespaces, around.places, key, around.digest
            )
        except ApiUnavailable:
            return Next(after=1.0)
        self.uids.append(snapshot.resource.uid if snapshot is not None else None)
        await asyncio.sleep(self.seconds)
        self.ended.append(key)
        return Next(gone=snapshot is None)

    def count(self, key: Key) -> int:
        """Return how many runs have ended: what they read is known."""
        return self.ended.count(key)


class Running:
    """An operator that runs in this process."""

    def __init__(self, operator: Operator, stand_in: StandIn, task: "asyncio.Task[int]") -> None:
        self.operator, self.stand_in, self.task = operator, stand_in, task

    @property
    def not_ready(self) -> str | None:
        return self.operator._not_ready

    async def ready(self, seconds: float = 60.0) -> None:
        await self.until(lambda: self.not_ready is None, seconds)

    async def until(self, true: Callable[[], bool], seconds: float = 60.0) -> float:
        """Return the seconds until it is true; the operator must not end before."""
        started = time.monotonic()
        while not true():
            if self.task.done():
                raise AssertionError(f"the operator ended: {self.task.result()}")
            if time.monotonic() - started > seconds:
                raise AssertionError(f"not within {seconds:g} s; runs: {self.stand_in.ended}; {self.not_ready}")
            await asyncio.sleep(0.01)
        return time.monotonic() - started


@contextlib.asynccontextmanager
async def running(kubeconfig: Path, *flags: str) -> AsyncIterator[Running]:
    """Run the operator with free ports, and stop it in the end."""
    ports = ["--health-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"]
    settings = parse_settings([*ports, *flags], {})
    stand_in = StandIn()
    operator = Operator(settings, await load_access({"KUBECONFIG": str(kubeconfig)}), make_runs=stand_in.make)
    task = asyncio.create_task(operator.run())
    try:
        yield Running(operator, stand_in, task)
    finally:
        operator.stop()
        operator.stop()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(task, 20)
