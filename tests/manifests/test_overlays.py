"""manifests/overlays and manifests/components: what they make of the base."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster import ControlPlane
from manifests.manifest_files import REPOSITORY, base_with, documents

MANIFESTS = REPOSITORY / "manifests"
RESTRICTED = MANIFESTS / "overlays" / "restricted-namespace"
SERVERS_ONLY = MANIFESTS / "overlays" / "servers-only"
ADMISSION, POLICY = MANIFESTS / "components" / "admission", "servers-only.yaml"
DATABASE_PORTS = {5432, 6432, 6543}


def _built(plane: ControlPlane, folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    built = documents(plane.kubectl("kustomize", str(folder)))
    return {(each["kind"], each["metadata"]["name"]): each for each in built}


def _container(built: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    (container,) = built["Deployment", "cipher-operator"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def _rules(role: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_restricted_is_the_base_without_what_takes_rights_of_the_cluster(control_plane: ControlPlane) -> None:
    base, restricted = _built(control_plane, MANIFESTS / "base"), _built(control_plane, RESTRICTED)
    assert {kind for kind, _ in base.keys() - restricted.keys()} == {"ClusterRole", "ClusterRoleBinding", "Namespace"}
    assert restricted.keys() <= base.keys()
    assert not {kind for kind, _ in restricted} & {"ClusterRole", "ClusterRoleBinding", "Namespace"}


@pytest.mark.parametrize("path", sorted(MANIFESTS.rglob("kustomization.yaml")), ids=lambda path: path.parent.name)
def test_a_patch_is_one_document(path: Path) -> None:
    """Kustomize before 5.7, which kubectl has before 1.34, crashes where one that deletes has more."""
    for patch in documents(path.read_text())[0].get("patches", []):
        text = patch["patch"] if "patch" in patch else (path.parent / patch["path"]).read_text()
        assert len(documents(text)) == 1, patch


def test_without_its_config_map_no_pod_starts(control_plane: ControlPlane) -> None:
    environment = _container(_built(control_plane, RESTRICTED))["env"]
    given = {each["name"]: each["valueFrom"].get("configMapKeyRef") for each in environment}
    assert given["CIPHER_OPERATOR_NAMESPACE"] == {"name": "cipher-operator", "key": "namespaces"}
    assert given["CIPHER_OPERATOR_INSTANCE_ID"] == {"name": "cipher-operator", "key": "instance-id"}


def test_a_served_namespace_gives_what_the_cluster_role_gives_of_namespaces(control_plane: ControlPlane) -> None:
    served = _built(control_plane, RESTRICTED / "served")
    role = served["Role", "cipher-operator-storages"]
    whole = _rules(_built(control_plane, MANIFESTS / "base")["ClusterRole", "cipher-operator"])
    of_the_cluster = {"namespaces", "cipherservers", "cipherservers/status"}
    assert _rules(role) == {rule for rule in whole if rule[1] not in of_the_cluster}
    (subject,) = served["RoleBinding", "cipher-operator-storages"]["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": "cipher-operator", "namespace": "cipher-system"}
    # `kubectl -n` decides.
    assert all("namespace" not in each["metadata"] for each in served.values())


@pytest.fixture
def with_component(control_plane: ControlPlane, tmp_path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The base with the network policy, as a user's own kustomization adds it."""
    base_with("network-policy", tmp_path)
    return _built(control_plane, tmp_path)


def test_the_network_policy_names_ports_and_pods_of_the_deployment(
    with_component: dict[tuple[str, str], dict[str, Any]], installed: ControlPlane, tmp_path: Path
) -> None:
    policy = with_component["NetworkPolicy", "cipher-operator"]["spec"]
    deployment = with_component["Deployment", "cipher-operator"]["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= deployment["metadata"]["labels"].items()
    ports = {port["name"] for port in _container(with_component)["ports"]}
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == ports
    reached = [{port["port"] for port in rule["ports"]} for rule in policy["egress"]]
    assert reached == [{53}, {443, 6443}, DATABASE_PORTS]
    installed.kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-k", str(tmp_path))


APPLIED = {
    "base": MANIFESTS / "base",
    "crds": REPOSITORY / "crds",
    "restricted-namespace": RESTRICTED,
    "servers-only": SERVERS_ONLY,
}


@pytest.fixture
def afterwards(installed: ControlPlane) -> Iterator[None]:
    """The control plane is shared with tests of the base."""
    yield
    folders = {SERVERS_ONLY: ("secrets.yaml", POLICY), ADMISSION: ("fence.yaml", "safe-upgrades.yaml")}
    added = [folder / name for folder, files in folders.items() for name in files]
    installed.kubectl("delete", "--ignore-not-found", *(word for each in added for word in ("-f", str(each))))
    installed.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(APPLIED["base"]))


@pytest.mark.usefixtures("afterwards")
@pytest.mark.parametrize("server_side", [False, True], ids=["client-side", "server-side"])
@pytest.mark.parametrize("name", APPLIED)
def test_applied_twice_there_is_no_difference(installed: ControlPlane, name: str, server_side: bool) -> None:
    flags = ("--server-side", "--field-manager=twice", "--force-conflicts") if server_side else ()
    for _ in range(2):
        installed.kubectl("apply", *flags, "-k", str(APPLIED[name]))
    assert installed.kubectl("diff", *flags, "-k", str(APPLIED[name])) == ""


@pytest.mark.cluster
def test_who_goes_over_to_server_side_apply_meets_no_conflict(tmp_path: Path) -> None:
    """What the API server takes as one, and completes with defaults, is said in full; else a part of it is a change."""
    base_with("network-policy", tmp_path)
    with ControlPlane() as plane:
        plane.kubectl("apply", "-k", str(REPOSITORY / "crds"))
        for folder in (tmp_path, RESTRICTED, SERVERS_ONLY):
            plane.kubectl("apply", "-k", str(folder))
            plane.kubectl("apply", "--server-side", "-k", str(folder))
            assert plane.kubectl("diff", "--server-side", "-k", str(folder)) == ""
            plane.kubectl("delete", "deployment/cipher-operator", "--namespace=cipher-system")
