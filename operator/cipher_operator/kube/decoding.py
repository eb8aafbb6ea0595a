"""JSON of the API server, however deep it is: Python's decoder gives up at a thousand levels, of which the API server
takes ten thousand.

Whoever may write an object of any kind may write its `managedFields`, which nest as deep as he likes. So that he ends
nobody's watch, what is deeper than anything that is read here counts as null.
"""

import json
import re
from typing import Any

DEEPEST = 64
"""Levels that are read; what the API server makes itself has a dozen."""
_DECODER = json.JSONDecoder()
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)


def decode(content: str | bytes | bytearray) -> Any:
    """Return the value of a text. Raises ValueError where it is no JSON."""
    try:
        return json.loads(content)
    except RecursionError:
        return json.loads(flattened(content))


def decode_next(text: str, at: int) -> tuple[Any, int]:
    """Return the value that begins at a place of a text, and where it ends. Raises ValueError where it is no JSON, or
    not all of it is there."""
    try:
        return _DECODER.raw_decode(text, at)
    except RecursionError:
        flat, end = _flattened(text, at)
        return json.loads(flat), end


def flattened(content: str | bytes | bytearray) -> str:
    """Return the text of a value without what is too deep. Raises ValueError where it is not whole."""
    text = content if isinstance(content, str) else content.decode()
    flat, end = _flattened(text, 0)
    return flat + text[end:]


def _flattened(text: str, begin: int) -> tuple[str, int]:
    """Return the text of the object or array that begins at a place, without what is too deep, and where it ends."""
    kept: list[str] = []
    depth, at = 0, begin
    for token in _TOKEN.finditer(text, begin):
        if token[0] in "{[":
            depth += 1
            if depth == DEEPEST + 1:
                kept.append(text[at : token.start()] + "null")
        elif token[0] in "}]":
            depth -= 1
            if depth == DEEPEST:
                at = token.end()
            elif depth == 0:
                return "".join(kept) + text[at : token.end()], token.end()
    raise ValueError("the text ends too early")
