"""`python -m benchmarks rollout`: storages are applied all the time while both replicas are replaced, as a Deployment
with maxSurge 1 and maxUnavailable 0 does it: a new one is ready, then an old one ends.

Reaction is from the answer to the apply until the operator's first status of that storage, by the API server's audit
log. What it is worth shows beside two controls: `--how steady` replaces nothing, which is what the same load costs by
itself; `--how killed` breaks the hand-over, an old one being killed, so that nobody gives the Lease back.
"""

import argparse
import json
import os
import signal
import statistics
import threading
import time
from datetime import datetime
from pathlib import Path

from benchmarks.measured import Stage, header, row, stage
from devcluster import PostgresServer
from support.cluster import Namespace, wait_until
from support.takeover import SETTINGS, Replica

NAMESPACES = 10
LATE_SECONDS = 3.0
PAUSE_SECONDS = 5.0
"""Before each old one is replaced."""
SIGNALS = {"replaced": signal.SIGTERM, "killed": signal.SIGKILL}


def applied(spaces: list[Namespace], count: int, per_second: float, at: dict[str, float]) -> None:
    """Create storages at a steady rate, and note when each was there (seconds of the wall clock)."""
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number / per_second - time.monotonic()))
        name = f"s{number:04d}"
        spaces[number % len(spaces)].storage(name, {"database": {"name": name}, "user": {"name": name}})
        at[name] = time.time()


def first_statuses(audit: Path) -> dict[str, float]:
    """Return when the first status of each storage was written."""
    found: dict[str, float] = {}
    for line in audit.read_text().splitlines():
        event = json.loads(line)
        of = event.get("objectRef", {})
        if (event["verb"], of.get("resource"), of.get("subresource")) == ("patch", "cipherstorages", "status"):
            written = datetime.fromisoformat(event["stageTimestamp"]).timestamp()
            found[of["name"]] = min(written, found.get(of["name"], written))
    return found


def replace(ground: Stage, old: list[Replica], end: signal.Signals) -> list[Replica]:
    """Replace the replicas one after another, the leader first; return the new ones. An old one ends by `end`."""
    new = []
    for number, each in enumerate(sorted(old, key=lambda one: not one.identities())):
        time.sleep(PAUSE_SECONDS)
        new.append(Replica(ground.plane, ground.folder / f"new-{number}"))
        new[-1].start()
        os.kill(each.pid, end)
        wait_until(lambda: each.returncode is not None, "the old replica has ended", 90)  # noqa: B023
    return new


def ready(spaces: list[Namespace]) -> int:
    count = 0
    for space in spaces:
        for item in space.request("GET", space.path("cipherstorages"))["items"]:
            conditions = item.get("status", {}).get("conditions", [])
            count += any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks rollout", description=__doc__)
    parser.add_argument("--storages", type=int, default=200)
    parser.add_argument("--per-second", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--how", choices=[*SIGNALS, "steady"], default="replaced", help="steady, killed: the controls")
    options = parser.parse_args()
    header("storages", "lost", "reaction: median, s", "most", f"above {LATE_SECONDS:g} s", "hand-overs", "within, s")
    for _ in range(options.rounds):
        with stage() as ground, PostgresServer(16, settings=SETTINGS) as server:
            replicas = [Replica(ground.plane, ground.folder / f"old-{number}").start() for number in range(2)]
            spaces = [Namespace(ground.plane, f"team-{number}") for number in range(NAMESPACES)]
            for space in spaces:
                space.admin_secret(server)
            at: dict[str, float] = {}
            work = threading.Thread(target=applied, args=(spaces, options.storages, options.per_second, at))
            work.start()
            began = time.monotonic()
            old = [each for each in replicas if isinstance(each, Replica)]
            new = old if options.how == "steady" else replace(ground, old, SIGNALS[options.how])
            took = time.monotonic() - began
            try:
                work.join()
                deadline = time.monotonic() + 60
                while (done := ready(spaces)) < options.storages and time.monotonic() < deadline:
                    time.sleep(0.5)
                # Before the end, which is one more.
                handovers = sum(len(each.identities()) for each in {*old, *new}) - 1
            finally:
                for each in new:
                    each.stop()
            statuses = first_statuses(ground.folder / "audit.log")
            gaps = [statuses[name] - when for name, when in at.items() if name in statuses]
            late = sum(gap > LATE_SECONDS for gap in gaps)
            row(options.storages, options.storages - done, statistics.median(gaps), max(gaps), late, handovers, took)
