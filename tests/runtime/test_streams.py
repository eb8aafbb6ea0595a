"""What kopf is given of a watch: whatever the server puts into it, kopf goes on."""

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from cipher_operator.runtime import streams as module
from cipher_operator.runtime.gateways import read_whole
from cipher_operator.runtime.streams import LIST_ANEW, Content, Streams, Takes, read


class Answer:
    """Stands for aiohttp's stream: pieces of a fixed cut."""

    def __init__(self, content: bytes, size: int) -> None:
        self._content, self._size = content, size
        self.closed_by: object = None

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        for at in range(0, len(self._content), self._size):
            yield self._content[at : at + self._size]

    def set_exception(self, error: object) -> None:
        self.closed_by = error


def line(type_: str, **body: Any) -> bytes:
    return json.dumps({"type": type_, "object": body}).encode() + b"\n"


ADDED = line("ADDED", metadata={"uid": "1", "name": "chat"}, text="\r \u2028 ü")
BOOKMARK = line("BOOKMARK", metadata={"resourceVersion": "5"})
GONE = line("ERROR", code=410, reason="Expired")

FATAL: dict[str, tuple[bytes, str]] = {
    "an object that cannot be decrypted": (line("ERROR", code=500, reason="InternalError"), "500 InternalError"),
    "an error without a reason": (line("ERROR", code=503), "503"),
    "an error without a code": (line("ERROR", kind="Status"), "something that is no event came"),
    "an error whose code is no number": (line("ERROR", code="x"), "something that is no event came"),
    "a page of a proxy": (b"<html>password=x</html>\n", "something that is no event came"),
    "an array": (b"[]\n", "something that is no event came"),
    "an event without an object": (b'{"type":"ADDED"}\n', "something that is no event came"),
    "an object without metadata": (line("MODIFIED"), "something that is no event came"),
}


@pytest.mark.parametrize("case", FATAL)
def test_what_kopf_would_not_survive(case: str) -> None:
    content, why = FATAL[case]
    assert read(content.strip()) == why


@pytest.mark.parametrize("content", [ADDED, BOOKMARK, GONE], ids=["an event", "a bookmark", "a forgotten place"])
def test_what_kopf_knows(content: bytes) -> None:
    assert read(content.strip()) == tuple(json.loads(content).values())


class World:
    """A watch, and what was told of it."""

    def __init__(self, content: bytes, size: int = 7, takes: Takes = lambda type_, body: False) -> None:
        self.broken: list[str] = []
        self.answer = Answer(content, size)
        begin = lambda: asyncio.get_running_loop().call_later(60, print)  # noqa: E731
        self.content = Content(self.answer, self._note, begin, takes)

    async def _note(self, why: str) -> None:
        self.broken.append(why)

    async def all(self) -> bytes:
        return b"".join([chunk async for chunk in self.content.iter_chunked(1_000)])


@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_events_pass_as_they_are_and_half_a_line_is_left_out(size: int) -> None:
    world = World(ADDED + BOOKMARK + ADDED + GONE + b'{"type": "ADDED", "obj', size)
    assert await world.all() == ADDED + BOOKMARK + ADDED + GONE
    assert world.broken == []


@pytest.mark.parametrize("case", FATAL)
async def test_what_would_end_kopf_makes_it_list_anew(case: str) -> None:
    content, why = FATAL[case]
    world = World(ADDED + content + ADDED)
    assert await world.all() == ADDED + LIST_ANEW
    assert world.broken == [why]


DEEP = b'{"metadata":{"uid":"1","name":"deep","managedFields":' + b'[{"a":' * 4_000 + b"1" + b"}]" * 4_000 + b"}}"


@pytest.mark.parametrize("size", [1_000, 100_000])
async def test_an_object_that_nests_deep_reaches_kopf_without_that(size: int) -> None:
    """Python's decoder gives up at a thousand levels, and kopf with it."""
    world = World(ADDED + b'{"type":"ADDED","object":' + DEEP + b"}\n" + ADDED, size)
    first, second, third = (json.loads(line) for line in (await world.all()).splitlines() if line)
    assert (first, third) == (json.loads(ADDED), json.loads(ADDED))
    assert (second["type"], second["object"]["metadata"]["name"]) == ("ADDED", "deep")
    assert world.broken == []


async def test_so_does_one_in_a_list() -> None:
    async def page(request: web.Request) -> web.Response:
        listed = b'{"metadata":{"resourceVersion":"5"},"items":[' + DEEP + b"," + DEEP + b"]}"
        return web.Response(body=listed, content_type="application/json")

    app, path = web.Application(), "/apis/storage.cipher.dev/v1alpha1/cipherstorages"
    app.router.add_get(path, page)
    async with TestServer(app) as server, aiohttp.ClientSession(middlewares=(read_whole,)) as session:
        body = await (await session.get(server.make_url(path))).json()
    assert [item["metadata"]["name"] for item in body["items"]] == ["deep", "deep"]


async def test_what_is_taken_in_reaches_kopf_as_a_bookmark() -> None:
    taken = line("MODIFIED", metadata={"uid": "1", "name": "chat", "resourceVersion": "7"}, status={"a": "b" * 1_000})
    asked: list[str] = []

    def takes(type_: str, body: Any) -> bool:
        asked.append(type_)
        return type_ == "MODIFIED"

    world = World(ADDED + taken + BOOKMARK + GONE, takes=takes)
    assert await world.all() == ADDED + line("BOOKMARK", metadata={"resourceVersion": "7"}) + BOOKMARK + GONE
    assert asked == ["ADDED", "MODIFIED"]


async def test_what_cannot_be_taken_in_is_kopfs() -> None:
    def takes(type_: str, body: Any) -> bool:
        raise KeyError(type_)

    world = World(ADDED + BOOKMARK, takes=takes)
    assert (await world.all(), world.broken) == (ADDED + BOOKMARK, [])


def test_the_rest_is_aiohttps_own() -> None:
    world = World(b"")
    world.content.set_exception("closed")
    assert world.answer.closed_by == "closed"


async def test_pauses_grow_and_an_outage_is_two_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "BROKEN", (0.01, 0.2))
    monkeypatch.setattr(module, "SETTLED_AFTER_ERROR", 0.05)
    caplog.set_level("INFO")
    watch, loop, pauses = module._Watch("cipherstorages"), asyncio.get_running_loop(), []
    for _ in range(5):
        began = loop.time()
        await watch.broken("500 InternalError")
        pauses.append(loop.time() - began)
    assert pauses[4] > 4 * pauses[0], pauses
    watch.begin()
    await asyncio.sleep(0.1)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "the watch of cipherstorages is interrupted: 500 InternalError; trying again"
    assert (len(lines), lines[1].startswith("the watch of cipherstorages goes on after")) == (2, True)


async def test_watches_that_are_ended_at_once_begin_again_after_pauses_that_grow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """kopf begins the next one without any: what stands before a server made it ask hundreds of times in a second."""
    monkeypatch.setattr(module, "AWAY", (0.02, 0.2))
    monkeypatch.setattr(module, "SETTLED", 0.3)
    watched, listed = (SimpleNamespace(url=URL(f"https://127.0.0.1{LIST}{query}")) for query in ("?watch=true", ""))
    streams, loop, begun = Streams(), asyncio.get_running_loop(), list[float]()

    async def answered(_: object) -> object:
        begun.append(loop.time())
        return SimpleNamespace(status=200, reason="", content=Answer(GONE, 7))

    async def ask(request: object, lives: float = 0.0) -> float:
        """Return the seconds that the request waited for its turn."""
        asked = loop.time()
        response = await streams(cast(Any, request), cast(Any, answered))
        if request is watched:
            assert [each async for each in response.content.iter_chunked(1)] == [GONE]
            await asyncio.sleep(lives)
        return begun[-1] - asked

    pauses = [await ask(watched) for _ in range(5)]
    assert pauses[0] < 0.01 < pauses[1] < pauses[3] < pauses[4], pauses
    assert await ask(listed) > 0.1, "a list is no less work"
    assert await ask(listed) < 0.01
    assert await ask(watched, lives=0.4) < 0.01
    assert await ask(watched) < 0.01, "the one before has lived"


LIST = "/apis/storage.cipher.dev/v1alpha1/cipherstorages"
LISTS: dict[str, tuple[str, int, list[str | None]]] = {
    "of all": ("/apis/storage.cipher.dev/v1alpha1/cipherstorages?limit=100", 200, [None]),
    "of a namespace": ("/apis/storage.cipher.dev/v1alpha1/namespaces/team/cipherstorages?limit=100", 200, ["team"]),
    "its second page": ("/apis/storage.cipher.dev/v1alpha1/cipherstorages?limit=100&continue=x", 200, []),
    "that is refused": ("/apis/storage.cipher.dev/v1alpha1/cipherstorages", 403, []),
    "a watch": ("/apis/storage.cipher.dev/v1alpha1/cipherstorages?watch=true", 200, []),
    "of something else": ("/apis/storage.cipher.dev/v1alpha1", 200, []),
}


@pytest.mark.parametrize("case", LISTS)
async def test_a_list_that_begins_is_told(case: str) -> None:
    path, status, told = LISTS[case]
    lists: list[str | None] = []
    streams = Streams(lists=lists.append)
    request = SimpleNamespace(url=URL(f"https://127.0.0.1{path}"))
    response = SimpleNamespace(status=status, reason="", content=None, json=dict)

    async def answered(_: object) -> object:
        assert lists == [], "what a watch tells until then is older"
        return response

    handler: Any = answered
    assert await streams(cast(Any, request), handler) is cast(Any, response)
    assert lists == told
