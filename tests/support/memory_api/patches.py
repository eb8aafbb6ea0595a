"""JSON patch (RFC 6902) and JSON merge patch (RFC 7386), as far as anybody here uses them."""

from copy import deepcopy
from typing import Any

from cipher_operator.kube.port import Json
from support.memory_api.answers import failed_test


def json_patch(body: Json, steps: list[Json]) -> Json:
    """Return the patched object; raises Refused where a `test` fails or a path does not exist."""
    patched: Any = deepcopy(body)
    for step in steps:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
        try:
            _apply(patched, parts, step)
        except (KeyError, IndexError, ValueError, TypeError):
            raise failed_test() from None
    assert isinstance(patched, dict)
    return patched


def _apply(document: Any, parts: list[str], step: Json) -> None:
    node = document
    for part in parts[:-1]:
        node = node[int(part)] if isinstance(node, list) else node[part]
    last: Any = parts[-1]
    operation = step["op"]
    if isinstance(node, list):
        if operation == "add":
            node.insert(len(node) if last == "-" else int(last), deepcopy(step["value"]))
            return
        last = int(last)
    if operation == "test":
        if node[last] != step["value"]:
            raise ValueError(step["path"])
    elif operation == "remove":
        del node[last]
    elif operation == "replace":
        node[last]
        node[last] = deepcopy(step["value"])
    elif operation == "add":
        node[last] = deepcopy(step["value"])
    else:
        raise ValueError(operation)


def merge_patch(body: Any, patch: Any) -> Any:
    """Return the merged object."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    merged = dict(body) if isinstance(body, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return deepcopy(merged)
