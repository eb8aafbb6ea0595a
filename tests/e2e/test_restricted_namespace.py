"""manifests/overlays/restricted-namespace: an operator of some namespaces, with no right in the rest of the cluster.

It lives behind the fences of manifests/components/admission, too.
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import ControlPlane, PostgresServer
from support.cluster import ROOT, Namespace, Operator, wait_until

OVERLAY = ROOT / "manifests" / "overlays" / "restricted-namespace"
USER = "system:serviceaccount:cipher-system:cipher-operator"
POLICY = f"""apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - {{level: Metadata, users: ["{USER}"]}}
  - {{level: None}}
"""
SERVED = ("team-a", "team-b")

Right = tuple[str, str, str]
"""Group, resource and verb."""

pytestmark = pytest.mark.cluster


class Ground:
    """A control plane on which nothing but the overlay is installed, and what the operator asked of it."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane, self.folder = plane, folder

    def requests(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "audit.log").read_text().splitlines()]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("restricted")
    (folder / "policy.yaml").write_text(POLICY)
    flags = (f"--audit-policy-file={folder / 'policy.yaml'}", f"--audit-log-path={folder / 'audit.log'}")
    with ControlPlane(apiserver_flags=flags) as plane:
        plane.kubectl("apply", "-k", str(ROOT / "crds"))
        plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
        plane.kubectl("create", "namespace", "cipher-system")
        plane.kubectl("apply", "-k", str(OVERLAY))
        for fence in ("fence.yaml", "safe-upgrades.yaml"):
            plane.kubectl("apply", "-f", str(ROOT / "manifests" / "components" / "admission" / fence))
        yield Ground(plane, folder)


def test_a_life_in_two_namespaces_with_no_request_elsewhere_and_none_refused(
    ground: Ground, postgres: PostgresServer
) -> None:
    plane = ground.plane
    teams = [Namespace(plane, name) for name in SERVED]
    other = Namespace(plane, "other")
    for name in SERVED:
        plane.kubectl("-n", name, "apply", "-k", str(OVERLAY / "served"))
    for each in (*teams, other):
        each.admin_secret(postgres)
    operator = Operator(
        plane, ground.folder, *(f"--namespace={name}" for name in SERVED), "--instance-id=restricted",
        "--leader-election", "--leader-election-namespace=cipher-system",
    ).start()  # fmt: skip
    try:
        other.storage("chat")
        for each, policy in zip(teams, ("Retain", "Delete"), strict=True):
            database = f"restricted_{each.name}".replace("-", "_")
            each.storage("chat", {"database": {"name": database}, "deletionPolicy": policy})
            each.wait_ready("chat")
        teams[0].delete("secrets", "chat-cipher")
        wait_until(lambda: teams[0].get("secrets", "chat-cipher"), "the app Secret is there again")
        teams[0].wait_ready("chat")
        before = teams[0].app_secret("chat")["username"]
        teams[0].annotate("chat", "rotate-requested-at", "1")
        wait_until(lambda: teams[0].app_secret("chat")["username"] != before, "the password is rotated")
        _drive_the_rest(teams[0], postgres)
        for each in teams:
            each.delete("cipherstorages", "chat")
            wait_until(lambda: each.get("cipherstorages", "chat") is None, "the storage is gone")  # noqa: B023
    finally:
        operator.stop()
    left = other.get("cipherstorages", "chat")
    assert left is not None
    assert left["status"] == {"observedGeneration": -1}

    asked = ground.requests()
    refused = [event["requestURI"] for event in asked if event["responseStatus"]["code"] in {401, 403, 422}]
    assert refused == []
    places = {event["objectRef"].get("namespace", "") for event in asked if "resource" in event.get("objectRef", {})}
    assert places == {*SERVED, "cipher-system"}
    assert _used(asked) == _granted(plane), "every right is used, and nothing else is asked for"
    at_home = {event["objectRef"]["resource"] for event in asked if _namespace(event) == "cipher-system"}
    assert at_home == {"leases"}


def _drive_the_rest(team: Namespace, postgres: PostgresServer) -> None:
    """Have happen what takes a right that nothing before did: a CA in a ConfigMap, and an Event that repeats."""
    ca = {"kind": "ConfigMap", "name": "ca", "key": "ca.crt"}
    team.request("POST", team.path("configmaps"), {"metadata": {"name": "ca"}, "data": {"ca.crt": "no certificate"}})
    connection = {"secretRef": {"name": "pg-admin"}, "sslMode": "verify-full", "caRef": ca}
    team.storage("tls", {"connection": connection, "app": {"caPath": "/ca.crt"}})
    team.wait_reason("tls", "TLSUntrusted")
    team.delete("cipherstorages", "tls")
    database = f"restricted_{team.name}".replace("-", "_")
    for number in range(2, 4):
        postgres.execute("DROP TABLE cipher_lists", database=database)
        team.annotate("chat", "reconcile-requested-at", str(number))
        wait_until(lambda: _stands(postgres, database), "the table is there again")


def _stands(postgres: PostgresServer, database: str) -> bool:
    return postgres.execute("SELECT to_regclass('public.cipher_lists')", database=database) != [(None,)]


def _used(asked: list[dict[str, Any]]) -> set[Right]:
    """Return what the API server's own log says was asked for."""
    used = set()
    for event in asked:
        if "resource" in (of := event.get("objectRef", {})):
            resource = "/".join(filter(None, (of["resource"], of.get("subresource"))))
            used.add((of.get("apiGroup", ""), resource, event["verb"]))
    return used


def _granted(plane: ControlPlane) -> set[Right]:
    """Return the rights that the manifests give, but for one that is asked for by admission alone."""
    given = set()
    for folder in (OVERLAY, OVERLAY / "served"):
        for each in yaml.safe_load_all(plane.kubectl("kustomize", str(folder))):
            for rule in each.get("rules", []) if each["kind"] == "Role" else []:
                given |= set(itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"]))
    return given - {("storage.cipher.dev", "cipherstorages/finalizers", "update")}


def test_no_right_of_the_cluster_is_asked_for(ground: Ground) -> None:
    built = ground.plane.kubectl("kustomize", str(OVERLAY))
    assert "kind: ClusterRole" not in built
    names = ground.plane.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name")
    assert "cipher" not in names


def _namespace(event: dict[str, Any]) -> str | None:
    place: str | None = event.get("objectRef", {}).get("namespace")
    return place
