"""`python -m benchmarks scale`: an operator that starts among 10,000 CipherStorages, and a new one among due checks.

The servers are one real PostgreSQL that listens on several addresses of 127.0.0.0/8, so that the operator sees as many
servers; the hundred storages of a namespace share a database there, each with a schema, an owner and a login of its
own. One storage is made by the operator; the others are that one's SQL, Secret and status with other names, put there
without it.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.captured import SETTINGS
from benchmarks.crowd import (
    FIRST,
    HOSTS,
    PER_NAMESPACE,
    admin_secret,
    database_of,
    host_of,
    make_database,
    make_model,
    seed_cluster,
    seed_server,
    spec_of,
    words_for,
)
from benchmarks.measured import Stage, cpu_seconds, header, memory_mib, postgres_pid, row, stage
from benchmarks.seeding import Seeder, in_parallel, path
from devcluster import PostgresServer
from support.cluster import Namespace, Operator, wait_until


class Observed:
    """Which storages the operator has said something about in its log, read as it grows."""

    def __init__(self, operator: Operator) -> None:
        self._path, self._offset = operator.log_path, 0
        self.keys: set[str] = set()
        self.lines = self.not_ready = 0

    def read(self) -> int:
        """Return how many storages so far."""
        with self._path.open() as file:
            file.seek(self._offset)
            while (line := file.readline()).endswith("\n"):
                self._offset = file.tell()
                entry = json.loads(line) if line.startswith("{") else {}
                if "storage" in entry and "reason" in entry:
                    self.keys.add(entry["storage"])
                    self.lines += 1
                    self.not_ready += entry["reason"] != "Ready"
        return len(self.keys)


def cold_start(ground: Stage, server: PostgresServer, operator: Operator, count: int, patience: float) -> None:
    ground.audit.mark()
    operator.log_path.unlink(missing_ok=True)
    before, started = cpu_seconds(postgres_pid(server)), time.monotonic()
    operator.start()
    known = time.monotonic() - started
    observed = Observed(operator)
    wait_until(lambda: _slowly(observed.read) >= count, lambda: f"{count} observed; {len(observed.keys)} are", patience)
    row(
        count,
        known,
        time.monotonic() - started,
        memory_mib(operator.pid),
        memory_mib(operator.pid, "VmHWM"),
        cpu_seconds(operator.pid) / count * 1000,
        (cpu_seconds(postgres_pid(server)) - before) / count * 1000,
        ground.audit.requests(),
        observed.not_ready,
    )


def _slowly(read: Callable[[], int]) -> int:
    time.sleep(0.5)
    return read()


async def make_due(ground: Stage, numbers: list[int], where: Callable[[int], str]) -> None:
    """Give storages the shortest interval there is."""
    async with Seeder(ground.plane).session() as send:

        async def change(number: int) -> Any:
            target = path(where(number), "cipherstorages", f"model-{number:05d}")
            return await send("PATCH", target, {"spec": {"interval": "10s"}})

        await in_parallel(change, numbers)


def among_due(namespace: Namespace, server: PostgresServer, title: str, rounds: int) -> None:
    """Print how long new storages in a database of their own take from apply to Ready, one after the other."""
    seconds = []
    database = database_of(namespace.name)
    for number in range(rounds):
        name = f"new-{number}"
        started = time.monotonic()
        namespace.storage(name, spec_of(database, f"{database}_new_{number}"))
        namespace.wait_ready(name, 300)
        seconds.append(time.monotonic() - started)
        time.sleep(1)
    row(title, statistics.median(seconds), max(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks scale", description=__doc__)
    parser.add_argument("--storages", type=int, default=10_000)
    parser.add_argument("--due", type=int, default=2_000, help="storages that are due every 10 s")
    parser.add_argument("--rounds", type=int, default=5, help="new storages among them")
    parser.add_argument("--settle", type=float, default=60, help="seconds from making them due to the first new one")
    parser.add_argument("--patience", type=float, default=3_600, help="seconds that a cold start may take")
    options = parser.parse_args()
    settings = {
        **SETTINGS,
        "listen_addresses": ",".join(HOSTS),
        "shared_buffers": "512MB",
        "max_connections": "200",
        "max_locks_per_transaction": "256",
    }
    hba = "host all all 127.0.0.0/8 scram-sha-256\n"
    with stage() as ground, PostgresServer(16, settings=settings, hba=hba) as server:
        run(ground, server, options)


def run(ground: Stage, server: PostgresServer, options: argparse.Namespace) -> None:
    names = [f"scale-{number:03d}" for number in range(-(-options.storages // PER_NAMESPACE))]
    made = {}
    for name in (*names, "fresh"):
        make_database(server, database_of(name))
        made[name] = Namespace(ground.plane, name)
        admin_secret(made[name], server, host_of(name) if name in names else HOSTS[0])
    model = make_model(ground, made[FIRST], server)

    def where(number: int) -> str:
        return names[number % len(names)]

    numbers = list(range(1, options.storages))
    started = time.monotonic()
    uids = asyncio.run(seed_cluster(ground, model, numbers, where))
    words: dict[str, list[dict[str, str]]] = {name: [] for name in names}
    for number in numbers:
        words[where(number)].append(words_for(model, number, where(number), uids[number]))
    seed_server(server, model, words)
    print(f"{options.storages} storages were put there in {time.monotonic() - started:.0f} s")
    operator = ground.operator(patience=options.patience)
    try:
        header(
            "storages",
            "all known, s",
            "all observed, s",
            "RSS, MiB",
            "peak, MiB",
            "CPU of the operator, ms each",
            "CPU of PostgreSQL, ms each",
            "API requests",
            "runs that did not end Ready",
        )
        cold_start(ground, server, operator, options.storages, options.patience)
        with PostgresServer(16) as healthy:
            make_database(healthy, "elsewhere")
            elsewhere = Namespace(ground.plane, "elsewhere")
            admin_secret(elsewhere, healthy, healthy.host)
            header("new storage", "apply to Ready, median s", "max s")
            among_due(made["fresh"], server, "nothing else due", options.rounds)
            due = numbers[: options.due]
            asyncio.run(make_due(ground, due, where))
            # Past the changes themselves: what follows are checks.
            time.sleep(options.settle)
            text = f"{len(due)} due every 10 s"
            among_due(
                made[FIRST], server, f"{text}; with some of them on its server and in its namespace", options.rounds
            )
            among_due(elsewhere, healthy, f"{text}; a server and a namespace of its own", options.rounds)
        print(f"RSS {memory_mib(operator.pid):.0f} MiB, peak {memory_mib(operator.pid, 'VmHWM'):.0f} MiB")
    finally:
        operator.stop()
