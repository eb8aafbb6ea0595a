"""What a scrape costs the event loop, by how many storages there are: the whole time that it holds the loop."""

import argparse
import statistics
import time

from benchmarks.measured import header, row
from cipher_operator.queue.following import Next
from cipher_operator.queue.lanes import Lanes
from cipher_operator.reconcile.report.metrics import Sample
from cipher_operator.runtime.metrics import Metrics
from support.queue_world import VirtualClock

LIMIT_MS = 50.0
SERVERS = 8
KINDS = (
    ("Ready", "ready"),
    ("ConnectionRefused", "reconciling"),
    ("SecretNotFound", "reconciling"),
    ("Conflict", "stalled"),
)


async def _silent(name: object) -> bool:
    return False


def crowd(storages: int, servers: int) -> Metrics:
    """Return metrics of so many storages, each with a password and a CA of its own, on so many servers."""
    metrics = Metrics()
    lanes = Lanes(VirtualClock(), _silent, slots=8)
    for number in range(servers):
        lanes.take((f"host-{number}", 5432), "ns")
    metrics.watch_lanes(lanes.counts)
    for number in range(storages):
        reason, state = KINDS[number % len(KINDS)]
        told = Sample(reason, state, 0.1, 1, checked=True, password_set_at=1e9 + number, ca_ends=(2e9 + number,))
        metrics.run((f"team-{number % 100}", f"chat-{number}"), told, Next(after=300.0))
        metrics.storages.added((f"team-{number % 100}", f"chat-{number}"))
    return metrics


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks scrape", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    header("storages", "servers", "KiB", "series", "CPU ms, median", "ms, median", "ms, highest", f"{LIMIT_MS:g} ms")
    for storages, servers in ((10, 1), (1_000, SERVERS), (10_000, SERVERS), (10_000, 10_000)):
        metrics = crowd(storages, servers)
        taken, worked = [], []
        for _ in range(rounds):
            started, began = time.perf_counter(), time.thread_time()
            text = metrics.render()
            worked.append(1_000 * (time.thread_time() - began))
            taken.append(1_000 * (time.perf_counter() - started))
        series = sum(not line.startswith(b"#") for line in text.splitlines())
        kept = "kept" if statistics.median(taken) < LIMIT_MS else "not kept"
        middle = statistics.median(worked), statistics.median(taken)
        row(storages, servers, len(text) / 1024, series, *middle, max(taken), kept)


if __name__ == "__main__":
    main()
