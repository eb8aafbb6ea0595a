"""Helm 3 and 4: built from what their modules say, and kept apart from a person's own Helm."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from devcluster import helm as helms
from devcluster.helm import MAJORS, Helm, HelmError, find_helm
from devcluster.longrun import SetupError

_by_major = pytest.mark.parametrize("major", MAJORS)


def helm_there(major: int) -> Path:
    try:
        return find_helm(major, fetch="HELM" in os.environ)
    except SetupError as error:
        pytest.skip(str(error))


@_by_major
def test_it_calls_itself_by_the_version_of_its_module(major: int, tmp_path: Path) -> None:
    wanted = helms._version(Path(helms.__file__).with_name(f"helm{major}"), f"helm.sh/helm/v{major}")
    assert Helm(helm_there(major), major, tmp_path)("version", "--template={{.Version}}").strip() == wanted
    assert wanted.startswith(f"v{major}.")


@_by_major
def test_it_takes_no_cluster_for_one_as_new_as_its_client(major: int, tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: x\nversion: 1.0.0\n")
    (chart / "templates" / "x.yaml").write_text("minor: '{{ .Capabilities.KubeVersion.Minor }}'\n")
    said = Helm(helm_there(major), major, tmp_path)("template", "x", str(chart))
    match = re.search(r"minor: '(\d+)'", said)
    assert match is not None and int(match[1]) >= 36


@_by_major
def test_nothing_of_a_person_is_read_and_the_cluster_is_the_one_that_was_named(
    major: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "persons"))
    monkeypatch.setenv("HELM_NAMESPACE", "persons")
    helm = Helm(helm_there(major), major, tmp_path)
    assert f'HELM_CONFIG_HOME="{tmp_path / "config"}"' in helm("env")
    assert 'HELM_NAMESPACE="persons"' not in helm("env")
    assert 'HELM_KUBECONTEXT=""' in helm("env")
    with pytest.raises(HelmError):
        helm("list")
    assert os.environ["HELM_NAMESPACE"] == "persons"


def test_without_fetching_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIPHER_DEV_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="make chart-test"):
        find_helm(4, fetch=False)


def test_a_helm_of_the_machine_is_used_where_it_is_of_that_major(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "helm"
    program.write_text("#!/bin/sh\necho v3.99.0+g1234567\n")
    program.chmod(0o755)
    monkeypatch.setenv("CIPHER_DEV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_helm(3, fetch=False) == program
    with pytest.raises(SetupError):
        find_helm(4, fetch=False)
