"""In which order a new leader looks at what there is, and that a follower does nothing."""

from collections import Counter
from typing import Any

import pytest

from cipher_operator.kube.seen import Seen
from cipher_operator.queue.following import Next
from cipher_operator.queue.references import References
from cipher_operator.queue.ticket import Ticket
from cipher_operator.reconcile.inputs import Key, Ref
from cipher_operator.runtime.standby import RECENT_SECONDS, Standby
from cipher_operator.runtime.triggers import Triggers
from support.queue_world import World

LANE = ("db.example.com", 5432)
INTERVAL = 300.0


def storage(name: str = "chat", *, ready: str = "True", seen: int = 2, namespace: str = "ns", **more: Any) -> Any:
    """Return a storage whose spec is at its second generation; what is None in `more` is left out."""
    metadata = {"namespace": namespace, "name": name, "uid": name, "generation": 2, **more.pop("metadata", {})}
    spec = {"connection": {"secretRef": {"name": "pg"}}, **more.pop("spec", {})}
    condition = {"type": "Ready", "status": ready, "observedGeneration": seen}
    status = {"observedGeneration": seen, "conditions": [condition], **more.pop("status", {})}
    return {"metadata": metadata, "spec": spec, "status": status}


def without_status(name: str = "new", namespace: str = "ns") -> Any:
    return {key: part for key, part in storage(name, namespace=namespace).items() if key != "status"}


ASKED = {"annotations": {"storage.cipher.dev/rotate-requested-at": "2"}}
BODIES: dict[str, tuple[Any, bool]] = {
    "Ready for what it says now": (storage(), True),
    "Ready for what it said before": (storage(seen=1), False),
    "not Ready": (storage(ready="False"), False),
    "never looked at": (without_status(), False),
    "about to go": (storage(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}), False),
    "asked for something": (storage(metadata=ASKED), False),
    "asked for something that was done": (storage(metadata=ASKED, status={"handledRequests": {"rotate": "2"}}), True),
    "of another shape than it must have": ({"metadata": {"namespace": "ns", "name": "x"}, "status": []}, False),
}


@pytest.mark.parametrize("case", BODIES)
def test_what_counts_as_settled(case: str) -> None:
    body, settled = BODIES[case]
    standby = Standby(INTERVAL, lambda: 1_000.0, lambda low, high: high)
    standby.saw(("ns", "chat"), body)
    (look,) = standby.looks(warm=True)
    assert (look.urgent, look.after) == ((False, INTERVAL) if settled else (True, 0.0))


@pytest.mark.parametrize(
    ("own", "operators", "spread"),
    [
        (None, 300.0, 300.0),
        ("1m", 300.0, 60.0),
        ("24h", 300.0, 300.0),
        ("0s", 300.0, 300.0),
        (None, 0.0, 300.0),
        (None, 7_200.0, 900.0),
        ("24h", 0.0, 900.0),
    ],
    ids=[
        "the operator's",
        "its own",
        "never longer than the operator's",
        "only on change: once",
        "both",
        "hours: until then nobody knows of them",
        "its own hours",
    ],
)
def test_over_what_the_first_looks_are_spread(own: str | None, operators: float, spread: float) -> None:
    standby = Standby(operators, lambda: 1_000.0, lambda low, high: high)
    standby.saw(("ns", "chat"), storage(spec={} if own is None else {"interval": own}))
    assert [look.after for look in standby.looks(warm=True)] == [spread]


def test_new_ones_come_first_and_those_that_are_not_as_they_shall_be_next() -> None:
    standby = Standby(INTERVAL, lambda: 1_000.0)
    for body in (storage("settled"), storage("unready", ready="False"), without_status("new")):
        standby.saw(("ns", body["metadata"]["name"]), body)
    assert [look.key[1] for look in standby.looks(warm=True)] == ["new", "unready", "settled"]


def test_who_saw_no_leader_looks_at_everything() -> None:
    standby = Standby(INTERVAL, lambda: 1_000.0)
    standby.saw(("ns", "chat"), storage())
    (look,) = standby.looks(warm=False)
    assert (look.urgent, look.after) == (False, 0.0)


@pytest.mark.parametrize(("ago", "at_once"), [(1.0, True), (RECENT_SECONDS + 1, False)], ids=["just now", "long ago"])
def test_what_has_changed_of_late_is_looked_at_at_once(ago: float, at_once: bool) -> None:
    now = [1_000.0]
    standby = Standby(INTERVAL, lambda: now[0], lambda low, high: high)
    standby.saw(("ns", "chat"), storage())
    standby.touch([("ns", "chat")])
    now[0] += ago
    (look,) = standby.looks(warm=True)
    assert (look.after == 0.0) is at_once


class Process:
    """Triggers on a real queue with a clock that the test turns; each run takes a tenth of a second and a slot."""

    def __init__(self, slots: int = 8) -> None:
        self.fails = False
        self.world = World(run=self._run, slots=slots, share=32)
        self.looked: list[Ref] = []
        self.connections: Counter[int] = Counter()
        self.inputs: References[Key, Ref] = References(self.world.queue.enqueue)
        standby = Standby(INTERVAL, self.world.clock.now)
        queue = self.world.queue
        self.triggers = Triggers(queue, self.inputs, lambda ref, /, *, after=0.0: self.looked.append(ref), standby)

    async def _run(self, world: World, key: Key, ticket: Ticket) -> Next:
        if self.fails:
            return Next(failed=True)
        ticket.enter(LANE, "admin")
        self.connections[int(world.clock.now())] += 1
        await world.clock.sleep(0.1)
        ticket.opened(LANE, "admin")
        return Next(after=INTERVAL, spread=0.1)

    async def follow(self) -> None:
        self.triggers.follow()
        await self.world.queue.drain(0)

    def lead(self, *, warm: bool = True) -> None:
        self.world.queue.resume()
        self.triggers.lead(warm=warm)

    def since(self, moment: float) -> list[tuple[float, Key]]:
        return [(when - moment, key) for when, key in self.world.runs if when >= moment]

    async def looks_when_it_leads_again(self) -> int:
        """Lead again after a minute; return how many runs begin at once."""
        await self.world.clock.advance(60.0)
        began = self.world.clock.now()
        self.lead()
        await self.world.clock.advance(0.0)
        looks = len(self.since(began))
        await self.world.queue.drain(0)
        return looks


async def test_a_follower_runs_nothing_and_knows_everything() -> None:
    process = Process()
    await process.follow()
    for number in range(50):
        process.triggers.storage(None, storage(f"chat{number}"))
    process.triggers.complete()
    process.triggers.storage("ADDED", without_status())
    process.triggers.input(("Secret", "ns", "pg"), Seen("uid", "7", held=True, deleting=True))
    await process.world.clock.advance(1_000.0)
    assert process.world.runs == [] and process.looked == []
    began = process.world.clock.now()
    process.lead()
    await process.world.clock.advance(1.0)
    assert process.since(began)[0] == (0.0, ("ns", "new"))
    assert process.looked == [("Secret", "ns", "pg")], "somebody waits for its finalizer"


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
async def test_a_thousand_storages_are_no_storm(warm: bool) -> None:
    process = Process()
    await process.follow()
    for number in range(1_000):
        process.triggers.storage(None, storage(f"chat{number}", namespace=f"team-{number % 40}"))
    process.triggers.complete()
    for number in range(20):
        process.triggers.storage("ADDED", without_status(f"new{number}", namespace="shop"))
    began = process.world.clock.now()
    process.lead(warm=warm)
    await process.world.clock.advance(INTERVAL + 1)
    runs = process.since(began)
    new = [when for when, key in runs if key[0] == "shop"][:20]
    assert max(new) < 1.5, "new ones wait for no check"
    assert len({key for _, key in runs}) == 1_020, "each is looked at within the interval"
    assert max(process.connections.values()) <= (30 if warm else 90), "spread, or bounded by the server's slots"
    await process.world.queue.drain(0)
    assert process.world.free(), "the next round of checks had begun, and holds nothing"


async def test_who_leads_no_more_ends_its_runs_at_once_and_runs_them_when_it_leads_again() -> None:
    process = Process()
    process.triggers.storage(None, storage("chat", ready="False"))
    process.triggers.complete()
    await process.world.clock.advance(0.05)
    assert process.world.queue.running == 1
    await process.follow()
    assert process.world.queue.running == 0 and process.world.free()
    process.triggers.storage("MODIFIED", storage("chat", ready="False", metadata={"generation": 3}))
    await process.world.clock.advance(900.0)
    assert len(process.world.runs) == 1
    process.lead()
    await process.world.clock.advance(1.0)
    assert len(process.world.runs) == 2


async def test_a_storage_that_goes_while_it_follows_is_forgotten() -> None:
    process = Process()
    process.triggers.storage(None, storage())
    process.triggers.complete()
    await process.world.clock.advance(1.0)
    await process.follow()
    process.triggers.storage("DELETED", storage())
    assert process.world.queue.known == 0
    process.lead()
    await process.world.clock.advance(INTERVAL * 2)
    assert len(process.world.runs) == 1


async def test_an_input_that_changes_while_it_follows_is_not_lost() -> None:
    process = Process()
    await process.follow()
    process.triggers.storage(None, storage())
    process.triggers.input(("Secret", "ns", "pg"), Seen("uid", "7"))
    process.triggers.complete()
    await process.world.clock.advance(500.0)
    process.triggers.input(("Secret", "ns", "pg"), Seen("uid", "8"))
    await process.world.clock.advance(16.0)
    process.lead()
    await process.world.clock.advance(0.0)
    assert len(process.world.runs) == 1
    await process.world.queue.drain(0)


async def test_what_a_leader_had_not_come_to_is_looked_at_when_it_leads_again() -> None:
    """An outage of the API server: what changed just before it was seen by who leads again, and by nobody else."""
    process = Process(slots=1)
    for name in ("running", "waiting", "done"):
        process.triggers.storage(None, storage(name))
    process.triggers.complete()
    await process.world.clock.advance(5.0)
    for name in ("running", "waiting"):
        process.world.queue.enqueue(("ns", name), changed=True)
    await process.world.clock.advance(0.05)
    await process.follow()
    await process.world.clock.advance(900.0)
    began = process.world.clock.now()
    process.lead()
    await process.world.clock.advance(1.0)
    assert {key[1] for _, key in process.since(began)} == {"running", "waiting"}
    await process.world.queue.drain(0)
    await process.follow()
    process.lead()
    began = process.world.clock.now()
    await process.world.clock.advance(0.0)
    assert process.since(began) == [], "once"
    await process.world.queue.drain(0)


async def test_what_a_leader_had_tried_in_vain_is_looked_at_when_it_leads_again() -> None:
    process = Process()
    process.triggers.storage(None, storage())
    process.triggers.complete()
    await process.world.clock.advance(1.0)
    process.fails = True
    process.world.queue.enqueue(("ns", "chat"))
    await process.world.clock.advance(1.0)
    await process.follow()
    process.fails = False
    assert await process.looks_when_it_leads_again() == 1


async def test_an_input_that_a_leader_had_not_looked_at_is_not_lost() -> None:
    process = Process()
    process.triggers.storage(None, storage())
    process.triggers.complete()
    await process.world.clock.advance(1.0)
    process.triggers.follow([("Secret", "ns", "pg"), ("Secret", "ns", "unrelated")])
    await process.world.queue.drain(0)
    assert await process.looks_when_it_leads_again() == 1
