"""The kinds that are served, and what their paths and schemas say."""

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_CRDS = Path(__file__).parents[3] / "crds"
_PATH = re.compile(
    r"(?P<api>/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<subresource>status))?"
)


@dataclass(frozen=True)
class Kind:
    """A kind: `api` is its path's beginning, `schema` a custom one's."""

    api: str
    plural: str
    kind: str
    namespaced: bool = True
    schema: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    @property
    def api_version(self) -> str:
        return self.api.removeprefix("/apis/").removeprefix("/api/")

    @property
    def qualified(self) -> str:
        """The plural as refusals name it."""
        group, slash, _ = self.api_version.partition("/")
        return f"{self.plural}.{group}" if slash else self.plural

    @property
    def qualified_kind(self) -> str:
        """The kind as refusals name it."""
        group, slash, _ = self.api_version.partition("/")
        return f"{self.kind}.{group}" if slash else self.kind

    @property
    def custom(self) -> bool:
        return self.schema is not None


@dataclass(frozen=True)
class Place:
    """What a path points at: one object where `name` is not empty, else all of a kind."""

    kind: Kind
    namespace: str
    name: str
    subresource: str


NAMESPACES = Kind("/api/v1", "namespaces", "Namespace", namespaced=False)


@cache
def kinds() -> tuple[Kind, ...]:
    """Return every kind that is served: our own as they are shipped, and what we use of Kubernetes."""
    builtin = (
        NAMESPACES,
        Kind("/api/v1", "secrets", "Secret"),
        Kind("/api/v1", "configmaps", "ConfigMap"),
        Kind("/apis/events.k8s.io/v1", "events", "Event"),
        Kind("/apis/coordination.k8s.io/v1", "leases", "Lease"),
    )
    return builtin + tuple(_shipped(yaml.safe_load(file.read_text())["spec"]) for file in sorted(_CRDS.glob("*.yaml")))


def _shipped(spec: Mapping[str, Any]) -> Kind:
    (version,) = spec["versions"]
    names = spec["names"]
    schema = version["schema"]["openAPIV3Schema"]
    api = f"/apis/{spec['group']}/{version['name']}"
    return Kind(api, names["plural"], names["kind"], spec["scope"] == "Namespaced", schema)


def kind_of(plural: str) -> Kind:
    """Return the kind of that plural."""
    return next(kind for kind in kinds() if kind.plural == plural)


def path(kind: Kind, namespace: str = "", name: str = "") -> str:
    """Return the path of an object, of a namespace's objects, or of all objects of a kind."""
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{kind.api}{scope}/{kind.plural}" + (f"/{name}" if name else "")


def address_api(kind: Kind) -> str:
    """Return what tells a kind from others of that plural."""
    return f"{kind.api}/{kind.plural}"


def place(url: str) -> Place | None:
    """Return what a path points at, None for one that is not served."""
    match = _PATH.fullmatch(url)
    if match is None:
        return None
    at = (match["api"], match["plural"])
    found = next((kind for kind in kinds() if (kind.api, kind.plural) == at), None)
    if found is None:
        return None
    return Place(found, match["namespace"] or "", match["name"] or "", match["subresource"] or "")


def defaulted(schema: Mapping[str, Any], value: Any) -> Any:
    """Return a value as the API server stores it: unknown fields pruned, defaults filled in."""
    if isinstance(value, list):
        return [defaulted(schema.get("items", {}), item) for item in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return deepcopy(value)
    kept = {name: defaulted(child, value[name]) for name, child in schema["properties"].items() if name in value}
    for name, child in schema["properties"].items():
        if name not in kept and "default" in child:
            kept[name] = defaulted(child, child["default"])
    return kept


# A bool is an int in Python: it comes first.
_TYPES: dict[str, type] = {
    "boolean": bool,
    "integer": int,
    "number": float,
    "string": str,
    "array": list,
    "object": dict,
    "null": type(None),
}


def violations(schema: Mapping[str, Any], value: Any, at: str = "") -> list[tuple[str, str, str]]:
    """Return what the schema has against a value, without its CEL rules: (reason, field, message)."""
    wanted = schema.get("type")
    if schema.get("x-kubernetes-int-or-string") or wanted is None:
        return []
    got = next(name for name, types in _TYPES.items() if isinstance(value, types))
    if got != wanted:
        name = at.rpartition(".")[2]
        text = f'Invalid value: "{got}": {name} in body must be of type {wanted}: "{got}"'
        return [("FieldValueTypeInvalid", at, text)]
    found: list[tuple[str, str, str]] = []
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(f'"{each}"' for each in schema["enum"])
        text = f'Unsupported value: "{value}": supported values: {supported}'
        found.append(("FieldValueNotSupported", at, text))
    if isinstance(value, str):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            found.append(("FieldValueTooLong", at, "Too long or too short"))
        if "pattern" in schema and re.search(schema["pattern"], value) is None:
            found.append(("FieldValueInvalid", at, f'Invalid value: "{value}": {at} in body should match'))
    if isinstance(value, list):
        if len(value) > schema.get("maxItems", len(value)):
            found.append(
                ("FieldValueTooMany", at, f"Too many: {len(value)}: must have at most {schema['maxItems']} items")
            )
        for index, item in enumerate(value):
            found += violations(schema.get("items", {}), item, f"{at}[{index}]")
    if isinstance(value, dict):
        found += [
            ("FieldValueRequired", f"{at}.{name}".lstrip("."), "Required value")
            for name in schema.get("required", ())
            if name not in value
        ]
        for name, child in schema.get("properties", {}).items():
            if name in value:
                found += violations(child, value[name], f"{at}.{name}".lstrip("."))
    return found
