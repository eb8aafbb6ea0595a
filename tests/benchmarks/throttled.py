"""`python -m benchmarks throttled`: what the operator sends and logs while the API server answers 429 to everything.

The operator talks to a real API server through a proxy. When all storages are known the proxy cuts the open watches
and answers 429 with Retry-After itself, until the outage ends.
"""

import argparse
import asyncio
import json
import time
from collections import Counter

import yaml

from benchmarks.measured import Stage, cpu_seconds, header, row, stage
from benchmarks.seeding import Seeder, namespaces
from support.cluster import Operator, wait_until
from support.throttling import ThrottlingProxy


def through(operator: Operator, ground: Stage, proxy: ThrottlingProxy) -> None:
    """Send an operator that is still to be started through the proxy."""
    path = ground.folder / "operator.kubeconfig"
    content = yaml.safe_load(path.read_text())
    content["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{proxy.port}"}
    path.write_text(yaml.safe_dump(content))


def window(title: str, seconds: float, proxy: ThrottlingProxy, operator: Operator) -> None:
    """Print what came in so many seconds."""
    proxy.reset()
    lines, cpu = len(operator.log().splitlines()), cpu_seconds(operator.pid)
    time.sleep(seconds)
    counts = proxy.counts
    new = [json.loads(line) for line in operator.log().splitlines()[lines:] if line.startswith("{")]
    most = Counter(each.get("message", "")[:60] for each in new).most_common(1)
    row(
        title,
        counts.total() / seconds,
        counts,
        len(new),
        f"{most[0][1]} × {most[0][0]}" if most else "",
        (cpu_seconds(operator.pid) - cpu) / seconds * 100,
    )


def observed(ground: Stage, names: list[str]) -> int:
    """Return how many storages have a Ready condition."""
    count = 0
    for name in names:
        path = f"/apis/storage.cipher.dev/v1alpha1/namespaces/{name}/cipherstorages"
        listed = json.loads(ground.plane.client().request("GET", path, timeout=60))["items"]
        count += sum(bool(item.get("status", {}).get("conditions")) for item in listed)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks throttled", description=__doc__)
    parser.add_argument("--storages", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=60, help="length of each window; there are two of an outage")
    parser.add_argument("--retry-after", type=int, default=1, help="seconds that the 429 asks to wait")
    options = parser.parse_args()
    with stage() as ground, ThrottlingProxy(ground.plane, options.retry_after) as proxy:
        names = namespaces(ground.plane, "throttled", max(1, options.storages // 100))
        # Their connection Secrets are not there: each is looked at about once a minute.
        spec = {"connection": {"secretRef": {"name": "pg-admin"}}}
        bodies = [
            (names[number % len(names)], {"metadata": {"name": f"s-{number}"}, "spec": spec})
            for number in range(options.storages)
        ]
        asyncio.run(Seeder(ground.plane).storages(bodies))
        operator = ground.operator(patience=120)
        through(operator, ground, proxy)
        operator.start()
        try:
            wait_until(lambda: observed(ground, names) == options.storages, "all are known", 600)
            header("", "requests/s", "requests", "log lines", "most frequent line", "CPU of the operator, %")
            window("before", min(30.0, options.seconds), proxy, operator)
            proxy.throttle(True)
            window("outage, first window", options.seconds, proxy, operator)
            window("outage, second window", options.seconds, proxy, operator)
            proxy.throttle(False)
            window("after", options.seconds, proxy, operator)
        finally:
            operator.stop()
