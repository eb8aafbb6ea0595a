"""What the files of the repository say, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = sorted((REPOSITORY / "manifests" / "examples").glob("*.yaml"))


def documents(text: str) -> list[dict[str, Any]]:
    """Return the YAML documents of a text, without empty ones."""
    return [document for document in yaml.safe_load_all(text) if document]
