"""Where Argo CD's scripts lie, and how their recorded files are written."""

import os
from pathlib import Path
from typing import Any

import yaml

from manifests.manifest_files import REPOSITORY

FOLDER = REPOSITORY / "manifests" / "argocd"
CUSTOMIZATION = FOLDER / "resource_customizations" / "storage.cipher.dev" / "CipherStorage"
SERVER_CUSTOMIZATION = CUSTOMIZATION.parent / "CipherServer"
SERVER_HEALTH = (SERVER_CUSTOMIZATION / "health.lua").read_text()
HEALTH = (CUSTOMIZATION / "health.lua").read_text()
DISCOVERY = (CUSTOMIZATION / "actions" / "discovery.lua").read_text()
ACTIONS = {path.parent.name: path.read_text() for path in (CUSTOMIZATION / "actions").glob("*/action.lua")}


def check_recorded(path: Path, value: Any) -> None:
    """Compare a recorded YAML file with what it must hold; `UPDATE_GOLDEN=1` writes it anew."""
    text = yaml.safe_dump(value, sort_keys=True, width=120, allow_unicode=True)
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"{path.name} is missing; run the tests once with UPDATE_GOLDEN=1 and read the diff"
    assert path.read_text() == text, f"{path.name} is out of date; write it anew with UPDATE_GOLDEN=1"
