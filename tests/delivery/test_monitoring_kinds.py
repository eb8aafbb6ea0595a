"""ServiceMonitor and PrometheusRule, of the manifests and of the chart, on a real API server that knows their kinds."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from delivery.conftest import helm_of
from delivery.rendering import NAMESPACE, Objects, by_name, rendered
from devcluster import ControlPlane, KubectlError
from devcluster.helm import HelmError
from devcluster.longrun import SetupError
from devcluster.monitoring_kinds import KINDS, find_monitoring_crds
from manifests.manifest_files import REPOSITORY, base_with, documents
from release.repository import CHART
from support.cluster import wait_until

MONITOR, RULE = ("ServiceMonitor", NAMESPACE, "cipher-operator"), ("PrometheusRule", NAMESPACE, "cipher-operator")
STRICT = ("apply", "--server-side", "--validate=strict", "--force-conflicts", "-f", "-")
FENCES = {"cipher-operator-fence", "cipherstorage-safe-upgrades"}
ON = {
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "interval": "1m"},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "grafanaDashboard": {"enabled": True},
    "kubeStateMetrics": {"enabled": True},
    "admissionPolicies": {"fence": True, "safeUpgrades": True},
}


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """A control plane with the kinds of the Prometheus operator, and the namespace that both ways install into."""
    try:
        files = find_monitoring_crds()
    except SetupError as error:
        pytest.skip(str(error))
    with ControlPlane(controller_manager=False) as running:
        _install(running, files)
        running.kubectl("create", "namespace", NAMESPACE)
        yield running


def _install(plane: ControlPlane, files: tuple[Path, ...]) -> None:
    plane.kubectl("apply", "--server-side", *(part for each in files for part in ("-f", str(each))))
    names = [f"crd/{kind}.monitoring.coreos.com" for kind in KINDS]
    plane.kubectl("wait", "--for=condition=Established", "--timeout=20s", *names)


def _of_the_manifests(folder: Path) -> Objects:
    """Return the CRDs and the base with monitoring and fences, as a user's own repository has them."""
    base_with("monitoring", folder)
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    kustomization["resources"] += [os.path.relpath(REPOSITORY / "crds", folder)]
    kustomization["components"] += [each.replace("/monitoring", "/admission") for each in kustomization["components"]]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return by_name(documents(ControlPlane().kubectl("kustomize", str(folder))))


def _of_the_chart(folder: Path) -> Objects:
    return rendered(helm_of(4, folder), ON, folder / "values.yaml")


@pytest.fixture(scope="module", params=[_of_the_manifests, _of_the_chart], ids=["manifests", "chart"])
def wanted(request: pytest.FixtureRequest, plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """What one way installs, with monitoring and fences; it is there once."""
    make: Callable[[Path], Objects] = request.param
    objects = make(tmp_path_factory.mktemp("installed"))
    assert {MONITOR, RULE} <= objects.keys()
    assert {name for kind, _, name in objects if kind == "ValidatingAdmissionPolicyBinding"} == FENCES
    plane.kubectl(*STRICT, input=yaml.safe_dump_all(objects.values()))
    return objects


def _versions(plane: ControlPlane) -> dict[str, str]:
    kinds = "servicemonitors,prometheusrules,configmaps"
    found = json.loads(plane.kubectl("get", kinds, "-n", NAMESPACE, "-o", "json"))["items"]
    return {f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["resourceVersion"] for each in found}


def test_applied_again_they_differ_in_nothing(plane: ControlPlane, wanted: Objects) -> None:
    before = _versions(plane)
    whole = yaml.safe_dump_all(wanted.values())
    assert plane.kubectl("diff", "--server-side", "--force-conflicts", "-f", "-", input=whole) == ""
    plane.kubectl(*STRICT, input=whole)
    assert _versions(plane) == before
    assert {"ServiceMonitor/cipher-operator", "PrometheusRule/cipher-operator"} <= before.keys()


def test_what_is_stored_is_what_was_sent(plane: ControlPlane, wanted: Objects) -> None:
    """Nothing is pruned; a default may be added."""
    for key in (MONITOR, RULE):
        stored = json.loads(plane.kubectl("get", key[0], key[2], "-n", NAMESPACE, "-o", "json"))
        assert _holds(stored["spec"], wanted[key]["spec"]), key


def _holds(stored: Any, sent: Any) -> bool:
    if isinstance(sent, dict):
        return all(name in stored and _holds(stored[name], value) for name, value in sent.items())
    if isinstance(sent, list):
        return len(stored) == len(sent) and all(map(_holds, stored, sent))
    return bool(stored == sent)


def test_with_our_fences_their_crds_are_renewed(plane: ControlPlane, wanted: Objects) -> None:
    older = deepcopy(wanted["CustomResourceDefinition", "", "cipherstorages.storage.cipher.dev"])
    older["metadata"]["annotations"]["storage.cipher.dev/version"] = "0.0.1"

    def refused() -> bool:
        try:
            plane.kubectl(*STRICT, "--dry-run=server", input=yaml.safe_dump(older))
        except KubectlError as error:
            return "older than" in error.stderr
        return False

    wait_until(refused, "the fence is in force")
    _install(plane, find_monitoring_crds())


def _at(spec: Any, path: str, value: Any) -> None:
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in steps:
        spec = spec[step]
    spec[last] = value


WRONG = {
    "a field that there is not": (MONITOR, "endpoints.0.intervall", "1m", "intervall"),
    "a time that is none": (MONITOR, "endpoints.0.interval", "soon", "spec.endpoints[0].interval"),
    "a selector that is a list": (MONITOR, "selector", [], "spec.selector"),
    "an alert's field that there is not": (RULE, "groups.0.rules.0.expression", "up", "expression"),
    "an alert after no time": (RULE, "groups.0.rules.0.for", "soon", "spec.groups[0].rules[0].for"),
    "a label that is a number": (RULE, "groups.0.rules.0.labels.severity", 1, "severity"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_field_is_refused(plane: ControlPlane, wanted: Objects, case: str) -> None:
    key, path, value, said = WRONG[case]
    broken = deepcopy(wanted[key])
    _at(broken["spec"], path, value)
    with pytest.raises(KubectlError) as refused:
        plane.kubectl(*STRICT, "--dry-run=server", input=yaml.safe_dump(broken))
    assert said in refused.value.stderr


@pytest.mark.parametrize("major", [3, 4])
def test_helm_refuses_them_in_a_cluster_without_their_kinds(
    major: int, plane: ControlPlane, control_plane: ControlPlane, tmp_path: Path
) -> None:
    # The names of what is cluster-wide are taken by others: those are not rendered.
    off = ("crds.enabled=false", "rbac.create=false", "rbac.aggregateClusterRoles=false")
    given = ("serviceMonitor.enabled=true", "prometheusRule.enabled=true", *off)
    flags = ("--dry-run=server", *(part for each in given for part in ("--set", each)))

    def install(into: ControlPlane, namespace: str) -> str:
        helm = replace(helm_of(major, tmp_path), kubeconfig=into.kubeconfig)
        return helm("install", namespace, str(CHART), "--namespace", namespace, *flags)

    plane.kubectl("create", "namespace", f"helm{major}")
    assert "kind: ServiceMonitor" in install(plane, f"helm{major}")
    with pytest.raises(HelmError, match=r"enabled needs the CRDs of the Prometheus operator"):
        install(control_plane, "default")
