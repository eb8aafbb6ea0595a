"""With its defaults the chart is the kustomize base and the CRDs, but for what only Helm needs."""

from __future__ import annotations

import copy
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cipher_operator import __version__
from delivery.rendering import Objects, by_name, rendered, without_release
from devcluster.helm import Helm, HelmError
from devcluster.programs import find_programs
from manifests.manifest_files import REPOSITORY, documents


def _kustomized(folder: str) -> list[dict[str, Any]]:
    command = [str(find_programs().kubectl), "kustomize", str(REPOSITORY / folder)]
    return documents(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _installed(folder: str) -> Objects:
    """Return what kustomize makes of a folder and the CRDs, but the namespace: whoever installs makes the release's."""
    found = by_name(_kustomized(folder) + _kustomized("crds"))
    del found["Namespace", "", "cipher-system"]
    # The chart gives the label to everything, kustomize to what is in the folder.
    for (kind, _, _), each in found.items():
        if kind == "CustomResourceDefinition":
            each["metadata"]["labels"]["app.kubernetes.io/part-of"] = "cipher-operator"
    return found


SERVERS_ONLY = {"secrets": {"watch": "servers"}, "admissionPolicies": {"safeUpgrades": True}}
SAME: dict[str, tuple[dict[str, Any], str]] = {
    "the defaults are the base": ({}, "manifests/base"),
    "with the policy on upgrades `servers` is the overlay": (SERVERS_ONLY, "manifests/overlays/servers-only"),
}


@pytest.mark.parametrize("case", SAME)
def test_chart_and_kustomization_are_the_same(helm: Helm, case: str, values_file: Path) -> None:
    values, folder = SAME[case]
    chart, expected = without_release(rendered(helm, values, values_file)), _installed(folder)
    assert chart.keys() == expected.keys()
    for key, each in expected.items():
        assert chart[key] == each, key


def test_what_only_helm_needs_is_these_labels_and_this_annotation(helm4: Helm) -> None:
    for (kind, _, _), each in rendered(helm4).items():
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "cipher-operator"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["app.kubernetes.io/version"] == __version__
        assert labels["helm.sh/chart"] == f"cipher-operator-{__version__}"
        kept = each["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert kept == ("keep" if kind == "CustomResourceDefinition" else None)


def test_the_names_are_the_same_whatever_the_release_is_called(helm4: Helm) -> None:
    """The Lease and the alerts go by them, and Helm so refuses a second operator in a namespace."""
    text = helm4("template", "other", str(REPOSITORY / "charts" / "cipher-operator"), "--namespace", "cipher-system")
    assert by_name(documents(text)).keys() == rendered(helm4).keys()


@pytest.mark.parametrize("document", ["README.md", "charts/cipher-operator/README.md"])
def test_the_commands_of_the_documents_are_taken(helm: Helm, document: str) -> None:
    text = (REPOSITORY / document).read_text().replace("\\\n", "")
    commands = re.findall(r"^helm install (.*)$", text, re.MULTILINE)
    assert commands
    for command in commands:
        arguments = [str(REPOSITORY / each) if each.startswith("charts/") else each for each in shlex.split(command)]
        assert documents(helm("template", *arguments))


def test_lint_finds_nothing(helm: Helm) -> None:
    said = helm("lint", "--strict", str(REPOSITORY / "charts" / "cipher-operator"))
    assert "0 chart(s) failed" in said
    assert "[WARNING]" not in said and "[ERROR]" not in said


@pytest.mark.parametrize(
    ("version", "admitted"),
    [("1.31.0", True), ("1.31.4-gke.100", True), ("1.36.3", True), ("1.30.9", False)],
    ids=["the oldest", "a cloud's own", "the newest", "one too old"],
)
def test_versions_of_kubernetes(helm: Helm, version: str, admitted: bool) -> None:
    arguments = ("x", str(REPOSITORY / "charts" / "cipher-operator"), "--kube-version", version)
    if admitted:
        assert documents(helm("template", *arguments))
    else:
        with pytest.raises(HelmError, match="incompatible with Kubernetes"):
            helm("template", *arguments)


def test_a_package_holds_the_chart_and_not_the_readmes_source(helm: Helm, tmp_path: Any) -> None:
    helm("package", str(REPOSITORY / "charts" / "cipher-operator"), "--destination", str(tmp_path))
    (archive,) = tmp_path.glob("*.tgz")
    assert archive.name == f"cipher-operator-{__version__}.tgz"
    listed = subprocess.run(["tar", "tzf", str(archive)], capture_output=True, text=True, check=True).stdout
    assert "cipher-operator/README.md\n" in listed and "README.head.md" not in listed
    assert "cipher-operator/files/cluster-role.yaml" in listed


def test_it_can_be_part_of_another_chart(helm: Helm, tmp_path: Any) -> None:
    """Helm hands a subchart `global`, and a parent has `enabled` for its condition: the strict schema lets both in."""
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "cipher-operator").symlink_to(REPOSITORY / "charts" / "cipher-operator")
    dependency = {"name": "cipher-operator", "version": __version__, "condition": "cipher-operator.enabled"}
    parent = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency]}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(parent))
    values = {"global": {"team": "a"}, "cipher-operator": {"enabled": True, "replicaCount": 1}}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    objects = by_name(documents(helm("template", "platform", str(tmp_path), "--namespace", "cipher-system")))
    assert objects["Deployment", "cipher-system", "cipher-operator"]["spec"]["replicas"] == 1
    off = copy.deepcopy(values) | {"cipher-operator": {"enabled": False}}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(off))
    assert not documents(helm("template", "platform", str(tmp_path)))
