"""Golden files: compared byte for byte; rewritten with `UPDATE_GOLDEN=1`, so that a change is read in the diff."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "core" / "golden"


def check_golden(name: str, text: str) -> None:
    path = FOLDER / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"{name} is missing; run the tests once with UPDATE_GOLDEN=1 and read the diff"
    assert text == path.read_text()
