"""Who comes first for the places of a namespace: asked once for all, and anew where the answer may be another."""

import asyncio

import pytest

from cipher_operator.api.spec import Resource, parse_resource
from cipher_operator.core.tenancy import Neighbours
from cipher_operator.queue.references import References
from cipher_operator.reconcile.inputs import Key, Ref, references
from cipher_operator.reconcile.places import GOOD_FOR, Places
from support.memory_api import MemoryApi
from support.runs import NAMESPACE
from support.tenants import PROD, STORAGES, Tenants

LISTED = f"/namespaces/{NAMESPACE}/cipherstorages"


def lists(api: MemoryApi) -> int:
    """Return how often the namespace's storages were listed."""
    return sum(count for (verb, path), count in api.requests.items() if verb == "LIST" and path.endswith(LISTED))


async def test_many_that_are_one_too_many_ask_for_few_lists(tenants: Tenants) -> None:
    tenants.platform(limits={"storages": 2})
    for name in ("a", "b"):
        await tenants.ready_tenant(name)
    many = [f"m{number:02}" for number in range(60)]
    for name in many:
        tenants.tenant(name)
        assert await tenants.look(name) == ("False", "LimitExceeded")
    for name in many:
        await tenants.look(name)
    for name in ("a", "b"):
        assert await tenants.look(name) == ("True", "Ready")
    assert lists(tenants.api) <= 2 * 4, "those with a place ask anew when somebody has come"
    await tenants.gone("a")
    assert await tenants.look("m00") == ("True", "Ready")
    assert await tenants.look("m01") == ("False", "LimitExceeded")


class World:
    """Storages of one namespace, and what is noted of them."""

    def __init__(self) -> None:
        self.api, self.now, self.seconds = MemoryApi(), 1_000.0, 0
        self.api.namespace(NAMESPACE)
        self.inputs: References[Key, Ref] = References(lambda _: None)
        self.places = Places(self.inputs, lambda: self.now)

    def comes(self, name: str, *, noted: bool = True) -> Resource:
        self.api.storage(name, {"connection": {"serverRef": {"name": PROD}}})
        # Behind the API server's back: none says when it was created but itself.
        self.seconds += 1
        stored = self.api.store.objects[STORAGES, NAMESPACE, name]
        stored["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{self.seconds:02}Z"
        found = self.api.read("cipherstorages", name)
        assert found is not None
        resource = parse_resource(found)
        if noted:
            self.inputs.set_references(resource.key, references(resource.key, resource.raw_spec))
        return resource

    def goes(self, resource: Resource, *, noted: bool = True) -> None:
        self.api.delete("cipherstorages", resource.name)
        if noted:
            self.inputs.forget(resource.key)

    async def before(self, resource: Resource, most: int = 2) -> Neighbours:
        return await self.places.neighbours(self.api, resource, PROD, most)


async def test_who_goes_makes_place_at_once() -> None:
    world = World()
    first, second, third = world.comes("a"), world.comes("b"), world.comes("c")
    assert await world.before(third) == Neighbours(2)
    assert await world.before(second) == Neighbours(1, ("c",))
    world.goes(first)
    assert await world.before(third) == Neighbours(1)
    assert await world.before(second) == Neighbours(0, ("c",))
    assert lists(world.api) == 2


async def test_who_comes_is_known_to_who_has_a_place_and_no_matter_to_who_has_none() -> None:
    world = World()
    _, second, third = world.comes("a"), world.comes("b"), world.comes("c")
    await world.before(third)
    world.comes("d")
    assert await world.before(third) == Neighbours(2)
    assert lists(world.api) == 1
    assert await world.before(second) == Neighbours(1, ("c", "d"))
    assert lists(world.api) == 2


async def test_another_namespace_and_another_server_change_nothing() -> None:
    world = World()
    first = world.comes("a")
    await world.before(first)
    for key, spec in (
        (("other", "x"), {"connection": {"serverRef": {"name": PROD}}}),
        ((NAMESPACE, "y"), {"connection": {"serverRef": {"name": "another"}}}),
    ):
        world.inputs.set_references(key, references(key, spec))
        world.inputs.forget(key)
    await world.before(first)
    assert lists(world.api) == 1


@pytest.mark.parametrize("noted", [True, False], ids=["the watch was as quick", "the watch saw neither"])
async def test_who_is_made_anew_under_his_name_has_lost_his_place(noted: bool) -> None:
    world = World()
    first, second, third = world.comes("a"), world.comes("b"), world.comes("c")
    assert await world.before(third) == Neighbours(2)
    world.goes(first, noted=noted)
    again = world.comes("a", noted=noted)
    world.now += GOOD_FOR
    assert await world.before(third) == Neighbours(1, ("a",))
    assert await world.before(second) == Neighbours(0, ("c", "a"))
    assert await world.before(again) == Neighbours(2)


async def test_who_comes_or_goes_while_it_is_asked_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    first, second = world.comes("a"), world.comes("b")
    asked, go = asyncio.Event(), asyncio.Event()
    get = world.api.get

    async def slow(path: str, *args: object, **query: str) -> object:
        answer = await get(path, *args, **query)
        asked.set()
        await go.wait()
        return answer

    monkeypatch.setattr(world.api, "get", slow)
    listing = asyncio.create_task(world.before(first))
    await asked.wait()
    third = world.comes("c")
    go.set()
    await listing
    assert await world.before(third, 3) == Neighbours(2)
    asked.clear()
    go.clear()
    world.comes("d")
    listing = asyncio.create_task(world.before(second, 9))
    await asked.wait()
    world.goes(first)
    go.set()
    await listing
    assert await world.before(third, 3) == Neighbours(1, ("d",))


async def test_a_place_that_gets_free_while_it_is_asked_for_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    first, _, third = world.comes("a"), world.comes("b"), world.comes("c")
    get = world.api.get

    async def outdated(path: str, *args: object, **query: str) -> object:
        answer = await get(path, *args, **query)
        if world.api.read("cipherstorages", first.name) is not None:
            world.goes(first)
        return answer

    monkeypatch.setattr(world.api, "get", outdated)
    assert await world.before(third) == Neighbours(1), "nobody tells a storage that does not wait yet"
