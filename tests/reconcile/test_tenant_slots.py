"""A namespace whose storages sleep in its own tables: real queue, real runs, and a real server that they share."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import psycopg

from cipher_operator.queue.clock import LoopClock
from cipher_operator.queue.queue import Queue
from cipher_operator.reconcile.inputs import Key
from support.runs import NAMESPACE
from support.tenants import Tenants

EVIL = "evil"
MANY = 30
SLEEPS = """CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(9.5); RETURN NEW; END';
CREATE TRIGGER dawdle BEFORE INSERT ON cipher_store FOR EACH ROW EXECUTE FUNCTION dawdle()"""


@asynccontextmanager
async def queue_of(tenants: Tenants) -> AsyncIterator[Queue[Key]]:
    queue: Queue[Key] = Queue(
        tenants.reconciler.run, workers=32, workers_per_namespace=8, lanes=tenants.lanes, clock=LoopClock()
    )
    try:
        yield queue
    finally:
        await queue.drain(0)


async def until(true: Callable[[], bool], seconds: float = 90.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.05)


def asleep(tenants: Tenants) -> set[int]:
    """Return the server's processes in which a test of an evil storage's login hangs."""
    found = tenants.sql(
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'cipher-operator/%' AND wait_event = 'PgSleep'"
    )
    return {pid for (pid,) in found}


async def test_thirty_storages_that_sleep_keep_nobody_from_being_ready(tenants: Tenants) -> None:
    tenants.platform()
    names = [f"m{number}" for number in range(MANY)]
    keys = [(EVIL, name) for name in names]
    async with queue_of(tenants) as queue:
        for name in names:
            tenants.tenant(name, EVIL)
        tenants.tenant("before")
        for key in (*keys, (NAMESPACE, "before")):
            queue.enqueue(key, changed=True, way="prod")
        await until(lambda: all(tenants.told(*reversed(key)) == ("True", "Ready") for key in keys))
        await until(lambda: tenants.told("before") == ("True", "Ready") and queue.running == 0)
        for name in names:
            data = tenants.api.data(f"{name}-cipher", namespace=EVIL)
            assert data is not None
            with psycopg.connect(data["uri"], autocommit=True) as app:
                app.execute(SLEEPS)
        for name in names:
            tenants.api.annotate(name, "reconcile-requested-at", "1", namespace=EVIL)
            queue.enqueue((EVIL, name), changed=True, way="prod")
        await until(lambda: len(asleep(tenants)) >= 4 and tenants.lanes.counts().held >= 6)
        before = asleep(tenants)
        tenants.tenant()
        queue.enqueue((NAMESPACE, "chat"), changed=True, way="prod")
        await until(lambda: tenants.told() == ("True", "Ready"))
        assert before <= asleep(tenants), "not one of them had to end for it"
