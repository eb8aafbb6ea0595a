"""What keys name stands for what they need, until a run has learnt it: the same for the same, and nothing outdated."""

from typing import Any

import pytest

from cipher_operator.queue.following import Next
from cipher_operator.queue.ticket import Ticket
from cipher_operator.reconcile.inputs import way
from support.queue_world import Key, World

SECRET = "Secret", "ns", "pg"
BUSY: dict[str, Any] = {"secretRef": {"name": "pg"}, "host": "busy.example.com"}
OTHERS: dict[str, dict[str, Any]] = {
    "another host": {**BUSY, "host": "other.example.com"},
    "another port": {**BUSY, "port": 6432},
    "another key of the Secret": {"secretRef": {"name": "pg", "keys": {"url": "OTHER_URL"}}},
    "no host of its own": {"secretRef": {"name": "pg"}},
}
SAME: dict[str, dict[str, Any]] = {
    "another database": {**BUSY, "database": "other"},
    "another CA": {**BUSY, "sslMode": "verify-full", "caRef": {"name": "ca"}},
}


class Server(World):
    """Storages by name, with what each says of its connection; the one server has a single slot, and who is in it
    stays."""

    def __init__(self, connections: dict[str, dict[str, Any]]) -> None:
        super().__init__(run=self.work, slots=1)
        self.connections = connections

    async def work(self, _: World, key: Key, ticket: Ticket) -> Next:
        busy = self.connections[key[1]].get("host") == BUSY["host"] and "port" not in self.connections[key[1]]
        ticket.enter(("busy" if busy else key[1], 5432), "admin")
        await self.clock.sleep(50.0 if busy else 0.1)
        return Next(after=300.0)

    def asks(self, name: str) -> None:
        spec = {"connection": self.connections[name]}
        self.queue.enqueue((f"of-{name}", name), changed=True, way=way("ns", spec))


async def began(world: Server, name: str) -> bool:
    await world.clock.advance(1.0)
    return any(key[1] == name for _, key in world.runs)


@pytest.mark.parametrize(
    ("connection", "waits"),
    [*((each, False) for each in OTHERS.values()), *((each, True) for each in SAME.values())],
    ids=[*OTHERS, *SAME],
)
async def test_who_goes_another_way_waits_for_nobody_on_this_one(connection: dict[str, Any], waits: bool) -> None:
    world = Server({"first": BUSY, "second": connection})
    world.asks("first")
    assert await began(world, "first")
    world.asks("second")
    seen = await began(world, "second")
    await world.queue.drain(0)
    assert seen is not waits


@pytest.mark.parametrize("connection", [BUSY, {"secretRef": {"name": "pg"}}], ids=["with a host", "without"])
async def test_what_a_secret_led_to_before_it_changed_counts_no_more(connection: dict[str, Any]) -> None:
    world = Server({"first": connection, "second": connection})
    world.asks("first")
    assert await began(world, "first")
    world.connections["second"] = OTHERS["another host"]
    world.queue.relearn(SECRET)
    world.queue.enqueue(("of-second", "second"), changed=True, way=way("ns", {"connection": connection}))
    seen = await began(world, "second")
    await world.queue.drain(0)
    assert seen


async def test_what_changes_while_it_is_learnt_is_not_taken_for_what_it_was() -> None:
    """The run has read the Secret, and comes to its server after that."""
    connection = {"secretRef": {"name": "pg"}}
    world = Server({"first": BUSY, "second": OTHERS["another host"]})
    work = world.work

    async def slow(_: World, key: Key, ticket: Ticket) -> Next:
        if key[1] == "first":
            await world.clock.sleep(0.5)
        return await work(world, key, ticket)

    world.run = slow
    world.queue.enqueue(("of-first", "first"), changed=True, way=way("ns", {"connection": connection}))
    await world.clock.advance(0.1)
    world.queue.relearn(SECRET)
    await world.clock.advance(1.0)
    world.queue.enqueue(("of-second", "second"), changed=True, way=way("ns", {"connection": connection}))
    seen = await began(world, "second")
    await world.queue.drain(0)
    assert seen


@pytest.mark.parametrize("how", ["they change", "they go", "one is learnt while its key changes"])
async def test_ways_that_nobody_names_any_more_are_forgotten(how: str) -> None:
    """Each host that a spec has ever named would stay, for as long as its Secret does."""
    world = Server({})
    slow = how == "one is learnt while its key changes"

    async def work(_: World, key: Key, ticket: Ticket) -> Next:
        await world.clock.sleep(1.0 if slow else 0.0)
        ticket.enter(("db", 5432), "admin")
        return Next(after=300.0)

    world.run = work
    for number in range(50):
        name = "chat" if how != "they go" else f"chat-{number}"
        spec = {"connection": {**BUSY, "host": f"{number}.example.com"}}
        world.queue.enqueue(("ns", name), changed=True, way=way("ns", spec))
        await world.clock.advance(0.5 if slow else 10.0)
        if how == "they go":
            world.queue.forget(("ns", name))
    await world.clock.advance(100.0)
    assert len(world.queue._ways) <= 1
    await world.queue.drain(0)


async def test_who_has_another_server_since_its_run_began_waits_for_the_first_no_more() -> None:
    """What the run has learnt is what was before: it was taken for what the next one needs."""
    world = Server({"chat": BUSY, "other": BUSY})
    world.asks("chat")
    assert await began(world, "chat")
    world.asks("other")
    world.connections["chat"] = OTHERS["another host"]
    world.asks("chat")
    await world.clock.advance(60.0)
    assert world.count(("of-other", "other")) == 1
    assert world.count(("of-chat", "chat")) == 2, "while the other one is in the only slot"
    await world.queue.drain(0)
