"""Two replicas and CipherServers: the other one knows who uses a server, and ends what nobody saw to."""

import itertools
import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from cipher_operator.api.names import GROUP, IN_USE_FINALIZER, PLURAL, SERVER_PLURAL
from devcluster import ControlPlane
from devcluster.stored import Follower, Stored
from support.cluster import PROMPT, Namespace, wait_until
from support.platform import HOME, Platform
from support.takeover import BUSY, LEASE, LIMITS, Pair, Replica, befall

LIMITED = {"deletionPolicies": ["Delete", "Retain"]}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def operator_flags() -> tuple[str, ...]:
    # Who takes over looks within an hour at what nothing has touched: soon is only what it saw.
    return ("--interval", "1h", "--server-secrets-namespace", HOME)


class Stage:
    """Servers by name, and namespaces with a storage `chat` on one of them."""

    def __init__(self, both: Pair) -> None:
        self.both = both
        self.platforms: list[Platform] = []
        self.teams: list[Namespace] = []

    def team(self, server: str, *, allowed: bool = True, **spec: Any) -> Namespace:
        made = Namespace(self.both.plane, f"served-{next(_numbers)}")
        self.teams.append(made)
        if allowed:
            self.label(made, allowed=True)
        made.storage("chat", {"connection": {"serverRef": {"name": server}}, **spec})
        return made

    def offer(self, name: str) -> Platform:
        made = Platform(self.both.plane, self.both.server, name)
        self.platforms.append(made)
        made.secret()
        made.offer(limits=LIMITED)
        return made

    def label(self, team: Namespace, *, allowed: bool) -> None:
        Platform(self.both.plane, self.both.server).label(team, allowed=allowed)

    def clear(self) -> None:
        for team in self.teams:
            team.let_go()
        for platform in self.platforms:
            platform.remove()
        for platform in self.platforms:
            wait_until(lambda: not platform.get(), "the CipherServer is gone")  # noqa: B023


@pytest.fixture
def stage(both: Pair) -> Iterator[Stage]:
    made = Stage(both)
    yield made
    for each in both.replicas:
        if each.returncode is not None:
            each.start()
    made.clear()


class Versions:
    """Every version of an object that was stored since this was made, `key` being its name behind its namespace."""

    def __init__(self, plane: ControlPlane, plural: str, key: str) -> None:
        self._key, self._found = f"{GROUP}/{plural}/{key}", list[Any]()
        self._follower = Follower(plane.etcd_url, f"{GROUP}/{plural}", self._take)

    def _take(self, stored: Stored) -> None:
        if stored.key == self._key and stored.value is not None:
            # A new object is stored without one.
            self._found.append(json.loads(stored.value).get("status", {}))

    def statuses(self) -> list[Any]:
        self._follower.catch_up()
        return list(self._found)

    def close(self) -> None:
        self._follower.close()


def ready(status: Any) -> tuple[str, str]:
    found = next(each for each in status["conditions"] if each["type"] == "Ready")
    return found["status"], found["reason"]


def looked_at(replica: Replica, server: str) -> bool:
    """Return whether this process has looked at a server and found it Ready since it leads."""
    return f'cipher_operator_server_ready{{server="{server}"}} 1.0' in replica.asked("metrics", "/metrics")


def seconds(what: str, taken: float) -> None:
    print(f"{what}: {taken:.1f} s")


def test_a_clean_end_changes_no_status(both: Pair, stage: Stage) -> None:
    # In this order its first look counts the storage: how many there are is written every 30 s at most.
    team = stage.team("prod")
    team.wait_reason("chat", "ServerNotAvailable")
    prod = stage.offer("prod")
    team.wait_ready("chat")
    wait_until(lambda: prod.get()["status"].get("storages") == 1, "it is counted")
    leader, other, before = both.leader(), both.follower(), both.holder()
    with (
        closing(Versions(both.plane, SERVER_PLURAL, "prod")) as of_server,
        closing(Versions(both.plane, PLURAL, f"{team.name}/chat")) as of_storage,
    ):
        befall(leader, "end")
        both.taken_over(before, LIMITS["end"] + PROMPT)
        wait_until(lambda: looked_at(other, "prod"), "the other one has looked at the server")
        team.storage("second", {"connection": {"serverRef": {"name": "prod"}}})
        seconds("second storage, until Ready", team.wait_ready("second"))
        counted = wait_until(lambda: prod.get()["status"].get("storages") == 2, "the second one is counted")
        seconds("second storage, until it is counted", counted)
        statuses, of_chat = of_server.statuses(), of_storage.statuses()
    assert [number for number, _ in itertools.groupby(each["storages"] for each in statuses)] == [1, 2]
    assert {ready(each) for each in statuses} == {("True", "Ready")}
    assert {each["status"] for status in of_chat for each in status["conditions"] if each["type"] == "Ready"} == {
        "True"
    }


def in_use(platform: Platform) -> bool:
    return IN_USE_FINALIZER in platform.get()["metadata"].get("finalizers", [])


def admin_secret(platform: Platform) -> str:
    return platform.plane.kubectl("get", "secret", f"{platform.name}-admin", "-n", HOME, "--ignore-not-found")


def secret_held(platform: Platform) -> bool:
    found = platform.plane.kubectl("get", "secret", f"{platform.name}-admin", "-n", HOME, "-o", "json")
    return IN_USE_FINALIZER in json.loads(found)["metadata"].get("finalizers", [])


def held(platform: Platform) -> bool:
    return "is being deleted and is held" in platform.ready().get("message", "")


def renewed(both: Pair) -> str:
    return str(json.loads(both.plane.client().request("GET", LEASE))["spec"]["renewTime"])


def start_again(both: Pair, replica: Replica) -> None:
    """Start a follower again: it has seen nothing of what was done before, but that the leader is alive.

    Else it looks at once at whatever was made in the last two minutes, or at everything.
    """
    replica.stop()
    replica.start()
    for _ in range(2):
        at = renewed(both)
        wait_until(lambda: renewed(both) != at, "the leader renews the Lease")  # noqa: B023


def test_what_is_done_while_nobody_leads_is_seen_to(both: Pair, stage: Stage) -> None:
    _, used, spare, last, closes = (stage.offer(name) for name in ("prod", "used", "spare", "last", "closes"))
    leaves, stays, goes = stage.team("prod"), stage.team("used"), stage.team("last", deletionPolicy="Delete")
    shut, waits = stage.team("closes"), stage.team("prod", allowed=False)
    for team in (leaves, stays, goes, shut):
        team.wait_ready("chat")
    waits.wait_reason("chat", "ServerNotAvailable")
    wait_until(lambda: in_use(used) and in_use(last) and secret_held(last), "what is used is held")
    wait_until(lambda: spare.ready().get("status") == "True", "so is the server that nobody uses")
    leader, other, before = both.leader(), both.follower(), both.holder()
    start_again(both, other)

    leader.kill()
    stage.label(waits, allowed=True)
    stage.label(leaves, allowed=False)
    closes.offer(limits=LIMITED, allowedNamespaces={"from": "Selector", "names": ["nobody"]})
    both.plane.kubectl("delete", "cserver", "used", "--wait=false")
    goes.delete("cipherstorages", "chat")
    last.remove()
    spare.remove()
    assert both.holder() == before, "all of it was done while nobody led"
    assert in_use(last) and admin_secret(last), "nobody has let go of anything"

    both.taken_over(before, LIMITS["kill"] + BUSY)
    began = time.monotonic()
    ends = {
        "label added, until Ready": lambda: waits.condition("chat").get("status") == "True",
        "label removed, until it is said": lambda: leaves.condition("chat").get("reason") == "ServerNotAvailable",
        "server closed, until it is said": lambda: shut.condition("chat").get("reason") == "ServerNotAvailable",
        "used one deleted, until it says that it is held": lambda: held(used),
        "last user's deletion": lambda: goes.get("cipherstorages", "chat") is None,
        "its server's": lambda: not last.get(),
        "and the Secret's": lambda: not admin_secret(last),
    }
    for what, done in ends.items():
        wait_until(done, what)
        seconds(f"takeover, {what}", time.monotonic() - began)
    assert (spare.get(), admin_secret(spare)) == ({}, "")
    assert not looked_at(other, "spare"), "it knows that this one is no more"
    assert stays.condition("chat")["status"] == "True", "who uses a server that goes stays"
