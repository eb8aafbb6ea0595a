"""The comparison of rights and requests sees each difference: what tests/e2e/test_rights.py stands on."""

from dataclasses import replace
from typing import Any

import pytest

from devcluster.audit import Request
from support.rights import Right, compare, granted

READ = Right("", "secrets", "get")
LEASE = Right("coordination.k8s.io", "leases", "update", "cipher-system", "cipher-operator")
GET = Request("get", "", "secrets", "team", "pg-admin", "/api/v1/namespaces/team/secrets/pg-admin", 200, "")
RENEW = Request(
    "update", "coordination.k8s.io", "leases", "cipher-system", "cipher-operator", "/apis/coordination.k8s.io", 200, ""
)
DISCOVERY = Request("get", "", "", "", "", "/apis", 200, "")

DIFFERENCES: dict[str, tuple[set[Right], list[Request], tuple[int, int, int]]] = {
    "each right used, each request with its right": ({READ, LEASE}, [GET, RENEW, DISCOVERY], (0, 0, 0)),
    "a right that nothing uses": ({READ, LEASE}, [GET], (1, 0, 0)),
    "a verb that nobody gave": ({READ}, [GET, replace(GET, verb="delete")], (0, 1, 0)),
    "another resource": ({READ}, [GET, replace(GET, resource="configmaps")], (0, 1, 0)),
    "a resource of that name in another group": ({READ}, [GET, replace(GET, group="example.com")], (0, 1, 0)),
    "a subresource": ({READ}, [GET, replace(GET, resource="secrets/status")], (0, 1, 0)),
    "the same in another namespace": ({LEASE}, [RENEW, replace(RENEW, namespace="team")], (0, 1, 0)),
    "the same under another name": ({LEASE}, [RENEW, replace(RENEW, name="other")], (0, 1, 0)),
    "a refusal of what is given": ({READ}, [GET, replace(GET, code=403)], (0, 0, 1)),
    "a refused token": ({READ}, [GET, replace(DISCOVERY, code=401)], (0, 0, 1)),
    "an answer that is no refusal": ({READ}, [GET, replace(GET, code=404)], (0, 0, 0)),
}


@pytest.mark.parametrize("case", DIFFERENCES)
def test_each_difference_is_seen(case: str) -> None:
    rights, requests, expected = DIFFERENCES[case]
    found = compare(rights, requests)
    assert (len(found.unused), len(found.beyond), len(found.refused)) == expected, str(found)
    assert found.equal == (expected == (0, 0, 0))


def test_a_failure_names_both_sets() -> None:
    said = str(compare({READ, LEASE}, [GET, replace(GET, verb="delete", code=403, said="forbidden: no")]))
    assert "granted, not used:\n  leases update (coordination.k8s.io) in=cipher-system only=cipher-operator" in said
    assert "used:\n  secrets get\n" in said
    assert "refused:\n  403 delete /api/v1/namespaces/team/secrets/pg-admin: forbidden: no" in said


def _role(kind: str, verb: str, **metadata: str) -> dict[str, Any]:
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": [verb]}]
    return {"kind": kind, "metadata": {"name": f"{kind}-{verb}", **metadata}, "rules": rules}


def _binding(kind: str, role: dict[str, Any], account: str, **metadata: str) -> dict[str, Any]:
    subject = {"kind": "ServiceAccount", "name": account, "namespace": "home"}
    ref = {"kind": role["kind"], "name": role["metadata"]["name"]}
    return {"kind": kind, "metadata": {"name": "any", **metadata}, "roleRef": ref, "subjects": [subject]}


def test_what_is_bound_is_granted_where_it_is_bound() -> None:
    whole, local, unbound, others = (
        _role("ClusterRole", "get"),
        _role("Role", "update", namespace="home"),
        _role("ClusterRole", "delete"),
        _role("ClusterRole", "list"),
    )
    bindings = [
        _binding("ClusterRoleBinding", whole, "ours"),
        _binding("RoleBinding", local, "ours", namespace="home"),
        _binding("RoleBinding", whole, "ours", namespace="team"),
        _binding("ClusterRoleBinding", others, "another"),
    ]
    assert granted([whole, local, unbound, others, *bindings], "home", "ours") == {
        Right("", "secrets", "get"),
        Right("", "secrets", "update", "home"),
        Right("", "secrets", "get", "team"),
    }
