"""Objects that somebody makes so deep that Python's decoder gives up: whatever is deep of one ends nobody's watch."""

import json
import re
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cipher_operator.kube.answers import decode_answer
from cipher_operator.kube.decoding import DEEPEST, decode, decode_next, flattened
from cipher_operator.kube.streaming import ListReader, lines

LEVELS = 9_000
"""The API server takes nearly ten thousand."""


def deep(levels: int, inside: str = "{}") -> str:
    """Return the text of a Secret whose managed fields nest so deep; a part of it looks like the end of something."""
    nest = '{"f:}]\\"{[":[' * (levels // 2) + inside + "]}" * (levels // 2)
    return f'{{"metadata":{{"managedFields":[{{"fieldsV1":{nest}}}],"name":"a","uid":"1","resourceVersion":"5"}}}}'


async def pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


def seen(item: Any) -> tuple[str, ...]:
    return tuple(item["metadata"][name] for name in ("name", "uid", "resourceVersion"))


def depth(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth, children), default=0) if isinstance(value, dict | list) else 0


@pytest.mark.parametrize("levels", [4, DEEPEST, sys.getrecursionlimit() // 2, LEVELS])
def test_an_object_is_read_however_deep_it_is(levels: int) -> None:
    text = deep(levels)
    assert seen(decode(text)) == seen(decode(text.encode())) == ("a", "1", "5")
    if levels < DEEPEST:
        assert decode(text) == json.loads(text)


@pytest.mark.parametrize("levels", [DEEPEST, 200, LEVELS])
def test_what_is_too_deep_is_null(levels: int) -> None:
    flat = json.loads(flattened(deep(levels, '"within"')))
    assert (depth(flat), seen(flat)) == (DEEPEST, ("a", "1", "5"))
    assert re.search("null", json.dumps(flat))


@pytest.mark.parametrize("levels", [4, LEVELS])
def test_a_value_within_a_text_ends_where_it_ends(levels: int) -> None:
    text = deep(levels)
    value, end = decode_next(f"[{text},5]", 1)
    assert (seen(value), end) == (("a", "1", "5"), 1 + len(text))


@pytest.mark.parametrize("cut", [1, 3_000, 50_000])
def test_what_is_not_whole_is_no_value(cut: int) -> None:
    """From Python 3.13 on the decoder goes so deep that it says so itself, in its own words."""
    text = deep(LEVELS)[:-cut]
    with pytest.raises(ValueError, match="too early"):
        flattened(text)
    with pytest.raises(ValueError):
        decode_next(text, 0)


@pytest.mark.parametrize("size", [61, 5_000, 10_000_000])
async def test_a_list_and_a_watch_bring_it_with_the_others(size: int) -> None:
    texts = [deep(4), deep(LEVELS), deep(4)]
    page = f'{{"metadata":{{"resourceVersion":"7"}},"items":[{",".join(texts)}]}}'.encode()
    reader = ListReader(pieces(page, size))
    assert [seen(item) async for item in reader.items()] == [("a", "1", "5")] * 3
    assert reader.metadata == {"resourceVersion": "7"}
    events = "".join(f'{{"type":"ADDED","object":{text}}}\n' for text in texts).encode()
    assert [seen(event["object"]) async for event in lines(pieces(events, size))] == [("a", "1", "5")] * 3


def test_an_answer_brings_it() -> None:
    assert seen(decode_answer(200, {}, deep(LEVELS).encode())) == ("a", "1", "5")
