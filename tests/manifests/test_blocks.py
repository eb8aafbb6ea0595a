"""The blocks of the documents that an API server alone can judge: every such kubectl command, and parts of objects."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cipher_operator.api.names import API_VERSION
from cipher_operator.runtime.flags import FLAGS
from devcluster import ControlPlane, KubectlError
from manifests.manifest_files import REPOSITORY, documents
from support import crd
from support.servers import LEAST

DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "charts/*/README.md") for path in REPOSITORY.glob(pattern)
)
FENCE = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^ *kubectl (?:[^'\n]|'[^']*')*$", re.MULTILINE)
"""One, over several lines where a quote is."""
CHANGES = {"annotate", "apply", "delete", "label", "patch"}
READS = {"auth", "describe", "diff", "get"}
OTHERS = {"logs", "rollout", "run", "top", "wait"}
"""They need nodes or the operator; tests/e2e has these."""
CONNECTION = {"secretRef": {"name": "pg-admin"}}
POD = {"containers": [{"name": "cipher", "image": "registry.example.com/cipher:1"}]}


def _blocks(path: Path, language: str) -> list[str]:
    return [text.replace("\\\n", " ") for each, text in FENCE.findall(path.read_text()) if each == language]


def _verb(words: list[str]) -> str:
    return words[2] if words[0] == "-n" else words[0]


def commands(path: Path) -> Iterator[list[str]]:
    """Yield the kubectl commands of a page as words; of a pipe the first, and of a substitution any value."""
    for block in _blocks(path, "sh"):
        plain = re.sub(r"\$\([^()]*\)|\$\w+", "1", re.sub(r"(^|\s)# .*", "", block))
        for line in COMMAND.findall(plain):
            first = re.split(r" \|(?: |$)| > ", line)[0]
            yield shlex.split(first)[1:]


def judged(words: list[str], files: Path) -> list[str]:
    """Return a command as the API server is asked about it without a change; its files are the repository's."""
    there = [re.sub(r"(--from-file=(?:[\w.]+=)?)(.*)", rf"\g<1>{files}", word) for word in words]
    there = [str(REPOSITORY / word) if (REPOSITORY / word).exists() and "/" in word + "/" else word for word in there]
    if _verb(words) in CHANGES:
        return [*there, "--dry-run=server"]
    return [*there, "--dry-run=client"] if _verb(words) == "create" and "--dry-run=client" not in words else there


@pytest.fixture
def named(installed: ControlPlane, namespace: str) -> str:
    """A namespace with what the pages name: the storage, its Secrets, the app."""
    labels = {"app": "cipher"}
    for version, kind, name, rest in (
        (API_VERSION, "CipherStorage", "chat", {"spec": {"connection": CONNECTION}}),
        ("v1", "Secret", "pg-admin", {"stringData": {"CIPHER_PG_URL": "postgresql://"}}),
        ("v1", "Secret", "chat-cipher", {"stringData": {"uri": "postgresql://"}}),
        (
            *("apps/v1", "Deployment", "cipher"),
            {"spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": POD}}},
        ),
    ):
        whole = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **rest}
        installed.kubectl("-n", namespace, "apply", "-f", "-", input=json.dumps(whole))
    return namespace


@pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if any(commands(path))], ids=lambda path: str(path.relative_to(REPOSITORY))
)
def test_every_command_is_understood(installed: ControlPlane, named: str, path: Path, tmp_path: Path) -> None:
    (ca := tmp_path / "ca.crt").touch()
    for words in commands(path):
        verb = _verb(words)
        assert verb in CHANGES | READS | OTHERS | {"create"}, words
        if verb in OTHERS or "-f" in words:
            continue
        asked = judged(words, ca)
        where = [] if {"-n", "-A", "-k", "--all-namespaces"} & {*words} else ["-n", named]
        try:
            installed.kubectl(*where, *asked)
        except KubectlError as error:
            # What stands for a reader's own is not there; `auth can-i` and `diff` say their no by the exit code.
            assert "(NotFound)" in str(error) or (verb in {"auth", "diff"} and "error:" not in str(error)), words


def _parts() -> list[Any]:
    found = []
    for path in DOCUMENTS:
        for block in _blocks(path, "yaml"):
            for part in documents(block):
                if not {"apiVersion", "kind"} & {*part} and {*part} <= {"spec", "envFrom", "containers", "volumes"}:
                    name = f"{path.relative_to(REPOSITORY)} {next(iter(part))}"
                    found.append(pytest.param(part, id=name))
    return found


@pytest.mark.parametrize("part", _parts())
def test_a_part_of_an_object_is_taken(installed: ControlPlane, namespace: str, part: dict[str, Any]) -> None:
    """Of a CipherStorage, a CipherServer, a container, or a Pod."""
    if "spec" in part:
        of_server = {*part["spec"]} - {*crd.schema("spec")["properties"]}
        kind, least = ("CipherServer", LEAST) if of_server else ("CipherStorage", {"connection": CONNECTION})
        version, spec = API_VERSION, {**least, **part["spec"]}
    else:
        container = POD["containers"][0]
        spec = {"containers": [container | part]} if "envFrom" in part else part
        kind, version = "Pod", "v1"
    whole = {"apiVersion": version, "kind": kind, "metadata": {"name": "part"}, "spec": spec}
    flags = ("--dry-run=server", "--validate=strict")
    installed.kubectl("-n", namespace, "create", *flags, "-f", "-", input=json.dumps(whole))


def test_the_readmes_overlay_builds(installed: ControlPlane, tmp_path: Path) -> None:
    (overlay,) = (
        each for block in _blocks(REPOSITORY / "README.md", "yaml") for each in documents(block) if "images" in each
    )
    overlay["resources"] = [os.path.relpath(REPOSITORY / each, tmp_path) for each in overlay["resources"]]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    assert "image: registry.example.com/cipher-operator:0.1.0" in installed.kubectl("kustomize", str(tmp_path))


def test_every_helm_command_has_the_chart_and_values_that_it_knows() -> None:
    """Those that it does not know Helm refuses; tests/delivery runs it."""
    values = yaml.safe_load((REPOSITORY / "charts" / "cipher-operator" / "values.yaml").read_text())
    flags = {flag.name for flag in FLAGS}
    seen = 0
    for path in DOCUMENTS:
        for line in re.findall(r"^ *helm (?:install|upgrade) .*$", "\n".join(_blocks(path, "sh")), re.MULTILINE):
            words = shlex.split(line, comments=True)
            assert "charts/cipher-operator" in words, line
            for each in (words[i + 1].partition("=")[0] for i, word in enumerate(words) if word == "--set"):
                group, _, name = each.partition(".")
                assert name in flags if group == "settings" else not name or name in values[group], line
                assert group in values, line
                seen += 1
    assert seen
