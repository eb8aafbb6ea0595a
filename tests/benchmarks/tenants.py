"""`python -m benchmarks tenants`: 200 storages of 20 namespaces on one CipherServer, 181 of them of one namespace.

All are created at once, those of the crowded namespace first: how long the nineteen others wait behind them is what
fairness comes to. `maxConnections` bounds how many sessions the operator has on the server.
"""

import argparse
import json
import statistics
import time
from typing import Any

from benchmarks.captured import SETTINGS
from benchmarks.measured import Stage, header, row, stage
from devcluster import PostgresServer
from support.cluster import GROUP_PATH, Namespace, Operator, wait_until
from support.sql_log import most_at_once

HOME = "cipher-system"
CROWD, OTHERS = 181, 19


def offer(ground: Stage, server: PostgresServer, most: int) -> None:
    """Create the CipherServer with this bound."""
    url = server.admin_url(sslmode="disable")
    kind = {"apiVersion": "storage.cipher.dev/v1alpha1", "kind": "CipherServer"}
    secret = {"metadata": {"name": "prod-admin", "namespace": HOME}, "stringData": {"CIPHER_PG_URL": url}}
    connection = {"secretRef": {"name": "prod-admin"}}
    spec = {"connection": connection, "allowedNamespaces": {"from": "All"}, "maxConnections": most}
    for body in (
        {"apiVersion": "v1", "kind": "Secret", **secret},
        {**kind, "metadata": {"name": "prod"}, "spec": spec},
    ):
        ground.plane.kubectl("apply", "-f", "-", input=json.dumps(body))
    ground.plane.kubectl("wait", "--for=condition=Ready", "cserver/prod", "--timeout=60s")


def apply_all(crowded: Namespace, others: list[Namespace], prefix: str) -> dict[tuple[str, str], float]:
    """Create all storages; return when each was, in monotonic seconds."""
    wanted = [(crowded, f"{prefix}-{number:03d}") for number in range(CROWD)]
    wanted += [(namespace, f"{prefix}-000") for namespace in others]
    created = {}
    for namespace, name in wanted:
        namespace.storage(name, {"connection": {"serverRef": {"name": "prod"}}, "interval": "1h"})
        created[namespace.name, name] = time.monotonic()
    return created


def waits(ground: Stage, created: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Return how many seconds after its creation each storage was seen to be Ready."""
    found: dict[tuple[str, str], float] = {}

    def look() -> bool:
        listed = json.loads(ground.plane.client().request("GET", f"{GROUP_PATH}/cipherstorages"))["items"]
        now = time.monotonic()
        for item in listed:
            key = item["metadata"]["namespace"], item["metadata"]["name"]
            if key in created and key not in found and _is_ready(item):
                found[key] = now - created[key]
        return len(found) == len(created)

    wait_until(look, lambda: f"all are Ready; {len(found)} are", 300)
    return found


def _is_ready(item: dict[str, Any]) -> bool:
    conditions = item.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def measure(ground: Stage, server: PostgresServer, spaces: list[Namespace], most: int) -> None:
    """Print the row of one bound."""
    crowded, *others = spaces
    offer(ground, server, most)
    server.mark_log()
    began = time.monotonic()
    found = waits(ground, apply_all(crowded, others, f"m{most}"))
    seconds = time.monotonic() - began
    time.sleep(2)
    of_crowd = [wait for (space, _), wait in found.items() if space == crowded.name]
    of_others = [wait for (space, _), wait in found.items() if space != crowded.name]
    row(
        most,
        seconds,
        statistics.median(of_crowd),
        max(of_crowd),
        statistics.median(of_others),
        max(of_others),
        most_at_once(server.log_text()),
    )


def alone(most: int) -> str:
    """Print the row of one bound, on a cluster and a server of its own: a change of the bound on those of the row
    before would have all its storages checked anew. Return how many storages the CipherServer has counted."""
    with stage() as ground, PostgresServer(16, settings=SETTINGS) as server:
        operator: Operator = ground.operator("--server-secrets-namespace", HOME).start()
        try:
            spaces = [Namespace(ground.plane, f"team-{number:02d}") for number in range(OTHERS + 1)]
            measure(ground, server, spaces, most)
            time.sleep(31)
            return ground.plane.kubectl("get", "cserver", "prod", "-o", "jsonpath={.status.storages}")
        finally:
            operator.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks tenants", description=__doc__)
    parser.add_argument("--most", type=int, nargs="+", default=[8, 3], help="values of maxConnections")
    options = parser.parse_args()
    header(
        "maxConnections",
        "all Ready, s",
        f"the {CROWD} of one namespace, median s",
        "most s",
        f"the {OTHERS} of others, median s",
        "most s",
        "sessions at once, most",
    )
    counted = [alone(most) for most in options.most]
    print("counted:", *counted)
