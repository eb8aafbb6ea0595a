"""The operator process inside a test, with a stand-in for what it runs."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from cipher_operator.kube.access import load_access
from cipher_operator.kube.cipherstorages import get_storage
from cipher_operator.kube.client import ApiUnavailable, KubeClient
from cipher_operator.kube.secrets import get_configmap, get_secret
from cipher_operator.queue.inputs import Inputs
from cipher_operator.reconcile.inventory import Key
from cipher_operator.runtime.operator import Operator
from cipher_operator.runtime.settings import Settings, parse_settings


class StandIn:
    """Reads a storage and its inputs as a run does, and records it. `runs` are keys, `uids` what was found."""

    def __init__(self) -> None:
        self.runs: list[Key] = []
        self.uids: list[str | None] = []
        self.ended: list[Key] = []
        self.seconds = 0.0
        self.instance_id: str | None = None
        self.inputs: Inputs
        self.kube: KubeClient

    def make(self, settings: Settings, kube: KubeClient, *, inputs: Inputs, instance_id: str, **_: Any) -> "StandIn":
        self.kube, self.inputs, self.instance_id = kube, inputs, instance_id
        return self

    async def run(self, key: Key) -> float | None:
        self.runs.append(key)
        try:
            body = await get_storage(self.kube, *key)
            self.uids.append(body["metadata"]["uid"] if body else None)
            if body is not None:
                await self._read(key, body["spec"])
        except ApiUnavailable:
            return 1.0
        await asyncio.sleep(self.seconds)
        self.ended.append(key)
        return None

    async def _read(self, key: Key, spec: dict[str, Any]) -> None:
        namespace = key[0]
        name = spec["connection"]["secretRef"]["name"]
        secret = await get_secret(self.kube, namespace, name)
        self.inputs.seen(("Secret", namespace, name), self.inputs.digest(secret.data) if secret else None, key)
        if (ca := spec["connection"].get("caRef")) is not None:
            data = await get_configmap(self.kube, namespace, ca["name"])
            self.inputs.seen(("ConfigMap", namespace, ca["name"]), self.inputs.digest(data) if data else None, key)

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

    async def ready(self, seconds: float = 10.0) -> None:
        await self.until(lambda: self.not_ready is None, seconds)

    async def until(self, true: Callable[[], bool], seconds: float = 5.0) -> float:
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
