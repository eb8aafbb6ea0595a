"""docs/metrics.md: every metric of the process, with its type, labels and text, and no other."""

from __future__ import annotations

import re
import sys

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from manifests.manifest_files import REPOSITORY
from support.metered import HOST, metered

PAGE = REPOSITORY / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|([^|]*)\| (.*) \|$", re.MULTILINE)

Row = tuple[str, str, frozenset[str], str]


def page() -> list[Row]:
    return [
        (name, type_, frozenset(re.findall(r"`(\w+)`", labels)), text)
        for name, type_, labels, text in ROW.findall(PAGE.read_text())
    ]


async def code() -> list[Row]:
    metrics = await metered()
    found = []
    for family in text_string_to_metric_families(metrics.render().decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
        found.append((name, family.type, labels, family.documentation))
    return found


async def test_the_page_is_the_code() -> None:
    linux = sys.platform == "linux"
    said = [row for row in page() if linux or not row[0].startswith("process_")]
    assert sorted(said, key=lambda row: row[0]) == sorted(await code(), key=lambda row: row[0])


async def test_no_label_names_a_server_an_object_or_a_login() -> None:
    metrics = await metered()
    assert HOST not in metrics.render().decode()
    labels = {label for row in await code() for label in row[2]}
    assert labels == {"state", "reason", "result", "kind", "name", "purpose", "code", "method", "server", "version"}
    assert generate_latest(metrics.registry).count(b"_created") == 0


@pytest.mark.parametrize("page_", ["README.md", "docs/settings.md"])
def test_is_linked_from(page_: str) -> None:
    assert re.search(r"\]\((?:docs/)?metrics\.md\)", (REPOSITORY / page_).read_text())
