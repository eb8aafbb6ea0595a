"""docs/reference: made from the CRDs, whole, and found stale when a CRD changes."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path

import pytest

from release import reference
from support import crd

_by_kind = pytest.mark.parametrize("kind", crd.KINDS)


def page(kind: str) -> str:
    return (reference.PAGES / f"{kind}.md").read_text()


def test_the_pages_are_as_they_are_made() -> None:
    assert reference.stale() == []
    assert {path.stem for path in reference.made()} == set(crd.KINDS)


@_by_kind
def test_every_field_has_a_row_or_a_heading(kind: str) -> None:
    text = page(kind)
    for root in ("spec", "status"):
        for path, _ in crd.nodes(crd.schema(root, kind), root):
            shown = path.replace(".[]", "[]")
            if shown.endswith(("[]", ".*")) or f"\n## {shown}\n" in text:
                continue
            # In a table it is named from its group on: the dotted name without one, two or no leading parts.
            parts = shown.split(".")
            assert any(f"| `{'.'.join(parts[cut:])}` |" in text for cut in (1, 2)), shown


@_by_kind
def test_every_rule_is_told(kind: str) -> None:
    text = page(kind).replace("\\", "").replace("&lt;", "<")
    for path, rule in crd.rules(kind):
        assert " ".join(rule["message"].split()) in text, path


@_by_kind
def test_every_default_and_choice_is_told(kind: str) -> None:
    text = page(kind)
    for _, node in crd.nodes(crd.schema(kind=kind)):
        for value in node.get("enum", []):
            assert f"`{value}`" in text
        default = node.get("default")
        if isinstance(default, str | bool):
            assert f"default `{str(default).lower() if isinstance(default, bool) else default}`" in text


def test_a_changed_crd_makes_its_page_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = deepcopy(crd.document())
    spec = changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["suspend"]["description"] = "Something else."
    monkeypatch.setattr(reference, "made", lambda: {reference.PAGES / "cipherstorages.md": reference.page(changed)})
    assert [path.stem for path in reference.stale()] == ["cipherservers", "cipherstorages"]


@_by_kind
def test_no_cell_breaks_its_table(kind: str) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", page(kind), re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table
