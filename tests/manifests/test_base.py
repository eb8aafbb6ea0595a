"""manifests/base: what it holds, and that it runs under the restricted Pod Security level."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from cipher_operator import __version__
from cipher_operator.kube.leases import LEASE_NAME
from devcluster import ControlPlane, KubectlError
from manifests.manifest_files import REPOSITORY, documents

_EXPECTED = {
    ("Namespace", "cipher-system"),
    ("ServiceAccount", "cipher-operator"),
    ("ClusterRole", "cipher-operator"),
    ("ClusterRole", "cipherserver-admin"),
    ("ClusterRole", "cipherserver-viewer"),
    ("ClusterRole", "cipherstorage-editor"),
    ("ClusterRole", "cipherstorage-servicebinding"),
    ("ClusterRole", "cipherstorage-viewer"),
    ("ClusterRoleBinding", "cipher-operator"),
    ("Deployment", "cipher-operator"),
    ("PodDisruptionBudget", "cipher-operator"),
    ("Role", "cipher-operator"),
    ("RoleBinding", "cipher-operator"),
    ("Service", "cipher-operator-metrics"),
}


@pytest.fixture(scope="module")
def base(control_plane: ControlPlane) -> list[dict[str, Any]]:
    """What kustomize makes of manifests/base."""
    return documents(control_plane.kubectl("kustomize", str(REPOSITORY / "manifests" / "base")))


def _deployment(base: list[dict[str, Any]]) -> dict[str, Any]:
    return next(each for each in base if each["kind"] == "Deployment")


def _pod(base: list[dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = _deployment(base)["spec"]["template"]["spec"]
    return spec


def test_builds_exactly_these_objects(base: list[dict[str, Any]]) -> None:
    assert {(each["kind"], each["metadata"]["name"]) for each in base} == _EXPECTED


def test_crd_is_not_in_the_base_so_that_removing_the_operator_keeps_the_storages(base: list[dict[str, Any]]) -> None:
    assert "CustomResourceDefinition" not in {each["kind"] for each in base}


def test_image_tag_is_the_version(base: list[dict[str, Any]]) -> None:
    assert _pod(base)["containers"][0]["image"] == f"cipher-operator:{__version__}"


def test_two_replicas_of_which_one_may_always_take_over(base: list[dict[str, Any]]) -> None:
    spec = _deployment(base)["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    (container,) = _pod(base)["containers"]
    assert not any("leader" in argument for argument in container["args"]), "on by itself in a cluster"


def test_what_spreads_and_protects_the_pods_selects_them(base: list[dict[str, Any]]) -> None:
    labels = _deployment(base)["spec"]["template"]["metadata"]["labels"].items()
    budget = next(each for each in base if each["kind"] == "PodDisruptionBudget")["spec"]
    assert budget["selector"]["matchLabels"].items() <= labels
    assert budget["maxUnavailable"] == 1, "a drain is never held up for ever"
    spread = _pod(base)["topologySpreadConstraints"]
    assert {each["topologyKey"] for each in spread} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    for each in spread:
        assert each["labelSelector"]["matchLabels"].items() <= labels
        assert each["whenUnsatisfiable"] == "ScheduleAnyway", "a cluster of one node runs both"


def test_the_lease_is_in_the_pods_own_namespace(base: list[dict[str, Any]]) -> None:
    (container,) = _pod(base)["containers"]
    field = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    assert {"name": "POD_NAMESPACE", "valueFrom": field} in container["env"]
    role = next(each for each in base if each["kind"] == "Role")
    assert role["metadata"]["namespace"] == _deployment(base)["metadata"]["namespace"]
    assert {name for rule in role["rules"] for name in rule.get("resourceNames", ())} == {LEASE_NAME}


def test_root_filesystem_is_read_only_and_only_tmp_is_writable(base: list[dict[str, Any]]) -> None:
    (container,) = _pod(base)["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]


def test_probes_and_service_name_ports_that_exist(base: list[dict[str, Any]]) -> None:
    (container,) = _pod(base)["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"metrics": 8080, "health": 8081}
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: (probe["path"], probe["port"]) for name, probe in probes.items()} == {
        "startupProbe": ("/healthz", "health"),
        "livenessProbe": ("/healthz", "health"),
        "readinessProbe": ("/readyz", "health"),
    }
    service = next(each for each in base if each["kind"] == "Service")
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["metrics"]
    assert service["spec"]["selector"].items() <= _deployment(base)["spec"]["template"]["metadata"]["labels"].items()


def test_work_in_progress_may_end_before_the_kill(base: list[dict[str, Any]]) -> None:
    default_reconcile_timeout = 60
    assert _pod(base)["terminationGracePeriodSeconds"] > default_reconcile_timeout


def test_the_restricted_level_admits_the_operators_pod(installed: ControlPlane) -> None:
    deadline = time.monotonic() + 20
    while not (pods := json.loads(installed.kubectl("get", "pods", "-n", "cipher-system", "-o", "json"))["items"]):
        events = installed.kubectl("get", "events", "-n", "cipher-system")
        assert time.monotonic() < deadline, f"no Pod was made:\n{events}"
        time.sleep(0.1)
    assert pods[0]["spec"]["serviceAccountName"] == "cipher-operator"


def test_the_restricted_level_is_really_enforced(installed: ControlPlane) -> None:
    with pytest.raises(KubectlError, match='violates PodSecurity "restricted:latest"'):
        installed.kubectl("run", "lax", "-n", "cipher-system", "--image=lax", "--restart=Never")


def test_applying_again_changes_nothing(installed: ControlPlane) -> None:
    budget = ("get", "-n", "cipher-system", "pdb", "cipher-operator", "-o", "jsonpath={.metadata.generation}")
    before = installed.kubectl(*budget)
    said = installed.kubectl("apply", "-k", str(REPOSITORY / "manifests" / "base"))
    # kubectl always sends the selector of a budget again, because its patch strategy is to replace, and says so.
    words = dict(line.rsplit(" ", 1) for line in said.splitlines())
    assert words.pop("poddisruptionbudget.policy/cipher-operator") in ("unchanged", "configured")
    assert set(words.values()) == {"unchanged"}
    assert installed.kubectl(*budget) == before
