"""The CRDs as they are shipped, and ways to look at them. Where no kind is named it is CipherStorage."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster.programs import wanted_version

CRDS = Path(__file__).parents[2] / "crds"
RULES = "x-kubernetes-validations"
TOO_LONG = "Too long: may not be "
"""What an API server says of a text; 1.31 goes on with `longer than`, later ones with `more than`."""
takes_late_statuses = pytest.mark.xfail(
    wanted_version().startswith("1.31."),
    strict=True,
    reason="Kubernetes 1.31 takes no status for an object that was stored before a rule that it breaks",
)
STORAGES, SERVERS = "cipherstorages", "cipherservers"
KINDS = (STORAGES, SERVERS)
"""By their plurals, which name the files."""


def path_of(kind: str = STORAGES) -> Path:
    """Return the file."""
    return CRDS / f"storage.cipher.dev_{kind}.yaml"


@cache
def document(kind: str = STORAGES) -> dict[str, Any]:
    """Return the CustomResourceDefinition; not to be changed."""
    found: dict[str, Any] = yaml.safe_load(path_of(kind).read_text())
    return found


def version(kind: str = STORAGES) -> dict[str, Any]:
    """Return the one version that it has."""
    (found,) = document(kind)["spec"]["versions"]
    return dict(found)


def schema(path: str = "", kind: str = STORAGES) -> dict[str, Any]:
    """Return the schema at a dotted path such as `spec.user.name`; the root's for ''. A list's items are `[]`."""
    node: dict[str, Any] = version(kind)["schema"]["openAPIV3Schema"]
    for field in filter(None, path.split(".")):
        node = node["items"] if field == "[]" else node["properties"][field]
    return node


def nodes(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (dotted path, schema) of a schema and everything below it."""
    yield path, node
    for field, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{field}".lstrip("."))
    if "items" in node:
        yield from nodes(node["items"], f"{path}.[]")
    if isinstance(node.get("additionalProperties"), Mapping):
        yield from nodes(node["additionalProperties"], f"{path}.*")


def rules(kind: str = STORAGES) -> list[tuple[str, Mapping[str, str]]]:
    """Return (dotted path, rule) of every CEL rule."""
    return [(path, rule) for path, node in nodes(schema(kind=kind)) for rule in node.get(RULES, [])]


def with_defaults(value: Any, node: Mapping[str, Any]) -> Any:
    """Return the value with the schema's defaults filled in, as the API server does it."""
    if not isinstance(value, Mapping):
        return value
    filled = deepcopy(dict(value))
    for field, child in node.get("properties", {}).items():
        if field not in filled and "default" in child:
            filled[field] = deepcopy(child["default"])
        if field in filled:
            filled[field] = with_defaults(filled[field], child)
    return filled


def changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base with values set at dotted paths; None removes what stands there."""
    result: dict[str, Any] = deepcopy(dict(base))
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = result
        for field in parents:
            place = place.setdefault(field, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = deepcopy(value)
    return result
