"""The docs site: what is broken ends its build, and links that leave docs/ are followed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

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
