"""From an event of a CipherServer or a Namespace to what is run, and what is not."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from cipher_operator.kube.seen import Seen
from cipher_operator.queue.queue import Queue
from cipher_operator.queue.references import References
from cipher_operator.reconcile.inputs import PLACE, Key, Ref, references
from cipher_operator.reconcile.namespaces import Namespaces
from cipher_operator.runtime.tenants import COUNTED_AFTER, Tenants
from cipher_operator.runtime.triggers import Triggers

CHAT: Key = ("shop", "chat")
OTHER: Key = ("lab", "chat")
PROD: Ref = ("CipherServer", "", "prod")
SPEC = {"connection": {"serverRef": {"name": "prod"}}}


@dataclass
class Recorded:
    started: list[Any] = field(default_factory=list)
    relearnt: list[Ref] = field(default_factory=list)

    def enqueue(self, key: Key, *, after: float = 0.0, **_: Any) -> None:
        self.started.append((key, after) if after else key)

    def relearn(self, way: Ref) -> None:
        self.relearnt.append(way)

    def taken(self) -> list[Any]:
        found, self.started = self.started, []
        return found


@dataclass
class World:
    storages: Recorded = field(default_factory=Recorded)
    servers: Recorded = field(default_factory=Recorded)

    def __post_init__(self) -> None:
        self.inputs: References[Key, Ref] = References(lambda key: None)
        self.namespaces = Namespaces("cipher-system")
        queues = (cast(Queue[Key], self.storages), cast(Queue[Key], self.servers))
        self.touched: list[Key] = []
        self.tenants = Tenants(*queues, self.inputs, self.namespaces, self.touched.extend)
        for key in (CHAT, OTHER):
            self.inputs.set_references(key, references(key, SPEC))
        self.servers.taken()

    def server(self, generation: int = 1, *, version: int = 1, deleting: bool = False, uid: str = "u") -> None:
        self.tenants.server(PROD, Seen(uid, str(version), deleting=deleting, generation=generation))

    def namespace(self, name: str, **labels: str) -> None:
        self.tenants.namespace(("Namespace", "", name), Seen(name, "1", labels=labels))


@pytest.fixture
def world() -> World:
    return World()


def test_a_server_that_comes_starts_itself_and_who_names_it(world: World) -> None:
    world.server()
    assert world.servers.taken() == [("", "prod")]
    assert sorted(world.storages.taken()) == [OTHER, CHAT]
    assert world.storages.relearnt == [PROD], "what it needs of the lanes may be another's now"


def test_a_status_is_no_change(world: World) -> None:
    world.server()
    world.servers.taken(), world.storages.taken()
    world.server(version=2)
    assert (world.servers.taken(), world.storages.taken()) == ([], [])


CHANGES: dict[str, dict[str, Any]] = {
    "its spec": {"generation": 2},
    "its deletion": {"deleting": True},
    "another of the same name": {"uid": "v"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_are_acted_on(world: World, change: dict[str, Any]) -> None:
    world.server()
    world.servers.taken(), world.storages.taken()
    world.server(**change)
    assert world.servers.taken() == [("", "prod")]
    assert sorted(world.storages.taken()) == [OTHER, CHAT]


def test_a_server_that_goes_is_told_to_its_storages(world: World) -> None:
    world.server()
    world.servers.taken(), world.storages.taken()
    world.tenants.server(PROD, None)
    world.tenants.server(PROD, None)
    assert world.servers.taken() == [("", "prod")]
    assert sorted(world.storages.taken()) == [OTHER, CHAT]


def test_labels_start_the_storages_of_their_namespace_alone(world: World) -> None:
    world.namespace("shop", cipher="yes")
    assert world.storages.taken() == [CHAT]
    assert world.servers.taken() == [(("", "prod"), COUNTED_AFTER)], "its users are others now"
    world.namespace("shop", cipher="yes")
    assert world.storages.taken() == []
    world.namespace("shop")
    assert world.storages.taken() == [CHAT]
    assert world.namespaces.labels("shop") == {}
    world.tenants.namespace(("Namespace", "", "shop"), None)
    assert world.namespaces.labels("shop") is None


def test_a_place_that_is_left_starts_who_waits_for_it(world: World) -> None:
    waiting: Key = ("shop", "second")
    world.inputs.set_references(waiting, {*references(waiting, SPEC), (PLACE, "shop", "prod")})
    world.inputs.forget(OTHER)
    assert world.storages.taken() == [], "of another namespace"
    world.inputs.forget(CHAT)
    assert world.storages.taken() == [waiting]
    world.tenants.follow()
    world.inputs.set_references(CHAT, references(CHAT, SPEC))
    world.inputs.forget(CHAT)
    assert world.storages.taken() == []


ELSEWHERE = {"connection": {"serverRef": {"name": "test"}}}
USES: dict[str, tuple[dict[str, Any] | None, list[str]]] = {
    "gone": (None, ["prod"]),
    "names another": (ELSEWHERE, ["prod", "test"]),
    "names a Secret": ({"connection": {"secretRef": {"name": "pg"}}}, ["prod"]),
    "as before": (SPEC, []),
}


@pytest.mark.parametrize("first", ["the run", "the watch"])
@pytest.mark.parametrize(("spec", "counts"), USES.values(), ids=USES)
def test_servers_count_whoever_is_first_to_know_of_a_change(
    world: World, spec: dict[str, Any] | None, counts: list[str], first: str
) -> None:
    """A run reads the API server, and may know of a deletion or a spec before its event comes."""
    triggers = Triggers(cast(Queue[Key], world.storages), world.inputs)
    metadata = {"namespace": "shop", "name": "chat", "uid": "1"}
    body: dict[str, Any] = {"metadata": {**metadata, "generation": 1}, "spec": SPEC}
    triggers.storage("ADDED", body)
    world.servers.taken()
    if first == "the run":
        world.inputs.set_references(CHAT, references(CHAT, spec) if spec is not None else ())
    if spec is None:
        triggers.storage("DELETED", body)
    else:
        triggers.storage("MODIFIED", {"metadata": {**metadata, "generation": 2}, "spec": spec})
    assert sorted(world.servers.taken()) == [(("", name), COUNTED_AFTER) for name in counts]


def test_a_server_that_goes_while_another_leads_needs_its_secret_no_more(world: World) -> None:
    secret: Ref = ("Secret", "cipher-system", "prod-admin")
    world.server()
    world.inputs.set_references(("", "prod"), {secret})
    world.tenants.follow()
    world.tenants.server(PROD, None)
    assert not world.inputs.watched(secret), "else it is held for ever when this process leads again"


def test_a_namespace_without_tenants_starts_nobody(world: World) -> None:
    world.namespace("elsewhere", cipher="yes")
    assert (world.servers.taken(), world.storages.taken()) == ([], [])


def test_a_follower_keeps_what_it_sees_and_runs_it_when_it_leads(world: World) -> None:
    world.tenants.follow()
    world.server()
    world.namespace("shop", cipher="yes")
    world.inputs.forget(CHAT)
    world.inputs.set_references(CHAT, references(CHAT, SPEC))
    assert (world.servers.taken(), world.storages.taken()) == ([], [])
    assert world.touched == [], "the first list tells of no change"
    world.namespace("shop", cipher="no")
    assert world.touched == [CHAT]
    world.server(3)
    assert sorted(world.touched) == [OTHER, CHAT, CHAT], "looked at first by who leads next"
    assert world.storages.relearnt == [PROD, PROD], "and where it leads is another's now"
    world.namespace("shop", cipher="yes")
    world.tenants.lead()
    assert world.servers.taken() == [("", "prod")]
    assert world.namespaces.labels("shop") == {"cipher": "yes"}
    world.server(4)
    assert sorted(world.storages.taken()) == [OTHER, CHAT]
