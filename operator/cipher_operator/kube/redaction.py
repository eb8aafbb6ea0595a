"""What the API server says about a Secret, without anything that is in the Secret.

A policy may quote what it refuses, whole or in part, and a decoder what it cannot read. The policy's own sentence is
what a person needs.
"""

import base64
import binascii
import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cipher_operator.api.printable import printable

MAX_SAID = 500
"""Characters of what the API server says that are kept."""
MAX_READ = 8_000
"""Characters of it that are looked at: a policy may quote all of a Secret."""
HIDDEN = "***"
SHORT = 6
"""Characters below which a value is hidden only where it stands for itself: within a word it is no secret."""
PART = 12
"""Characters of a value that are no coincidence."""
_TOO_LONG = re.compile(r"\S{301,}")
"""Longer than any name, and no word for anybody. To look through one for credentials takes the square of its length."""
_CREDENTIALS = (
    re.compile(r"\S*://\S*"),
    re.compile(r"(?<=password)\s*[=:]\s*\S+|(?<=passwd)\s*[=:]\s*\S+|(?<=token)\s*[=:]\s*\S+", re.IGNORECASE),
    re.compile(r"SCRAM-SHA-256\S*"),
    # Long words of capitals, small letters and digits: generated passwords, tokens, base64.
    re.compile(r"(?=[\w+/=-]*[a-z])(?=[\w+/=-]*[A-Z])(?=[\w+/=-]*\d)[\w+/=-]{16,}"),
)


def redacted(message: str, request: Any) -> str:
    """Return a message on one line, cut, without the values that a request sent and without what looks like one.

    `request` is the Secret that was sent, or the steps of a JSON patch.
    """
    forms = {form for value in _values(request) for form in _forms(value)}
    message = message[:MAX_READ]
    for form in sorted(forms, key=len, reverse=True):
        if len(form) >= SHORT:
            message = message.replace(form, HIDDEN)
        elif len(form) > 2:
            message = re.sub(rf"(?<![\w-]){re.escape(form)}(?![\w-])", HIDDEN, message)
    message = _TOO_LONG.sub(HIDDEN, _without_parts(message, forms))
    for pattern in _CREDENTIALS:
        message = pattern.sub(HIDDEN, message)
    line = " ".join(printable(message).split())
    return line if len(line) <= MAX_SAID else line[: MAX_SAID - 1] + "…"


def _without_parts(message: str, values: Iterable[str]) -> str:
    """Return the message without any run of PART characters or more that stands in one of the values."""
    parts = {value[at : at + PART] for value in values for at in range(len(value) - PART + 1)}
    kept, at = [], 0
    while at < len(message):
        end = at
        while message[end : end + PART] in parts:
            end += 1
        if end > at:
            kept.append(HIDDEN)
            at = end + PART - 1
        else:
            kept.append(message[at])
            at += 1
    return "".join(kept)


def _values(request: Any) -> Iterator[str]:
    if isinstance(request, Mapping):
        yield from _texts(request.get("data"))
        yield from _texts(request.get("stringData"))
    elif isinstance(request, list):
        yield from _texts([step.get("value") for step in request if isinstance(step, Mapping)])


def _texts(node: Any) -> Iterator[str]:
    """Yield every text in a JSON value."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for child in node.values():
            yield from _texts(child)
    elif isinstance(node, list):
        for child in node:
            yield from _texts(child)


def _forms(value: str) -> Iterator[str]:
    """Yield a value as it may be quoted: itself, decoded, encoded, escaped, without padding, and each of its lines."""
    texts = {value, base64.b64encode(value.encode()).decode()}
    with contextlib.suppress(binascii.Error, ValueError):
        texts.add(base64.b64decode(value, validate=True).decode())
    for text in texts:
        yield text
        yield text.rstrip("=")
        yield json.dumps(text)[1:-1]
        yield json.dumps(text, ensure_ascii=False)[1:-1]
        yield from (line for line in map(str.strip, text.splitlines()) if len(line) >= SHORT)
