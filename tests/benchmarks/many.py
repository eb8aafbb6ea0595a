"""`python -m benchmarks many`: what one, twenty and fifty storages cost from apply to Ready, beside the floor.

The floor is a script without Kubernetes: it sends the SQL of one run, captured from the server's log, for as many other
names, over as many connections for each and as many at once as the operator may have.
"""

import argparse
import json
import time
from collections import Counter
from dataclasses import dataclass

from benchmarks.captured import SETTINGS, Captured, captured, send_again
from benchmarks.measured import Stage, cpu_seconds, header, postgres_pid, row, stage
from devcluster import PostgresServer
from support.cluster import Namespace, Operator, wait_until
from support.sql_log import most_at_once

AT_ONCE = 8
"""The operator's default of --connections-per-server."""


@dataclass(frozen=True)
class Clocks:
    """Processor seconds so far, by process."""

    operator: float
    postgres: float
    apiserver: float

    @classmethod
    def read(cls, ground: Stage, operator: Operator, server: PostgresServer) -> "Clocks":
        return cls(cpu_seconds(operator.pid), cpu_seconds(postgres_pid(server)), cpu_seconds(ground.apiserver_pid))


def apply_and_wait(namespace: Namespace, names: list[str], pause: float) -> float:
    """Create storages one after the other and return the seconds from the first request until all are Ready."""

    def ready() -> bool:
        listed = namespace.request("GET", namespace.path("cipherstorages"))["items"]
        return {item["metadata"]["name"] for item in listed if _is_ready(item)} >= set(names)

    started = time.monotonic()
    for name in names:
        own = name.replace("-", "_")
        namespace.storage(name, {"database": {"name": own}, "user": {"name": own}, "interval": "1h"})
    while not ready():
        assert time.monotonic() - started < 300, "not all are Ready within 300 s"
        time.sleep(pause)
    return time.monotonic() - started


def _is_ready(item: dict[str, object]) -> bool:
    status = item.get("status")
    conditions = status.get("conditions", []) if isinstance(status, dict) else []
    return any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)


def model_of(namespace: Namespace, server: PostgresServer, spec: dict[str, object] | None = None) -> Captured:
    """Make one storage, `model-00000`, and return what the operator sent for it."""
    server.mark_log()
    namespace.storage(
        "model-00000",
        {"database": {"name": "model_00000"}, "user": {"name": "model_00000"}, "interval": "1h", **(spec or {})},
    )
    namespace.wait_ready("model-00000", 60)
    time.sleep(1.5)
    stored = namespace.get("cipherstorages", "model-00000")
    assert stored is not None
    secret = namespace.app_secret("model-00000")
    words = ("model-00000", "model_00000", stored["metadata"]["uid"])
    return captured(server.log_text(), words, {secret["username"]: secret["password"]})


def operators(
    ground: Stage, namespace: Namespace, operator: Operator, server: PostgresServer, count: int, attempt: int
) -> None:
    """Print the row of so many storages at once, made by the operator."""
    server.mark_log()
    ground.audit.mark()
    before = Clocks.read(ground, operator, server)
    names = [f"n{count}-r{attempt}-{number:05d}" for number in range(count)]
    seconds = apply_and_wait(namespace, names, 0.02 if count == 1 else 0.1)
    time.sleep(2)
    after = Clocks.read(ground, operator, server)
    row(
        f"{count}, operator",
        seconds,
        (after.operator - before.operator) / count * 1000,
        (after.postgres - before.postgres) / count * 1000,
        (after.apiserver - before.apiserver) / count * 1000,
        server.connections_authorized() / count,
        most_at_once(server.log_text()),
        Counter({what: round(times / count, 2) for what, times in ground.audit.writes().items()}),
    )


def floor(model: Captured, server: PostgresServer, numbers: list[int]) -> None:
    """Print the row of as many storages, made by the script."""
    server.mark_log()
    count = len(numbers)
    before = cpu_seconds(postgres_pid(server))
    sent = send_again(model, server, numbers, AT_ONCE)
    time.sleep(2)
    row(
        f"{count}, floor",
        sent.seconds,
        sent.cpu / count * 1000,
        (cpu_seconds(postgres_pid(server)) - before) / count * 1000,
        "",
        server.connections_authorized() / count,
        most_at_once(server.log_text()),
        f"errors: {json.dumps(Counter(sent.errors))}" if sent.errors else "",
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks many", description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 20, 50])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with stage() as ground, PostgresServer(16, settings=SETTINGS) as server:
        operator = ground.operator().start()
        try:
            namespace = Namespace(ground.plane, "bench")
            namespace.admin_secret(server)
            model = model_of(namespace, server)
            print(
                f"captured: {model.messages} messages over {model.connections} connections, "
                f"{model.most_at_once} at once; RSS {operator.rss_mib():.0f} MiB"
            )
            header(
                "storages",
                "apply to all Ready, s",
                "CPU of operator or script, ms each",
                "CPU of PostgreSQL, ms each",
                "CPU of the API server, ms each",
                "connections each",
                "most at once",
                "API writes each",
            )
            first = 1
            for count in options.counts:
                for attempt in range(options.rounds):
                    operators(ground, namespace, operator, server, count, attempt)
                    floor(model, server, list(range(first, first + count)))
                    first += count
            print(f"RSS {operator.rss_mib():.0f} MiB")
        finally:
            operator.stop()
        wait_until(lambda: operator.returncode is not None, "the operator ends", 5)
