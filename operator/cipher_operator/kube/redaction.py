"""What the API server says about a Secret, without anything that is in the Secret.

A policy may quote what it refuses, and a decoder what it cannot read. The policy's own sentence is what a person needs.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

HIDDEN = "***"
SHORT = 8
"""Characters below which a value is hidden only where it stands for itself: as a part of words it is no secret."""
_CREDENTIALS = (
    # A URL with whatever it carries.
    re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"']+", re.IGNORECASE),
    re.compile(r"(?<=password)\s*[=:]\s*\S+|(?<=passwd)\s*[=:]\s*\S+|(?<=token)\s*[=:]\s*\S+", re.IGNORECASE),
    # Long words of capitals, small letters and digits: generated passwords, tokens, base64.
    re.compile(r"(?=[\w+/=-]*[a-z])(?=[\w+/=-]*[A-Z])(?=[\w+/=-]*\d)[\w+/=-]{16,}"),
)


def redacted(message: str, sent: Any) -> str:
    """Return a message without the values that the request `sent`, raw or encoded, and without what looks like one."""
    hidden = {form for value in _values(sent) for form in _forms(value)}
    for form in sorted(hidden, key=len, reverse=True):
        if len(form) >= SHORT:
            message = message.replace(form, HIDDEN)
        elif len(form) > 2:
            message = re.sub(rf"(?<![\w-]){re.escape(form)}(?![\w-])", HIDDEN, message)
    for pattern in _CREDENTIALS:
        message = pattern.sub(HIDDEN, message)
    return message


def _values(sent: Any) -> Iterator[str]:
    """Yield the values of a Secret that was sent, or every text in the steps of a JSON patch."""
    if isinstance(sent, Mapping):
        yield from _leaves(sent.get("data"))
        yield from _leaves(sent.get("stringData"))
    elif isinstance(sent, list):
        yield from _leaves([step.get("value") for step in sent if isinstance(step, Mapping)])


def _leaves(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for child in node.values():
            yield from _leaves(child)
    elif isinstance(node, list):
        for child in node:
            yield from _leaves(child)


def _forms(value: str) -> Iterator[str]:
    """Yield a value as it may be quoted: itself, decoded, encoded, escaped, without padding, and each of its lines."""
    texts = {value}
    try:
        texts.add(base64.b64decode(value, validate=True).decode())
    except (binascii.Error, ValueError):
        texts.add(base64.b64encode(value.encode()).decode())
    for text in texts:
        yield text
        yield text.rstrip("=")
        yield json.dumps(text)[1:-1]
        yield json.dumps(text, ensure_ascii=False)[1:-1]
        yield from (line for line in map(str.strip, text.splitlines()) if len(line) >= SHORT)
