"""A figure that was measured stands in docs/performance.md, and what other pages say of it is the same."""

from __future__ import annotations

import re

import pytest

from manifests.manifest_files import REPOSITORY

DOCS = REPOSITORY / "docs"
PERFORMANCE = (DOCS / "performance.md").read_text()
FIGURE = re.compile(r"(\d[\d.]*(?:–[\d.]+)?) (?:MiB|m?s\b|where many)")
SAID = {
    "operations.md": (r"The process takes (.*?)\(\[measured\]", 4),
    "comparison.md": (r"Ours, in November 2026 (.*?)See\n", 5),
}
"""Where another page repeats figures, and how many."""


@pytest.mark.parametrize("page", SAID)
def test_another_page_says_what_was_measured(page: str) -> None:
    part, count = SAID[page]
    (text,) = re.findall(part, (DOCS / page).read_text(), re.DOTALL)
    said = FIGURE.findall(text)
    assert len(said) >= count
    for each in said:
        assert re.search(rf"(?<![\d.]){re.escape(each)}(?![\d.]*\d)", PERFORMANCE), each
