"""`python -m benchmarks storage`: figures of one storage, of a steady state and of twenty at once, on real parts."""

import argparse
import re
import statistics
import time

from benchmarks.measured import Audit, stage
from devcluster import PostgresServer
from support.cluster import Namespace, Operator, wait_until, writing_statements
from support.sql_log import most_at_once


def statements(log: str) -> int:
    """Return how many messages the operator sent to the server, from its log."""
    return len(re.findall(r"statement: ", log))


def one_storage(namespace: Namespace, server: PostgresServer, audit: Audit, rounds: int, policy: str) -> None:
    seconds = []
    for number in range(rounds):
        name = f"{policy.lower()}-{number}"
        # The Event of the round before follows its status.
        time.sleep(0.3)
        server.mark_log()
        audit.mark()
        started = time.monotonic()
        spec = {"database": {"name": name.replace("-", "_")}, "deletionPolicy": policy, "interval": "1h"}
        namespace.storage(name, spec)
        namespace.wait_ready(name)
        seconds.append(time.monotonic() - started)
        if number == rounds - 1:
            time.sleep(1.5)
            log = server.log_text()
            print(
                f"{policy}: apply to Ready median {statistics.median(seconds) * 1000:.0f} ms "
                f"(min {min(seconds) * 1000:.0f}, max {max(seconds) * 1000:.0f}, n={rounds}); "
                f"PostgreSQL connections {server.connections_authorized()}, messages {statements(log)}; "
                f"API writes {dict(audit.writes())}"
            )


def steady(namespace: Namespace, server: PostgresServer, audit: Audit, minutes: float) -> None:
    name = "steady"
    namespace.storage(name, {"database": {"name": name}, "interval": "10s"})
    namespace.wait_ready(name)
    time.sleep(2)
    server.mark_log()
    audit.mark()
    time.sleep(minutes * 60)
    log = server.log_text()
    tail = log[log.rindex("connection authorized") :] if "connection authorized" in log else ""
    writes = writing_statements(tail)
    print(
        f"steady: {minutes:g} min of checks every 10 s: {server.connections_authorized()} connections, "
        f"{statements(log)} messages, {len(writes)} writes in PostgreSQL, {dict(audit.writes())} in Kubernetes"
    )
    namespace.delete("cipherstorages", name)


def twenty(namespace: Namespace, server: PostgresServer, operator: Operator) -> None:
    idle = operator.rss_mib()
    server.mark_log()
    names = [f"many-{number}" for number in range(20)]
    started = time.monotonic()
    for name in names:
        namespace.storage(name, {"database": {"name": name.replace("-", "_")}, "interval": "1h"})

    def all_ready() -> bool:
        listed = namespace.request("GET", namespace.path("cipherstorages"))["items"]
        ready = [item for item in listed if item["metadata"]["name"] in names and _is_ready(item)]
        return len(ready) == len(names)

    wait_until(all_ready, "twenty are Ready", 60)
    print(
        f"twenty at once: all Ready after {time.monotonic() - started:.1f} s; most connections at once "
        f"{most_at_once(server.log_text())}; RSS before {idle:.0f} MiB, after {operator.rss_mib():.0f} MiB"
    )


def _is_ready(item: dict[str, object]) -> bool:
    status = item.get("status")
    conditions = status.get("conditions", []) if isinstance(status, dict) else []
    return any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks storage", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=1.0, help="length of the steady state")
    options = parser.parse_args()
    settings = {"log_statement": "all", "log_disconnections": "on"}
    with stage() as ground, PostgresServer(16, settings=settings) as server:
        operator = ground.operator().start()
        try:
            time.sleep(3)
            print(f"RSS idle {operator.rss_mib():.0f} MiB")
            namespace = Namespace(ground.plane, "bench")
            namespace.admin_secret(server)
            one_storage(namespace, server, ground.audit, options.rounds, "Retain")
            one_storage(namespace, server, ground.audit, options.rounds, "Delete")
            steady(namespace, server, ground.audit, options.minutes)
            twenty(namespace, server, operator)
        finally:
            operator.stop()
