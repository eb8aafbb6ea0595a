"""Pages of the docs that are made from the CRDs: every field with its type, bounds, default and rules."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from release.repository import CHART_PAGE, ROOT

Schema = Mapping[str, Any]

CRDS = ROOT / "crds"
PAGES = ROOT / "docs" / "reference"
_RULES = "x-kubernetes-validations"
_GROUP_DEPTH = 2
"""Objects down to this depth have a table of their own; what is deeper stands in it by its dotted name."""


def made() -> dict[Path, str]:
    """Return the text of each page, by its path."""
    pages = {}
    for path in sorted(CRDS.glob("*.yaml")):
        crd = yaml.safe_load(path.read_text())
        pages[PAGES / f"{crd['spec']['names']['plural']}.md"] = page(crd)
    return pages


def stale() -> list[Path]:
    """Return the pages that are not as they would be made, and those that nothing makes; the chart's is another's."""
    wanted = made()
    return sorted(
        {path for path, text in wanted.items() if not path.exists() or path.read_text() != text}
        | ({*PAGES.glob("*.md")} - {*wanted, ROOT / CHART_PAGE})
    )


def page(crd: Mapping[str, Any]) -> str:
    """Return the page of one CustomResourceDefinition."""
    names = crd["spec"]["names"]
    (version,) = crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    parts = [
        f"# {names['kind']}, every field",
        f"Made from `crds/` by `make reference`. What the fields are for, by task: [{names['kind']}]"
        f"(../{names['singular']}.md).",
        _facts(crd, version),
        *(part for field in ("spec", "status") for part in _group(field, schema["properties"][field], 1)),
        "## Columns of kubectl get",
        _columns(version["additionalPrinterColumns"]),
    ]
    rules = _rules(_told(schema, ""))
    return "\n\n".join([*parts[:3], *([rules] if rules else []), *parts[3:]]) + "\n"


def _facts(crd: Mapping[str, Any], version: Mapping[str, Any]) -> str:
    names = crd["spec"]["names"]
    rows = {
        "apiVersion": f"`{crd['spec']['group']}/{version['name']}`",
        "kind": f"`{names['kind']}`",
        "scope": crd["spec"]["scope"],
        "short name": ", ".join(f"`{name}`" for name in names["shortNames"]),
        "categories": ", ".join(f"`{name}`" for name in names["categories"]),
        "field selectors": ", ".join(f"`{each['jsonPath']}`" for each in version.get("selectableFields", [])) or "none",
    }
    return _table(("of the kind", "value"), rows.items())


def _group(path: str, node: Schema, depth: int) -> Iterator[str]:
    """Yield the parts about an object: its heading, description, table and rules; then those of the objects in it."""
    yield f"## {path}"
    if node.get("description"):
        yield _inline(node["description"])
    here: list[tuple[str, ...]] = []
    below: list[tuple[str, Schema]] = []
    for name, child in node["properties"].items():
        if depth < _GROUP_DEPTH and "properties" in child:
            below.append((f"{path}.{name}", child))
        else:
            here.extend(_rows(name, child, name in node.get("required", [])))
    if here:
        yield _table(("field", "type", "meaning"), here)
    if rules := _rules([*_told(node, ""), *_told_below(node, "", depth)]):
        yield rules
    for child_path, child in below:
        yield from _group(child_path, child, depth + 1)


def _rows(name: str, node: Schema, required: bool) -> Iterator[tuple[str, ...]]:
    yield f"`{name}`", "<br>".join(_type(node, required)), _inline(node.get("description", ""))
    if "properties" in node:
        for child, below in node["properties"].items():
            yield from _rows(f"{name}.{child}", below, child in node.get("required", []))
    if "properties" in node.get("items", {}):
        for child, below in node["items"]["properties"].items():
            yield from _rows(f"{name}[].{child}", below, child in node["items"].get("required", []))


def _type(node: Schema, required: bool) -> Iterator[str]:
    """Yield what is said of a value's form, a line each."""
    kind = node["type"]
    if kind == "array":
        kind = f"list of {node['items']['type']}s"
    elif "additionalProperties" in node:
        kind = f"map of {node['additionalProperties']['type']}s"
    yield f"{kind}, **required**" if required else kind
    if choices := node.get("enum", node.get("items", {}).get("enum")):
        yield ", ".join(f"`{value}`" for value in choices)
    if node.get("default") not in (None, {}):
        default = node["default"]
        yield f"default `{str(default).lower() if isinstance(default, bool) else default}`"
    if bounds := _bounds(node):
        yield bounds
    if node.get("format") == "date-time":
        yield "RFC 3339"


def _bounds(node: Schema) -> str:
    if "maximum" in node:
        return f"{node.get('minimum', '')} to {node['maximum']}"
    for key, what in (("maxLength", "characters"), ("maxItems", "items"), ("maxProperties", "entries")):
        if key in node and "enum" not in node:
            return f"at most {node[key]} {what}"
    return ""


def _told(node: Schema, path: str) -> Iterator[tuple[str, str]]:
    """Yield each rule of a schema as the field that it refuses, seen from the heading above, and its message."""
    for rule in node.get(_RULES, []):
        yield (path + rule.get("fieldPath", "")).lstrip("."), rule["message"]


def _told_below(node: Schema, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield the rules of what has no table of its own."""
    children = {f".{name}": child for name, child in node.get("properties", {}).items()}
    if "items" in node:
        children["[]"] = node["items"]
    for name, child in children.items():
        if depth < _GROUP_DEPTH and "properties" in child:
            continue
        yield from _told(child, path + name)
        yield from _told_below(child, path + name, _GROUP_DEPTH)


def _rules(told: Iterable[tuple[str, str]]) -> str:
    lines = [f"- `{field}` {_inline(message)}" if field else f"- {_inline(message)}" for field, message in told]
    return "\n".join(["Rules, in the words of their refusal:", "", *dict.fromkeys(lines)]) if lines else ""


def _columns(columns: list[Mapping[str, Any]]) -> str:
    rows = [
        (each["name"], f"`{each['jsonPath']}`", each["description"] + (" (`-o wide`)" if each.get("priority") else ""))
        for each in columns
    ]
    return _table(("column", "path", "meaning"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _inline(text: str) -> str:
    """Return a description as Markdown: one line, with what Markdown would take for its own kept as it is."""
    joined = " ".join(text.split())
    # Code spans keep their text; outside of them angle brackets and asterisks are literal.
    parts = joined.split("`")
    for index in range(0, len(parts), 2):
        parts[index] = parts[index].replace("*", "\\*").replace("<", "&lt;").replace("_", "\\_")
    return "`".join(parts)


def main(argv: list[str]) -> int:
    """Return the exit code of `write` or `check`: 1 when `check` finds a page that is not as it would be made."""
    if argv == ["write"]:
        PAGES.mkdir(exist_ok=True)
        for path, text in made().items():
            path.write_text(text)
            sys.stderr.write(f"reference: {path.relative_to(ROOT)}\n")
        return 0
    if argv == ["check"]:
        found = stale()
        for path in found:
            sys.stderr.write(f"reference: {path.relative_to(ROOT)} is not as it would be made: run `make reference`\n")
        return 1 if found else 0
    sys.stderr.write("usage: python -m release.reference write | check\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
