"""The chart's README: its own text, and a table of values made from the comments of values.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_LONGEST_DEFAULT = 60


@dataclass(frozen=True, slots=True)
class Value:
    """One documented value: where it stands, the heading before it, its default and the comment above it."""

    path: str
    section: str
    default: Any
    text: str


class UndocumentedError(ValueError):
    """A value has no comment; the message names it."""


def documented(path: Path) -> list[Value]:
    """Return the values of values.yaml in its order.

    A comment of `#` lines right above a key is about that key, whatever is below it; `## ` begins a section. Raises
    UndocumentedError for a value that no comment is about.
    """
    text = path.read_text()
    node = yaml.compose(text)
    assert isinstance(node, yaml.MappingNode)
    return list(_walk(node, yaml.safe_load(text), text.splitlines(), ""))


def _walk(node: yaml.MappingNode, values: dict[str, Any], lines: list[str], prefix: str) -> Iterator[Value]:
    for key, child in node.value:
        name, line = f"{prefix}{key.value}", key.start_mark.line
        value = values[key.value]
        if comment := _comment(lines, line):
            yield Value(name, _section(lines, line), value, comment)
        elif isinstance(child, yaml.MappingNode) and value:
            yield from _walk(child, value, lines, f"{name}.")
        else:
            raise UndocumentedError(f"values.yaml, line {line + 1}: no comment is about {name}")


def _comment(lines: list[str], line: int) -> str:
    found: list[str] = []
    while line and (above := lines[line - 1].strip()).startswith("# "):
        found.insert(0, above.removeprefix("# "))
        line -= 1
    return " ".join(found)


def _section(lines: list[str], line: int) -> str:
    return next((each.removeprefix("## ") for each in reversed(lines[:line]) if each.startswith("## ")), "")


def page(chart: Path) -> str:
    """Return the README: README.head.md with the tables of values in the place of its line `<!-- values -->`."""
    return (chart / "README.head.md").read_text().replace("<!-- values -->\n", _tables(chart / "values.yaml"))


def _tables(path: Path) -> str:
    parts: list[str] = []
    section = None
    for value in documented(path):
        if value.section != section:
            section = value.section
            parts.append(f"\n### {section}\n\n| value | default | meaning |\n|---|---|---|\n")
        parts.append(f"| `{value.path}` | {_default(value.default)} | {value.text.replace('|', chr(92) + '|')} |\n")
    return "".join(parts).lstrip("\n")


def _default(value: Any) -> str:
    text = json.dumps(value)
    return f"`{text}`" if len(text) <= _LONGEST_DEFAULT else "see [values.yaml](values.yaml)"
