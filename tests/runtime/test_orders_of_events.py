"""Whatever order kopf, its lists and our reflector bring events in, in the end what is known is what there is."""

import copy
from collections.abc import Callable
from random import Random
from typing import Any, cast

import pytest

from cipher_operator.api.names import FINALIZER, REQUEST_ANNOTATIONS
from cipher_operator.api.spec import parse_resource
from cipher_operator.kube.seen import Seen
from cipher_operator.queue.queue import Queue
from cipher_operator.queue.references import References
from cipher_operator.reconcile.inputs import Key
from cipher_operator.runtime.standby import Standby, known
from cipher_operator.runtime.triggers import Triggers, fingerprint

ASKED = REQUEST_ANNOTATIONS["reconcile"]
NAMES = "ab"
Event = tuple[str | None, dict[str, Any]]


class World:
    """An API server with storages of two names, kopf with a queue for each object, and our reflector, each at a place
    of its own in what has happened. kopf brings the last of those events of an object that it finds waiting."""

    def __init__(self, random: Random, *, follows: bool) -> None:
        self.random = random
        self.live: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[str, dict[str, Any]]] = []
        self.uids = self.lists = self.watched = self.reflected = 0
        self.waiting: dict[str, list[tuple[int, Event]]] = {}
        self.listed: dict[str, str] = {}
        self.run_at: dict[Key, dict[str, Any] | None] = {}
        inputs: References[Key, Any] = References(self.enqueue)
        self.standby = Standby(300, lambda: 0.0)
        self.triggers = Triggers(cast("Queue[Key]", self), inputs, standby=self.standby)
        if follows:
            self.triggers.follow()
        self.triggers.complete()

    def enqueue(self, key: Key, **_: Any) -> None:
        self.run_at[key] = copy.deepcopy(self.live.get(key[1]))

    def relearn(self, way: object) -> None:
        """Needs are the queue's own business."""

    def forget(self, key: Key) -> None:
        """As the queue does."""

    def undone(self) -> list[Key]:
        return []

    def _happens(self, type_: str, name: str) -> None:
        self.live[name]["metadata"]["resourceVersion"] = str(len(self.history) + 1)
        self.history.append((type_, copy.deepcopy(self.live[name])))
        if type_ == "DELETED":
            del self.live[name]

    def change(self) -> None:
        name = self.random.choice(NAMES)
        if name not in self.live:
            self.uids += 1
            metadata = {"namespace": "ns", "name": name, "uid": str(self.uids), "generation": 1}
            spec = {"connection": {"secretRef": {"name": "pg"}}}
            self.live[name] = {"metadata": metadata, "spec": spec, "status": {}}
            return self._happens("ADDED", name)
        body = self.live[name]
        metadata, generation = body["metadata"], body["metadata"]["generation"]
        match self.random.choice(["spec", "status", "status", "status", "ask", "hold", "free", "delete"]):
            case "spec":
                metadata["generation"] += 1
            case "status":
                ready = {"type": "Ready", "status": self.random.choice(["True", "False"])}
                ready["observedGeneration"] = generation
                body["status"] = {"observedGeneration": generation, "conditions": [ready]}
            case "ask":
                metadata["annotations"] = {ASKED: str(len(self.history))}
            case "hold":
                metadata["finalizers"] = [FINALIZER]
            case "delete" if metadata.get("finalizers"):
                metadata.setdefault("deletionTimestamp", "2026-01-01T00:00:00Z")
            case "delete":
                return self._happens("DELETED", name)
            case _:
                metadata["finalizers"] = []
                if "deletionTimestamp" in metadata:
                    return self._happens("DELETED", name)
        return self._happens("MODIFIED", name)

    def _give(self, event: Event) -> None:
        self.waiting.setdefault(event[1]["metadata"]["uid"], []).append((self.lists, event))

    def watch(self) -> None:
        if self.watched < len(self.history):
            type_, body = self.history[self.watched]
            self.watched += 1
            if not self.triggers.status(type_, copy.deepcopy(body)):
                self._give((type_, body))

    def bring(self) -> None:
        if uids := [uid for uid, events in self.waiting.items() if events]:
            events = self.waiting[self.random.choice(uids)]
            last = self.random.randrange(len(events))
            _, (type_, body) = events[last]
            del events[: last + 1]
            self.triggers.storage(type_, copy.deepcopy(body))

    def list_anew(self) -> None:
        # kopf pauses between two lists for longer than its queues take.
        if all(at == self.lists and event[0] for events in self.waiting.values() for at, event in events):
            self.lists, self.watched = self.lists + 1, len(self.history)
            self.triggers.listed(None)
            for body in self.live.values():
                self._give((None, copy.deepcopy(body)))

    def reflect(self) -> None:
        if self.reflected < len(self.history):
            type_, body = self.history[self.reflected]
            self.reflected += 1
            self._tell(body["metadata"]["name"], None if type_ == "DELETED" else body)

    def reflect_anew(self) -> None:
        self.reflected = len(self.history)
        for name in NAMES:
            self._tell(name, self.live.get(name))

    def _tell(self, name: str, body: dict[str, Any] | None) -> None:
        ref, metadata = ("CipherStorage", "ns", name), None if body is None else body["metadata"]
        if metadata is not None:
            self.listed[name] = metadata["uid"]
            self.triggers.exists(ref, Seen(metadata["uid"], metadata["resourceVersion"]))
        elif self.listed.pop(name, None) is not None:
            self.triggers.exists(ref, None)

    def rest(self) -> None:
        """Let everything arrive."""
        while self.watched < len(self.history) or self.reflected < len(self.history) or any(self.waiting.values()):
            self.random.choice([self.watch, self.bring, self.reflect])()


@pytest.mark.parametrize("follows", [False, True], ids=["leads", "follows"])
@pytest.mark.parametrize("lists", [False, True], ids=["one watch", "lists anew"])
def test_what_is_known_in_the_end_is_what_there_is(follows: bool, lists: bool) -> None:
    for seed in range(600):
        world = World(Random(seed), follows=follows)
        acts: list[Callable[[], None]] = [world.change] * 4 + [world.watch, world.bring, world.reflect] * 5
        acts += [world.reflect_anew, *([world.list_anew] if lists else [])]
        for _ in range(world.random.randint(5, 80)):
            world.random.choice(acts)()
        world.rest()
        triggers = world.triggers
        for name in NAMES:
            key, body = ("ns", name), world.live.get(name)
            assert triggers.knows(key) == (body is not None) == (key in world.standby._known), (seed, name)
            if body is None:
                continue
            now = fingerprint(body)
            assert triggers._known[key] == now, (seed, name)
            assert world.standby._known[key] == known(parse_resource(body)), (seed, name)
            if not follows:
                run = world.run_at[key]
                assert run is not None, (seed, name)
                assert now.without_hold().is_as(fingerprint(run).without_hold()), (seed, name)
        assert not triggers._coming, seed
