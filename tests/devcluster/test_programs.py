"""Which version of Kubernetes the programs are of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devcluster import programs
from devcluster.go_build import source_key
from devcluster.longrun import SetupError

ASKED = "CIPHER_TEST_KUBERNETES"


@pytest.mark.parametrize(("version", "file"), programs._MODULES.items())
def test_the_modules_of_a_version_are_of_it(version: str, file: str) -> None:
    text = (programs._SOURCE / file).read_text()
    required = re.findall(r"^\tk8s\.io/kubernetes v(\S+)$", text, re.MULTILINE)
    assert required == [version]
    assert (programs._SOURCE / file).with_suffix(".sum").exists()
    staging = re.findall(r"^\tk8s\.io/\S+ => k8s\.io/\S+ v(\S+)$", text, re.MULTILINE)
    assert set(staging) == {f"0.{version.partition('.')[2]}"}


@pytest.mark.parametrize(
    ("asked", "version"),
    [("", programs.KUBERNETES_VERSION), *((each.rpartition(".")[0], each) for each in programs._MODULES)],
    ids=["nothing", *programs.MINORS],
)
def test_what_is_asked_for(asked: str, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ASKED, asked)
    assert programs.wanted_version() == version


def test_a_minor_that_there_is_not_says_which_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ASKED, "1.3")
    with pytest.raises(SetupError, match=r"CIPHER_TEST_KUBERNETES is '1\.3'; there are 1\.31, "):
        programs.wanted_version()


def test_each_has_a_place_of_its_own_and_the_usual_one_is_where_it_was() -> None:
    names = {version: programs._built_name(version) for version in programs._MODULES}
    assert len(set(names.values())) == len(names)
    usual = source_key(programs._SOURCE, "main.go", "kubectl/main.go", "go.mod", "go.sum")
    assert names[programs.KUBERNETES_VERSION] == f"controlplane-{usual}"


@pytest.mark.parametrize("asked", ["", "1.31"], ids=["counts", "does not where a version is asked for"])
def test_a_folder_of_any_version(asked: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cached = tmp_path / "cache" / programs._built_name("1.31.13")
    for folder in (tmp_path / "assets", cached):
        folder.mkdir(parents=True)
        for name in programs._NAMES:
            (folder / name).touch(0o755)
    monkeypatch.setenv("CIPHER_DEV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setenv(ASKED, asked)
    assert programs.find_programs(fetch=False).apiserver.parent == (cached if asked else tmp_path / "assets")
