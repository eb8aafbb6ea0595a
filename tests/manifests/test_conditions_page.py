"""docs/conditions.md: one entry for every reason, in the group of its class, each with its three parts."""

from __future__ import annotations

import re

import pytest

from cipher_operator.api.reasons import FailureClass, Reason
from manifests.manifest_files import REPOSITORY

PAGE = REPOSITORY / "docs" / "conditions.md"
GROUPS: dict[str, FailureClass | None] = {
    "The operator goes on by itself": FailureClass.TRANSIENT,
    "Waiting for somebody": FailureClass.WAITING,
    "A person must decide": FailureClass.STALLED,
    "No failure": None,
}


def _entries() -> list[tuple[str, str, str]]:
    """Return (group, heading, text) of every entry, in the page's order."""
    entries = []
    for group in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        title, _, content = group.partition("\n")
        for entry in re.split(r"^### ", content, flags=re.MULTILINE)[1:]:
            heading, _, text = entry.partition("\n")
            entries.append((title, heading, text))
    return entries


def _class(reason: Reason) -> FailureClass | None:
    try:
        return reason.failure_class
    except KeyError:
        return None


def test_every_reason_has_one_entry_and_there_is_no_other() -> None:
    assert sorted(heading for _, heading, _ in _entries()) == sorted(Reason)


@pytest.mark.parametrize(("group", "heading", "text"), _entries(), ids=lambda value: value.split("\n")[0])
def test_an_entry_is_whole(group: str, heading: str, text: str) -> None:
    assert GROUPS[group] is _class(Reason(heading))
    assert re.findall(r"^- \*\*(\w+):\*\* \S", text, re.MULTILINE) == ["Means", "Check", "Do"]


@pytest.mark.parametrize("reason", Reason)
def test_its_groups_table_says_what_to_do_about(reason: Reason) -> None:
    """The one place, beside the code, where the advice for every reason stands."""
    (group,) = [title for title, failure_class in GROUPS.items() if failure_class is _class(reason)]
    table = PAGE.read_text().split(f"\n## {group}\n")[1].split("\n### ")[0]
    assert f"| [`{reason}`](#{reason.lower()}) | {reason.advice} |" in table


def test_annotations_and_fields_in_it_exist() -> None:
    text = PAGE.read_text()
    reference = (REPOSITORY / "docs" / "cipherstorage.md").read_text()
    for annotation in re.findall(r"storage\.cipher\.dev/[a-z-]+", text):
        assert annotation in reference
    for field in re.findall(r"`(?:spec\.)?((?:connection|database|user|app)\.\w+)", text):
        assert field in reference, field


@pytest.mark.parametrize("page", ["README.md", "docs/cipherstorage.md"])
def test_is_linked_from(page: str) -> None:
    assert re.search(r"\]\((?:docs/)?conditions\.md\)", (REPOSITORY / page).read_text())
