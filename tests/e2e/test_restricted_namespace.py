"""manifests/overlays/restricted-namespace: an operator of some namespaces, with no right in the rest of the cluster.

It lives behind the fences of manifests/components/admission, too.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster import ControlPlane, PostgresServer
from manifests.manifest_files import documents
from support.cluster import ROOT, Namespace, Operator, wait_until
from support.rights import ASKED_BY_ADMISSION, Right, compare, granted

OVERLAY = ROOT / "manifests" / "overlays" / "restricted-namespace"
HOME, ACCOUNT = "cipher-system", "cipher-operator"
SERVED = ("team-a", "team-b")
UNPROCESSABLE = 422

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def ground() -> Iterator[ControlPlane]:
    """A control plane on which nothing but the overlay is installed."""
    with ControlPlane(audited=(f"system:serviceaccount:{HOME}:{ACCOUNT}",)) as plane:
        plane.kubectl("apply", "-k", str(ROOT / "crds"))
        plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
        plane.kubectl("create", "namespace", HOME)
        plane.kubectl("apply", "-k", str(OVERLAY))
        for fence in ("fence.yaml", "safe-upgrades.yaml"):
            plane.kubectl("apply", "-f", str(ROOT / "manifests" / "components" / "admission" / fence))
        yield plane


def test_a_life_in_two_namespaces_with_no_request_elsewhere_and_none_refused(
    ground: ControlPlane, postgres: PostgresServer, tmp_path: Path
) -> None:
    plane = ground
    teams = [Namespace(plane, name) for name in SERVED]
    other = Namespace(plane, "other")
    for name in SERVED:
        plane.kubectl("-n", name, "apply", "-k", str(OVERLAY / "served"))
    for each in (*teams, other):
        each.admin_secret(postgres)
    operator = Operator(
        plane, tmp_path, *(f"--namespace={name}" for name in SERVED), "--instance-id=restricted",
        "--leader-election", f"--leader-election-namespace={HOME}",
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

    asked = [each for each in plane.audit.requests() if each.resource]
    found = compare(_granted(plane) - ASKED_BY_ADMISSION, plane.audit.requests())
    assert found.equal, str(found)
    assert [f"{each.uri}: {each.said}" for each in asked if each.code == UNPROCESSABLE] == []
    assert {each.namespace for each in asked} == {*SERVED, HOME}
    assert {each.resource for each in asked if each.namespace == HOME} == {"leases"}


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


def _granted(plane: ControlPlane) -> frozenset[Right]:
    """Return the rights that the manifests give; those in a namespace that is served name none, as its Role does."""
    return frozenset().union(*(granted(_built(plane, each), HOME, ACCOUNT) for each in (OVERLAY, OVERLAY / "served")))


def _built(plane: ControlPlane, folder: Path) -> list[dict[str, Any]]:
    return documents(plane.kubectl("kustomize", str(folder)))


def test_no_right_of_the_cluster_is_asked_for(ground: ControlPlane) -> None:
    built = ground.kubectl("kustomize", str(OVERLAY))
    assert "kind: ClusterRole" not in built
    names = ground.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name")
    assert "cipher" not in names
