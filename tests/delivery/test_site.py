"""The docs site: what is broken ends its build, and links that leave docs/ are followed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from release.repository import ROOT

DOCS = ROOT / "docs"


@pytest.fixture
def conf() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_conf", DOCS / "conf.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_has_its_place_once(conf: ModuleType) -> None:
    placed = [page for _, pages in conf.NAVIGATION for page in pages]
    there = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")}
    assert sorted(placed) == sorted(page for page in there if not page.startswith("runbooks/") and page != "index")


def test_the_first_page_leads_to_every_guide() -> None:
    text = (DOCS / "index.md").read_text()
    for path in DOCS.glob("[pr]*/*.md"):
        if path.parent.name in {"providers", "running", "reference"}:
            assert f"]({path.relative_to(DOCS)})" in text, path


@pytest.mark.parametrize("page", ["start.md", "platform-teams.md", "operations.md", "concepts.md"])
def test_who_reads_the_site_alone_needs_no_page_of_the_repository(page: str) -> None:
    """A link to the README is plain text there."""
    assert not re.findall(r"\]\(\.\./README\.md", (DOCS / page).read_text())


def test_the_site_says_how_to_install() -> None:
    text = (DOCS / "start.md").read_text().split("\n## On your cluster\n")[1]
    said = [
        re.search(each, text) for each in ("docker build", "apply -k crds", "apply -k manifests/base", "helm install")
    ]
    assert all(said)


@pytest.mark.parametrize(
    ("link", "without", "on_github"),
    [
        ("../crds/Kustomization", "[x](../crds/Kustomization)", "[x](https://example.com/b/crds/Kustomization)"),
        ("../README.md#example", "x", "[x](https://example.com/b/README.md#example)"),
        ("../manifests/examples", "x", "[x](https://example.com/b/manifests/examples)"),
        ("../docs/start.md", "[x](../docs/start.md)", "[x](../docs/start.md)"),
    ],
    ids=["a file", "a page of the repository", "a folder", "a page of the site"],
)
def test_a_link_out_of_docs(
    conf: ModuleType, monkeypatch: pytest.MonkeyPatch, link: str, without: str, on_github: str
) -> None:
    for url, expected in (("", without), ("https://example.com/b", on_github)):
        monkeypatch.setattr(conf, "SOURCE_URL", url)
        assert conf.outside(DOCS / "index.md", f"[x]({link})") == expected


def test_a_picture_is_drawn_in_the_colours_of_the_page_and_has_its_words(conf: ModuleType) -> None:
    pictures = {path: list(conf._PICTURE.finditer(path.read_text())) for path in DOCS.rglob("*.md")}
    shown = [found for each in pictures.values() for found in each]
    assert {DOCS / found[2] for found in shown} == {*DOCS.glob("_static/*.svg")}
    for found in shown:
        drawn = conf.drawn(found)
        alone = ElementTree.fromstring(drawn.split("html\n")[1].removesuffix("```"))
        assert (alone.attrib["role"], alone.attrib["aria-label"]) == ("img", " ".join(found[1].split()))
        assert not re.search(r"\n\s*\n", drawn), "an empty line would end the HTML"
        for rule in re.findall(r"(?:fill|stroke): [^;]*#[^;]*", drawn):
            assert "var(--color-" in rule, rule


def test_no_page_of_the_site_shows_the_source_of_a_diagram() -> None:
    assert not [path for path in DOCS.rglob("*.md") if "```mermaid" in path.read_text()]


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[x](start.md#begin)", None),
        ("[x](nowhere.md)", "nowhere.md"),
        ("[x](start.md#nowhere)", "nowhere"),
        ("[x](#nowhere)", "nowhere"),
        ("[x](../nowhere.yaml)", "nowhere.yaml"),
    ],
    ids=["what is there", "page", "anchor elsewhere", "anchor here", "file of the repository"],
)
def test_what_is_broken_ends_the_build(tmp_path: Path, text: str, said: str | None) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text(f"# Index\n\n{text}\n")
    (docs / "start.md").write_text("# Start\n\n## Begin\n")
    (docs / "_static").mkdir()
    (docs / "_static" / "site.css").touch()
    settings = (DOCS / "conf.py").read_text()
    (docs / "conf.py").write_text(settings + '\nNAVIGATION = (("Begin", ("start",)),)\n')
    strict = ["--fail-on-warning", "--keep-going", "--quiet"]
    ended = subprocess.run(
        [sys.executable, "-m", "sphinx", *strict, str(docs), str(tmp_path / "site")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode == 0) == (said is None), ended.stderr
    assert said is None or said in ended.stderr
