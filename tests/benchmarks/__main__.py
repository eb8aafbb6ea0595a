"""`python -m benchmarks`: the figures of one storage, of a steady state and of twenty at once, on real parts."""

import argparse
import json
import re
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

from devcluster import ControlPlane, PostgresServer
from support.cluster import Namespace, Operator, install, wait_until, writing_statements
from support.sql_log import most_at_once

OPERATOR_USER = "system:serviceaccount:cipher-system:cipher-operator"
POLICY = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Metadata, users: ["system:serviceaccount:cipher-system:cipher-operator"]}
  - {level: None}
"""
WRITES = ("create", "update", "patch", "delete")


class Audit:
    """The API server's own record of what the operator wrote."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def mark(self) -> None:
        self._offset = self._path.stat().st_size if self._path.exists() else 0

    def writes(self) -> Counter[str]:
        """Return writes since the mark, by verb and resource."""
        found: Counter[str] = Counter()
        for line in self._path.read_text()[self._offset :].splitlines():
            event = json.loads(line)
            if event["verb"] in WRITES and event["user"]["username"] == OPERATOR_USER:
                of = event.get("objectRef", {})
                found["/".join(filter(None, (event["verb"], of.get("resource"), of.get("subresource"))))] += 1
        return found


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
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=1.0, help="length of the steady state")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "policy.yaml").write_text(POLICY)
        audit = Audit(folder / "audit.log")
        flags = (f"--audit-policy-file={folder / 'policy.yaml'}", f"--audit-log-path={folder / 'audit.log'}")
        settings = {"log_statement": "all", "log_disconnections": "on"}
        with ControlPlane(apiserver_flags=flags) as plane, PostgresServer(16, settings=settings) as server:
            install(plane)
            operator = Operator(plane, folder).start()
            try:
                time.sleep(3)
                print(f"RSS idle {operator.rss_mib():.0f} MiB")
                namespace = Namespace(plane, "bench")
                namespace.admin_secret(server)
                one_storage(namespace, server, audit, options.rounds, "Retain")
                one_storage(namespace, server, audit, options.rounds, "Delete")
                steady(namespace, server, audit, options.minutes)
                twenty(namespace, server, operator)
            finally:
                operator.stop()


if __name__ == "__main__":
    main()
