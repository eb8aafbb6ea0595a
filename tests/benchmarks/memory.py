"""`python -m benchmarks memory`: the operator's peak memory with large ConfigMaps and Secrets of others in the cluster.

One storage is Ready all the while. Peak is VmHWM of the process, from its start until it has settled, and again after
some of the large objects were changed under its watch.
"""

import argparse
import base64
import os
import time
from collections.abc import Iterator

from benchmarks.measured import Stage, header, memory_mib, row, stage
from devcluster import PostgresServer
from support.cluster import Namespace


def large(kind: str, count: int, size: int) -> Iterator[tuple[str, dict[str, object]]]:
    """Give name and body of objects with `size` bytes of data each; what is in them cannot be compressed."""
    for number in range(count):
        name = f"large-{number}"
        # Three bytes are four characters of base64.
        noise = base64.b64encode(os.urandom(size * 3 // 4 if kind == "ConfigMap" else size)).decode()
        yield name, {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": {"blob": noise}}


def fill(ground: Stage, namespace: Namespace, options: argparse.Namespace) -> None:
    client = ground.plane.client()
    for kind, plural, count, size in (
        ("ConfigMap", "configmaps", options.configmaps, options.configmap_bytes),
        ("Secret", "secrets", options.secrets, options.secret_bytes),
    ):
        for _, body in large(kind, count, size):
            client.request("POST", namespace.path(plural), body, timeout=60)


def touch(ground: Stage, namespace: Namespace, options: argparse.Namespace) -> None:
    """Change some of the large objects, one after the other."""
    client = ground.plane.client()
    for number in range(options.changes):
        for plural, count in (("configmaps", options.configmaps), ("secrets", options.secrets)):
            if number < count:
                patch = {"metadata": {"annotations": {"touched": str(time.time())}}}
                client.request("PATCH", namespace.path(plural, f"large-{number}"), patch, timeout=60)


def measured(ground: Stage, crowd: Namespace, options: argparse.Namespace, title: str) -> float:
    """Start an operator, let it settle, print its figures and return its peak in MiB."""
    operator = ground.operator(patience=180).start()
    try:
        time.sleep(options.settle)
        settled, peak = memory_mib(operator.pid), memory_mib(operator.pid, "VmHWM")
        touch(ground, crowd, options)
        time.sleep(options.settle / 2)
        later = memory_mib(operator.pid, "VmHWM")
        row(title, settled, peak, later)
        return later
    finally:
        operator.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks memory", description=__doc__)
    parser.add_argument("--configmaps", type=int, default=60)
    parser.add_argument("--configmap-bytes", type=int, default=900_000)
    parser.add_argument("--secrets", type=int, default=300)
    parser.add_argument("--secret-bytes", type=int, default=1_000_000)
    parser.add_argument("--changes", type=int, default=20, help="large objects of each kind that are changed")
    parser.add_argument("--rounds", type=int, default=2, help="starts of the operator in each state")
    parser.add_argument("--settle", type=float, default=15, help="seconds from ready to the figures")
    options = parser.parse_args()
    with stage() as ground, PostgresServer(16) as server:
        namespace, crowd = Namespace(ground.plane, "bench"), Namespace(ground.plane, "crowd")
        namespace.admin_secret(server)
        operator = ground.operator().start()
        namespace.storage("chat", {"database": {"name": "chat"}})
        namespace.wait_ready("chat")
        operator.stop()
        header("in the cluster", "RSS settled, MiB", "peak, MiB", f"peak after {options.changes} of each changed, MiB")
        none = argparse.Namespace(**{**vars(options), "configmaps": 0, "secrets": 0})
        without = [measured(ground, crowd, none, "none of others") for _ in range(options.rounds)]
        fill(ground, crowd, options)
        title = (
            f"{options.configmaps} ConfigMaps of {options.configmap_bytes // 1000} kB, "
            f"{options.secrets} Secrets of {options.secret_bytes // 1000} kB"
        )
        with_them = [measured(ground, crowd, options, title) for _ in range(options.rounds)]
        print(f"difference of the highest peaks: {max(with_them) - max(without):.0f} MiB")
