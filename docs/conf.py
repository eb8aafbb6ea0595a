"""The docs site: Markdown pages that read the same in the repository and as HTML. `make docs` builds it, strict."""

from __future__ import annotations

import os
import re
from html import escape
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

DOCS = Path(__file__).parent
REPOSITORY = DOCS.parent
SOURCE_URL = os.environ.get("SOURCE_URL", "").rstrip("/")
"""Where the files of this revision are shown, such as `https://github.com/OWNER/NAME/blob/v0.1.0`. Without it the files
that pages link to are copied into the site, and links to folders and to Markdown outside docs/ become plain text."""

project = "CipherStorage operator"
extensions = ["myst_parser"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_domain_indices = False
html_use_index = False
templates_path: list[str] = []
exclude_patterns = ["_static"]
# The pages' own style: `$ command` and what it printed.
highlight_language = "text"
nitpicky = True

NAVIGATION: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Begin", ("start", "concepts", "comparison")),
    (
        "PostgreSQL from",
        tuple(
            f"providers/{name}"
            for name in (
                *("rds", "aurora", "supabase", "cloud-sql", "heroku", "azure", "neon", "cloudnativepg"),
                *("own-server", "other-tools"),
            )
        ),
    ),
    ("Platform teams", ("platform-teams", "identity", "security", "gitops")),
    (
        "Operations",
        (
            *(
                "operations",
                "running/upgrade",
                "running/backup",
                "running/rotation",
                "running/disaster",
                "running/moving",
            ),
            *("metrics", "runbooks", "performance"),
        ),
    ),
    (
        "Reference",
        (
            *("cipherstorage", "cipherserver", "conditions", "settings"),
            *("reference/cipherstorages", "reference/cipherservers", "reference/chart", "api-maturity", "architecture"),
        ),
    ),
)
"""The pages in the order of the side bar, by heading."""

_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\((\.\./[^)\s]*)\)")
_PICTURE = re.compile(r"^!\[([^\]]*)\]\((_static/[\w-]+\.svg)\)$", re.MULTILINE)
_logger = logging.getLogger(__name__)


def navigation() -> str:
    """Return the side bar, as MyST writes it. It is not in the pages, where a repository would show it as code."""
    return "".join(
        "\n".join(("", "```{toctree}", ":hidden:", f":caption: {heading}", "", *pages, "```", ""))
        for heading, pages in NAVIGATION
    )


def outside(page: Path, text: str) -> str:
    """Return a page's text with the links that leave docs/ as the site can follow them."""

    def followed(found: re.Match[str]) -> str:
        label, link = found.groups()
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve()
        if target.is_relative_to(DOCS):
            return found[0]
        if not target.exists():
            _logger.warning("%s links to %s, which is not there", page.name, link)
        if SOURCE_URL:
            return f"[{label}]({SOURCE_URL}/{target.relative_to(REPOSITORY)}{anchor and '#'}{anchor})"
        return label if target.is_dir() or target.suffix == ".md" else found[0]

    return _LINK.sub(followed, text)


def drawn(found: re.Match[str]) -> str:
    """Return a picture as part of the page, whose light or dark colours it then has, with its text alternative."""
    words, file = found.groups()
    picture = (DOCS / file).read_text().replace("<svg ", f'<svg aria-label="{escape(" ".join(words.split()))}" ', 1)
    return f"```{{raw}} html\n{picture}```"


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    text = outside(DOCS / f"{name}.md", source[0])
    text = _PICTURE.sub(drawn, text)
    if name == "index":
        text += navigation()
    if name == "runbooks":
        pages = sorted(path.stem for path in (DOCS / "runbooks").glob("*.md"))
        text += "\n".join(("", "```{toctree}", ":hidden:", "", *(f"runbooks/{page}" for page in pages), "```", ""))
    source[0] = text


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
