"""Two replicas of one operator as processes, and what befalls the one that leads in the midst of its work."""

import contextlib
import difflib
import itertools
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import yaml

from devcluster import ControlPlane, PostgresServer
from devcluster.faults import FaultProxy
from support.cluster import AT_ONCE, PROMPT, Namespace, Operator, wait_until
from support.pooled_app import PooledApp
from support.provision import snapshot
from support.two_clusters import marker

LEASE = "/apis/coordination.k8s.io/v1/namespaces/cipher-system/leases/cipher-operator"
FLAGS = ("--leader-election", "--leader-election-namespace", "cipher-system", "--interval", "10s")
SETTINGS = {"log_statement": "all", "authentication_timeout": "5s", "max_connections": "200"}
"""Of the server: DROP DATABASE waits for every session, even for one that is stopped in its authentication."""
LATENCY = 0.03
"""Seconds each way between the replicas and the server: long enough to be met between two messages."""
AFTER_WAKING = 1.5
"""Seconds in which a replica that goes on would do what it was about to."""
ROTATED, DELETED = ("chat-0", "chat-1"), ("old-0", "old-1")
LIMITS = {"end": 2.0, "kill": 17.0, "stop": 17.0, "cut": 17.0}
"""Seconds until the other one leads, by what befalls the leader; at a clean end from the release on."""
BUSY = 3.0
"""Seconds that a busy machine may add."""
_numbers = itertools.count(1)


class Replica(Operator):
    """One of the replicas, with a way to the API server of its own."""

    def __init__(self, plane: ControlPlane, folder: Path, *flags: str) -> None:
        folder.mkdir(parents=True)
        super().__init__(plane, folder, *FLAGS, *flags)
        port = urlsplit(plane.url).port
        assert port is not None
        self.api = FaultProxy(port)
        config = yaml.safe_load(self._kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self.api.port}"
        self._kubeconfig.write_text(yaml.safe_dump(config))

    def identities(self) -> set[str]:
        """Return the names by which it has led."""
        lines = (line for line in self.log().splitlines() if "this process leads" in line)
        return {str(json.loads(line)["identity"]) for line in lines}

    def said(self, text: str) -> float:
        """Return when a line was logged last, in seconds of the wall clock."""
        line = next(line for line in reversed(self.log().splitlines()) if text in line)
        return datetime.fromisoformat(json.loads(line)["time"]).timestamp()

    def asked(self, what: str, path: str) -> str:
        """Return what its server for `health` or `metrics` answers; HTTPError where that is an error."""
        found = re.findall(rf"{what} is served on (http://[^/]+)", self.log())
        with urlopen(found[-1] + path, timeout=10) as answer:
            return str(answer.read().decode())

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: self.returncode is not None, "it is dead")


@dataclass
class Pair:
    """Both replicas, and the server that their storages are on, `slow` being the operators' way to it."""

    plane: ControlPlane
    server: PostgresServer
    slow: FaultProxy
    replicas: list[Replica]

    def holder(self) -> str:
        """Return who holds the Lease, by its own name."""
        lease = json.loads(self.plane.client().request("GET", LEASE))
        return str(lease["spec"].get("holderIdentity") or "")

    def leader(self) -> Replica:
        """Return the replica that leads, once one does."""
        wait_until(self._known_holder, "one of the replicas leads", 40)
        holder = self.holder()
        return next(each for each in self.replicas if holder in each.identities())

    def _known_holder(self) -> bool:
        holder = self.holder()
        return any(holder in each.identities() for each in self.replicas)

    def follower(self) -> Replica:
        leader = self.leader()
        return next(each for each in self.replicas if each is not leader)

    def taken_over(self, before: str, seconds: float) -> None:
        """Wait until another one than `before` leads; AssertionError where that takes longer."""

        def another() -> bool:
            return self.holder() not in ("", before)

        wait_until(another, "the other one leads", seconds, pause=AT_ONCE)


@contextlib.contextmanager
def pair(plane: ControlPlane, server: PostgresServer, folder: Path, *flags: str) -> Iterator[Pair]:
    """Start both, with more flags than `FLAGS`, of which the last counts; `plane` has CRD and RBAC."""
    replicas = [Replica(plane, folder / f"replica-{number}", *flags) for number in range(2)]
    with FaultProxy(server.port) as slow:
        try:
            for each in replicas:
                each.start()
            yield Pair(plane, server, slow, replicas)
        finally:
            for each in replicas:
                each.stop()
                each.api.close()


@dataclass(frozen=True)
class Outcome:
    """One round. `lease` is after how many seconds the other one led, `handover` the same from the release on where
    there was one; `reaction` is after how many a storage that was applied at that moment had a status; `under_way`
    is how much of what was asked for was not done at that moment; `stale` says what changed when the former leader went
    on, `refused` what the pods met."""

    lease: float
    handover: float | None
    reaction: float
    under_way: int
    stale: tuple[str, ...]
    refused: tuple[str, ...]
    requests: int


def team(both: Pair) -> Namespace:
    """Make a namespace with the administrator's Secret, and what is to be rotated and deleted Ready in it."""
    made = Namespace(both.plane, f"takeover-{next(_numbers)}")
    url = both.server.admin_url(sslmode="disable").replace(f":{both.server.port}/", f":{both.slow.port}/")
    made.secret("pg-admin", {"CIPHER_PG_URL": url})
    for name in (*ROTATED, *DELETED):
        made.storage(name, spec(both, made, name, **({"deletionPolicy": "Delete"} if name in DELETED else {})))
    for name in (*ROTATED, *DELETED):
        made.wait_ready(name, 60)
    return made


def spec(both: Pair, namespace: Namespace, name: str, **more: Any) -> dict[str, Any]:
    own = f"{namespace.name}_{name}".replace("-", "_")
    app = {"host": both.server.host, "port": both.server.port}
    return {"database": {"name": own}, "user": {"name": own}, "app": app, **more}


def play(both: Pair, kind: str, moments: Random) -> Outcome:
    """Have the leader rotate and delete, let something befall it in the midst, and see the other one through."""
    here = team(both)
    with contextlib.ExitStack() as stack:
        apps = [stack.enter_context(PooledApp(here, f"{name}-cipher")) for name in ROTATED]
        wait_until(lambda: all(app.requests > 20 for app in apps), "the pods are warm")
        leader, before = both.leader(), both.holder()
        both.slow.latency = LATENCY
        for name in moments.sample([*ROTATED, *DELETED], 4):
            if name in ROTATED:
                here.annotate(name, "rotate-requested-at", "1")
            else:
                here.delete("cipherstorages", name)
            time.sleep(moments.uniform(0.0, 0.15))
        time.sleep(moments.uniform(0.0, 0.4))
        began = time.monotonic()
        befall(leader, kind)
        under_way = unfinished(here)
        here.storage("new", spec(both, here, "new"))
        both.taken_over(before, LIMITS[kind] + (PROMPT if kind == "end" else BUSY))
        lease = time.monotonic() - began
        wait_until(lambda: _status(here, "new"), "what is new has a status", 30, pause=AT_ONCE)
        reaction = time.monotonic() - began
        both.slow.latency = 0.0
        handover = (
            both.leader().said("this process leads") - leader.said("the Lease is released") if kind == "end" else None
        )
        settle(both, here)
        stale = recover(both, here, leader, kind)
        requests = [app.requests for app in apps]
        wait_until(lambda: all(app.requests > one + 20 for app, one in zip(apps, requests, strict=True)), "pods work")
    refused = tuple(error.text for app in apps for error in app.errors)
    judge(both, here)
    here.let_go()
    return Outcome(lease, handover, reaction, under_way, stale, refused, sum(app.requests for app in apps))


def unfinished(here: Namespace) -> int:
    """Return how many rotations and deletions are not done."""
    rotations = sum(here.handled(name).get("rotate") != "1" for name in ROTATED)
    return rotations + sum(here.get("cipherstorages", name) is not None for name in DELETED)


def befall(leader: Replica, kind: str) -> None:
    """Let it happen to the leader; returns at once."""
    if kind == "end":
        os.kill(leader.pid, signal.SIGTERM)
    elif kind == "kill":
        leader.kill()
    elif kind == "stop":
        os.kill(leader.pid, signal.SIGSTOP)
    else:
        leader.api.mode = "black-hole"


def settle(both: Pair, here: Namespace) -> None:
    """Wait until everything that was asked for is done, and nobody has more to do."""
    for name in ROTATED:
        wait_until(lambda: here.handled(name).get("rotate") == "1", f"{name} is rotated", 60)  # noqa: B023
    for name in DELETED:
        wait_until(lambda: here.get("cipherstorages", name) is None, f"{name} is gone", 60)  # noqa: B023
    for name in (*ROTATED, "new"):
        here.wait_ready(name, 60)
    # The run after a rotation notes in the marker which login is published.
    for name in ROTATED:
        user = f"{here.name}_{name}".replace("-", "_")
        wait_until(lambda: (found := marker(both.server, user)) and found.published, f"{name} is noted", 60)  # noqa: B023
    seen: list[dict[str, object]] = []

    def quiet() -> bool:
        seen.append(state(both, here))
        time.sleep(1.0)
        return state(both, here) == seen[-1]

    wait_until(quiet, "nothing changes any more", 30)


def recover(both: Pair, here: Namespace, former: Replica, kind: str) -> tuple[str, ...]:
    """Let the former leader go on, or start it again; return what changed when it did."""
    ended = kind in ("end", "kill")
    if ended:
        wait_until(lambda: former.returncode is not None, "the former leader has ended", 90)
    before = state(both, here)
    if ended:
        former.start()
    elif kind == "stop":
        os.kill(former.pid, signal.SIGCONT)
    else:
        former.api.mode = "forward"
        former.api.reset_open()
    time.sleep(AFTER_WAKING)
    after = state(both, here)
    if not ended:
        wait_until(lambda: "does not lead any more" in former.log(), "it knows that it does not lead")
    return tuple(
        f"{what}: {_difference(before.get(what), after.get(what))}"
        for what in sorted({*before, *after})
        if before.get(what) != after.get(what)
    )


def _difference(before: object, after: object) -> str:
    old, new = (str(each).replace("), (", "),\n(").splitlines() for each in (before, after))
    return " ".join(line for line in difflib.unified_diff(old, new, n=0, lineterm="") if line[:2] not in ("--", "++"))


def state(both: Pair, here: Namespace) -> dict[str, object]:
    """Return what is on the server, roles with passwords and markers, and every version of what is in the cluster."""
    found: dict[str, object] = {"server": snapshot(both.server)}
    for name in ROTATED:
        found[f"database {name}"] = snapshot(both.server, f"{here.name}_{name}".replace("-", "_"))[-1]
    for plural in ("secrets", "cipherstorages"):
        for item in here.request("GET", here.path(plural))["items"]:
            name = item["metadata"]["name"]
            # Those of what was deleted are the garbage collector's.
            if name.removesuffix("-cipher") not in DELETED:
                found[f"{plural} {name}"] = item["metadata"]["resourceVersion"]
    return found


def judge(both: Pair, here: Namespace) -> None:
    """See that what was deleted is gone from the server, and no more."""
    prefix = here.name.replace("-", "_")
    databases = [row[0] for row in both.server.execute("SELECT datname FROM pg_database WHERE datname ~ %s", [prefix])]
    wanted = {f"{prefix}_{name}".replace("-", "_") for name in (*ROTATED, "new")}
    assert {name for name in databases if name.startswith(f"{prefix}_")} == wanted
    roles = [row[0] for row in both.server.execute("SELECT rolname FROM pg_roles WHERE rolname ~ %s", [prefix])]
    assert not [role for role in roles if role.startswith(f"{prefix}_old")]


def _status(here: Namespace, name: str) -> bool:
    return bool((here.get("cipherstorages", name) or {}).get("status"))
