"""Metrics of a process to which everything has happened that is counted."""

from cipher_operator.queue.following import Next
from cipher_operator.queue.lanes import Lanes
from cipher_operator.queue.ticket import Ticket
from cipher_operator.reconcile.report.metrics import Sample
from cipher_operator.runtime.metrics import Metrics
from support.queue_world import VirtualClock

HOST = "db.tenant.example"


def lanes_of(host: str = HOST) -> Lanes:
    async def silent(name: object) -> bool:
        return False

    lanes = Lanes(VirtualClock(), silent, slots=8)
    assert lanes.take((host, 5432), "ns")
    return lanes


async def metered() -> Metrics:
    metrics = Metrics()

    async def work(key: object, ticket: Ticket) -> Next:
        return Next(failed=True)

    metrics.watch_lanes(lanes_of().counts)
    ready = Sample("Ready", "ready", 0.1, 3, checked=True, password_set_at=1_700_000_000.0, ca_ends=(2_000_000_000.0,))
    for sample in (Sample("ConnectionRefused", "reconciling", 0.1), ready):
        metrics.run(("ns", "chat"), sample, Next(after=300.0))
    metrics.suspended(("ns", "asleep"))
    metrics.login("admin", "Accepted")
    metrics.connection("admin")
    metrics.request("GET", 200)
    metrics.server("prod", True)
    metrics.watch_restarted("Secret", "ended")
    metrics.storages.added(("ns", "chat"))
    metrics.storages.taken(("ns", "chat"))
    await metrics.storages.run(work, ("ns", "chat"), Ticket(lanes_of(), "ns"))
    return metrics
