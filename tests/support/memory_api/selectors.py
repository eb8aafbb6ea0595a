"""Label and field selectors."""

import re
from collections.abc import Callable

from cipher_operator.kube.port import Json

Matches = Callable[[Json], bool]


def selector(labels: str, fields: str) -> Matches:
    """Return whether an object is selected by both; an empty selector selects all."""
    tests = [_label(term) for term in re.split(r",(?![^(]*\))", labels) if term]
    tests += [_field(term) for term in fields.split(",") if term]
    return lambda body: all(test(body) for test in tests)


def _label(term: str) -> Matches:
    def value(body: Json, key: str) -> str | None:
        found: str | None = (body["metadata"].get("labels") or {}).get(key.strip())
        return found

    if (match := re.fullmatch(r"\s*(\S+)\s+(in|notin)\s+\(([^)]*)\)\s*", term)) is not None:
        key, operator, listed = match[1], match[2], {each.strip() for each in match[3].split(",")}
        return lambda body: (value(body, key) in listed) is (operator == "in")
    if "=" in term:
        key, _, wanted = term.partition("=")
        if key.endswith("!"):
            return lambda body: value(body, key[:-1]) != wanted
        return lambda body: value(body, key) == wanted.lstrip("=")
    if term.startswith("!"):
        return lambda body: value(body, term[1:]) is None
    return lambda body: value(body, term) is not None


def _field(term: str) -> Matches:
    name, _, wanted = term.partition("=")
    path = name.removesuffix("!").split(".")

    def value(body: Json) -> str:
        node: object = body
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        return "" if node is None else str(node)

    if name.endswith("!"):
        return lambda body: value(body) != wanted
    return lambda body: value(body) == wanted.lstrip("=")
