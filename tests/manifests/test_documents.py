"""What the documents promise is there: commands, links, fields, reasons, flags, and examples that apply."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cipher_operator.api.names import API_VERSION
from cipher_operator.runtime.flags import FLAGS
from devcluster import ControlPlane
from manifests.manifest_files import REPOSITORY, documents
from support import crd

DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "charts/*/README.md") for path in REPOSITORY.glob(pattern)
)
README, REFERENCE = REPOSITORY / "README.md", REPOSITORY / "docs" / "cipherstorage.md"
REFERENCES = {crd.STORAGES: REFERENCE, crd.SERVERS: REPOSITORY / "docs" / "cipherserver.md"}
FENCE = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
"""Of a list's item, too."""
OURS = {"v1", "apps/v1", API_VERSION}
"""Kinds that are there where nothing but the operator is installed; other tools' own have no schema to be judged by."""
LINK = re.compile(r"\]\(([^)\s]+)\)")
_by_name = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))


def _blocks(path: Path, *languages: str) -> list[str]:
    return [text for language, text in FENCE.findall(path.read_text()) if language in languages]


def _anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each).strip().lower().replace(" ", "-") for each in headings}


def _field_names(schema: dict[str, Any]) -> Iterator[str]:
    for name, child in schema.get("properties", {}).items():
        yield name
        yield from _field_names(child)
    if "items" in schema:
        yield from _field_names(schema["items"])


def test_the_readme_begins_with_the_two_commands() -> None:
    first = _blocks(README, "sh")[0]
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make demo", "make test"]


@_by_name
def test_what_is_typed_needs_no_gnu_program(path: Path) -> None:
    """A reader's own machine may be a Mac, whose `date` and `sed` know less."""
    gnu = re.compile(r"\bdate -I|\bsed -i\b|\breadlink -f\b|\bgrep -\w*P|\bbase64 -w|\bxargs -r\b")
    assert [line for line in path.read_text().splitlines() if gnu.search(line)] == []


@_by_name
def test_every_make_command_exists(path: Path) -> None:
    shell = "\n".join([*_blocks(path, "sh"), *re.findall(r"`(make [^`]*)`", path.read_text())])
    assert set(re.findall(r"\bmake ([a-z-]+)", shell)) <= _targets()


def test_make_run_serves_cipher_servers_as_the_manifests_do() -> None:
    """Outside a cluster there are none unless it is said where their Secrets are."""
    recipe = (REPOSITORY / "Makefile").read_text().split("\nrun:")[1].split("\n\n")[0]
    (namespace,) = documents((REPOSITORY / "manifests" / "base" / "namespace.yaml").read_text())
    assert f"--server-secrets-namespace {namespace['metadata']['name']} " in recipe


@_by_name
def test_every_kustomization_exists(path: Path) -> None:
    for folder in re.findall(r"kubectl (?:apply|delete) -k (\S+?)`?[,\s]", path.read_text()):
        assert list((REPOSITORY / folder).glob("[Kk]ustomization*")), folder


@_by_name
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in LINK.findall(FENCE.sub("", path.read_text())):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


@_by_name
def test_every_yaml_block_is_yaml(path: Path) -> None:
    for block in _blocks(path, "yaml"):
        documents(block)


@_by_name
def test_nothing_is_taken_for_html(path: Path) -> None:
    """What stands in angle brackets outside of code is a tag to whoever shows the page, and not shown."""
    text = re.sub(r"`[^`]*`|<!--.*?-->", "", FENCE.sub("", path.read_text()), flags=re.DOTALL)
    assert set(re.findall(r"</?[A-Za-z][^>\n]*>", text)) <= {"<br>"}


def _is_whole(block: str) -> bool:
    """Return whether a block can be applied as it stands, whatever comments it begins with."""
    whole = [document for document in documents(block) if {"apiVersion", "kind", "metadata"} <= {*document}]
    return bool(whole) and {document["apiVersion"] for document in whole} <= OURS


@_by_name
def test_no_example_of_our_kinds_is_passed_over(path: Path) -> None:
    text = FENCE.sub(lambda found: "" if found[1] == "yaml" and _is_whole(found[2]) else found[0], path.read_text())
    assert re.findall(rf"^ *apiVersion: {re.escape(API_VERSION)}\n *kind: .*$", text, re.MULTILINE) == []


@_by_name
def test_whole_examples_apply(installed: ControlPlane, namespace: str, path: Path) -> None:
    for block in _blocks(path, "yaml"):
        if _is_whole(block):
            installed.kubectl("apply", "-n", namespace, "-f", "-", input=block)
            # A CipherServer is in no namespace, so it would not go with the test's.
            installed.kubectl("delete", "-n", namespace, "-f", "-", "--timeout=60s", input=block)


@_by_name
def test_patches_and_annotations_of_a_storage_are_taken(installed: ControlPlane, namespace: str, path: Path) -> None:
    """Each changes a storage of its own, by the API server's word alone: nothing is stored."""
    wanted = re.compile(r"^ *kubectl (?:patch|annotate) cstore (?:[^'\n]|'[^']*')*$", re.MULTILINE)
    lines = [line for block in _blocks(path, "sh") for line in wanted.findall(block.replace("\\\n", " "))]
    if lines:
        storage = '{"apiVersion":"%s","kind":"CipherStorage","metadata":{"name":"chat"},"spec":%s}'
        spec = '{"connection":{"secretRef":{"name":"pg-admin"}}}'
        installed.kubectl("apply", "-n", namespace, "-f", "-", input=storage % (API_VERSION, spec))
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        words[2] = "chat"
        installed.kubectl("-n", namespace, *words, "--dry-run=server")


@pytest.mark.parametrize("path", [README, REFERENCE], ids=lambda path: path.name)
def test_there_is_a_short_whole_example(path: Path) -> None:
    example = next(block for block in _blocks(path, "yaml") if block.startswith("apiVersion:"))
    assert [document["kind"] for document in documents(example)] == ["Secret", "CipherStorage"]
    assert len(example.splitlines()) <= 20


@pytest.mark.parametrize("kind", crd.KINDS)
def test_the_reference_names_every_field(kind: str) -> None:
    expected = {*_field_names(crd.schema("spec", kind)), *_field_names(crd.schema("status", kind))}
    text = REFERENCES[kind].read_text()
    assert not [name for name in sorted(expected) if not re.search(rf"\b{name}\b", text)]


def test_the_settings_page_lists_every_flag_with_its_default() -> None:
    text = (REPOSITORY / "docs" / "settings.md").read_text().split("## Flags")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `--([a-z-]+)(.*)$", text, re.MULTILINE))
    assert set(rows) == {flag.name for flag in FLAGS} | {"namespace", "leader-election", "cluster-servers"}
    for flag in FLAGS:
        assert flag.default in rows[flag.name].replace("`", "").replace(", ", ","), flag.name
