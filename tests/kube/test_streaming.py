"""Lists and watches in pieces: whatever the network cuts them into, and however large somebody makes an object."""

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cipher_operator.kube import streaming as module
from cipher_operator.kube.streaming import ListReader, NotReadable, lines

LISTS: dict[str, Any] = {
    "two items": {"kind": "L", "metadata": {"resourceVersion": "5"}, "items": [{"a": 1}, {"b": [{"c": '"}],{'}]}]},
    "no items": {"kind": "L", "metadata": {"resourceVersion": "5", "continue": "x"}, "items": []},
    "items that are null": {"metadata": {}, "items": None},
    "items before the metadata": {"items": [{"a": "ü\u20ac😀"}], "metadata": {"resourceVersion": "7"}},
    "numbers and nothing else": {"n": 12345, "items": [{"n": 1}], "m": -1.5e3, "metadata": {}},
    "an item that is larger than a piece": {"metadata": {}, "items": [{"a": "x" * 5_000}, {"a": "y" * 9_000}]},
    "an empty object": {},
}


async def pieces(content: bytes, size: int, rest: random.Random | None = None) -> AsyncIterator[bytes]:
    at = 0
    while at < len(content):
        step = rest.randint(1, size) if rest else size
        yield content[at : at + step]
        at += step


@pytest.mark.parametrize("indent", [None, 1], ids=["compact", "indented"])
@pytest.mark.parametrize("size", [1, 7, 1_000, 1_000_000])
@pytest.mark.parametrize("case", LISTS)
async def test_a_list_in_pieces(case: str, size: int, indent: int | None) -> None:
    whole = LISTS[case]
    reader = ListReader(pieces(json.dumps(whole, ensure_ascii=False, indent=indent).encode(), size))
    assert [item async for item in reader.items()] == (whole.get("items") or [])
    assert reader.metadata == whole.get("metadata", {})


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>", id="a page of a proxy"),
        pytest.param(b"[]", id="an array"),
        pytest.param(b'{"items": [{"a": 1}', id="an end between items"),
        pytest.param(b'{"items": [{"a": ', id="an end in an item"),
        pytest.param(b'{"items": [1]}', id="an item that is no object"),
        pytest.param(b'{"items": [{"a": "\xff"}]}', id="no UTF-8"),
        pytest.param(b'{"items": {]}', id="no JSON"),
    ],
)
@pytest.mark.parametrize("size", [1, 1_000])
async def test_a_list_that_cannot_be_read_says_nothing_of_its_content(content: bytes, size: int) -> None:
    with pytest.raises(NotReadable) as raised:
        _ = [item async for item in ListReader(pieces(content, size)).items()]
    assert '"a"' not in str(raised.value)


@pytest.mark.parametrize("seed", range(5))
async def test_a_watch_in_pieces(seed: int) -> None:
    rest = random.Random(seed)
    events = [{"type": "ADDED", "object": {"a": "x" * rest.randint(0, 3_000), "b": "ü\r\u2028"}} for _ in range(50)]
    content = b"".join(json.dumps(event, ensure_ascii=False).encode() + b"\n" for event in events)
    cut = content + b'\n{"type": "ADDED", "obj'
    assert [event async for event in lines(pieces(cut, 1_500, rest))] == events


@pytest.mark.parametrize("content", [b"<html>\n", b"[1]\n", b"5\n"])
async def test_a_watch_that_cannot_be_read(content: bytes) -> None:
    with pytest.raises(NotReadable):
        _ = [event async for event in lines(pieces(content, 3))]


async def test_nothing_grows_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OBJECT", 10_000)
    endless = b"x" * 1_000
    taken = 0

    async def more(start: bytes) -> AsyncIterator[bytes]:
        nonlocal taken
        yield start
        while True:
            taken += len(endless)
            assert taken < 100_000
            yield endless

    with pytest.raises(NotReadable):
        _ = [event async for event in lines(more(b""))]
    taken = 0
    with pytest.raises(NotReadable):
        _ = [item async for item in ListReader(more(b'{"items": [{"a": "')).items()]
