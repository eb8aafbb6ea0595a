"""The provider guides of the docs as a reader carries them out: their kubectl commands, and their manifests."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "docs" / "providers"
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Object:
    """A Secret or ConfigMap that a guide has its reader create."""

    kind: str
    name: str
    data: Mapping[str, str]


@dataclass(frozen=True)
class Guide:
    """What a guide says, read from the page alone."""

    text: str

    @classmethod
    def of(cls, stem: str) -> Guide:
        return cls((FOLDER / f"{stem}.md").read_text())

    def told(self, changes: Mapping[str, str]) -> Guide:
        """Return it with what differs at a test's server: ports and addresses."""
        text = self.text
        for old, new in changes.items():
            assert old in text, f"the page does not say {old}"
            text = text.replace(old, new)
        return Guide(text)

    def commands(self) -> list[list[str]]:
        """Return the commands of its shell blocks as words; of a pipe the first."""
        blocks = [text.replace("\\\n", " ") for language, text in _FENCE.findall(self.text) if language == "sh"]
        return [shlex.split(line.split(" | ")[0], comments=True) for block in blocks for line in block.splitlines()]

    def created(self, files: Mapping[str, str]) -> list[Object]:
        """Return what `kubectl create` makes, where files of these names have these contents."""
        made = []
        for words in self.commands():
            if words[:2] != ["kubectl", "create"]:
                continue
            kind, name = ("Secret", words[4]) if words[2:4] == ["secret", "generic"] else ("ConfigMap", words[3])
            data = {}
            for word in words:
                option, _, rest = word.partition("=")
                key, _, value = rest.partition("=")
                if option == "--from-literal":
                    data[key] = value
                elif option == "--from-file":
                    data[key] = files[value]
            made.append(Object(kind, name, data))
        return made

    def manifests(self, kind: str) -> list[dict[str, Any]]:
        """Return the whole objects of a kind in its YAML blocks, in order."""
        found = []
        for language, text in _FENCE.findall(self.text):
            if language == "yaml":
                found += [each for each in yaml.safe_load_all(text) if each and each.get("kind") == kind]
        return found
