"""What the files of the repository say, for the tests of this folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
PLATFORM = REPOSITORY / "manifests" / "examples" / "platform.yaml"
"""A CipherServer and a tenant of it, in namespaces of their own."""
EXAMPLES = sorted({*(REPOSITORY / "manifests" / "examples").glob("*.yaml")} - {PLATFORM})
"""Storages with a connection Secret, for whichever namespace they are applied to."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Every worker reads all files to know its tests: where there is the one in C, ten times as fast."""


def documents(text: str) -> list[dict[str, Any]]:
    """Return the YAML documents of a text, without empty ones."""
    return [document for document in yaml.load_all(text, Loader=_LOADER) if document]


def base_with(component: str, folder: Path) -> None:
    """Write a kustomization of the base and a component into a folder, as a user's own repository has it."""
    manifests = REPOSITORY / "manifests"
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(manifests / "base", folder)],
        "components": [os.path.relpath(manifests / "components" / component, folder)],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
