"""The operator may do what its code does, and nothing else."""

from __future__ import annotations

import ast
import json
import time
from typing import Any, NamedTuple

import pytest

from devcluster import ControlPlane
from manifests.manifest_files import REPOSITORY, documents

ACCOUNT = "system:serviceaccount:cipher-system:cipher-operator"
_CODE = REPOSITORY / "operator" / "cipher_operator"
_INFORMER = "kopf's informer"
_REFLECTOR = "the reflector"


class Right(NamedTuple):
    """A verb on a resource."""

    group: str
    resource: str
    verb: str
    only: str = ""


def _id(right: Right) -> str:
    return "-".join(filter(None, right))


# Each right with what needs it: `file.py method` is a request in the code.
ALLOWED: dict[Right, set[str]] = {
    Right("storage.cipher.dev", "cipherstorages", "get"): {"objects.py get", "finalizers.py get"},
    Right("storage.cipher.dev", "cipherstorages", "list"): {_INFORMER, _REFLECTOR, "objects.py get"},
    Right("storage.cipher.dev", "cipherstorages", "watch"): {_INFORMER, _REFLECTOR},
    Right("storage.cipher.dev", "cipherstorages", "patch"): {"finalizers.py patch"},
    Right("storage.cipher.dev", "cipherstorages/status", "patch"): {"objects.py patch"},
    Right("storage.cipher.dev", "cipherstorages/finalizers", "update"): {"ownerReferences with blockOwnerDeletion"},
    Right("storage.cipher.dev", "cipherservers", "get"): {"objects.py get", "finalizers.py get"},
    Right("storage.cipher.dev", "cipherservers", "list"): {_REFLECTOR, "objects.py get"},
    Right("storage.cipher.dev", "cipherservers", "watch"): {_REFLECTOR},
    Right("storage.cipher.dev", "cipherservers", "patch"): {"finalizers.py patch"},
    Right("storage.cipher.dev", "cipherservers/status", "patch"): {"objects.py patch"},
    Right("", "secrets", "get"): {"objects.py get", "finalizers.py get"},
    Right("", "secrets", "list"): {_REFLECTOR},
    Right("", "secrets", "watch"): {_REFLECTOR},
    Right("", "secrets", "create"): {"secrets.py post"},
    Right("", "secrets", "update"): {"secrets.py put"},
    Right("", "secrets", "patch"): {"finalizers.py patch"},
    Right("", "configmaps", "get"): {"objects.py get"},
    Right("", "configmaps", "list"): {_REFLECTOR},
    Right("", "configmaps", "watch"): {_REFLECTOR},
    Right("events.k8s.io", "events", "create"): {"events.py post"},
    Right("events.k8s.io", "events", "patch"): {"events.py patch"},
    Right("", "namespaces", "list"): {_REFLECTOR},
    Right("", "namespaces", "watch"): {_REFLECTOR},
    # Kubernetes counts a repeated event up by a patch; clients are expected to hold both.
    Right("", "namespaces", "get", "kube-system"): {"operator.py get"},
}


LEASES: dict[Right, set[str]] = {
    Right("coordination.k8s.io", "leases", "create"): {"leases.py post"},
    Right("coordination.k8s.io", "leases", "get", "cipher-operator"): {"leases.py get"},
    Right("coordination.k8s.io", "leases", "update", "cipher-operator"): {"leases.py put"},
}
"""In the operator's own namespace."""

FOR_EVERYBODY = {"parts.py get", "kinds.py get", "rights.py post"}
"""`/version`, discovery and the question which rights one has: whoever is logged in may ask."""


@pytest.fixture(scope="module")
def roles(control_plane: ControlPlane) -> dict[str, dict[str, Any]]:
    """The ClusterRoles of manifests/base by name."""
    built = documents(control_plane.kubectl("kustomize", str(REPOSITORY / "manifests" / "base")))
    return {each["metadata"]["name"]: each for each in built if each["kind"] == "ClusterRole"}


def _rights(role: dict[str, Any]) -> list[Right]:
    return [
        Right(group, resource, verb, name)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    ]


def test_the_role_is_the_allow_list(roles: dict[str, dict[str, Any]]) -> None:
    rights = _rights(roles["cipher-operator"])
    assert sorted(rights) == sorted(ALLOWED)


def test_the_role_in_its_own_namespace_is_the_list_of_leases(control_plane: ControlPlane) -> None:
    built = documents(control_plane.kubectl("kustomize", str(REPOSITORY / "manifests" / "base")))
    (role,) = (each for each in built if each["kind"] == "Role")
    assert sorted(_rights(role)) == sorted(LEASES)


def test_no_wildcard_and_no_escalation(roles: dict[str, dict[str, Any]]) -> None:
    for name, role in roles.items():
        for right in _rights(role):
            assert "*" not in right, name
            assert right.verb not in {"escalate", "bind", "impersonate"}, name
            assert right.group != "rbac.authorization.k8s.io", name


def test_every_request_has_its_right_and_every_right_its_request() -> None:
    requests = {
        f"{path.name} {call.func.attr}"
        for path in _CODE.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "kube"
        and call.func.attr in {"get", "post", "put", "patch", "delete"}
    }
    listed = {reason for reasons in (*ALLOWED.values(), *LEASES.values()) for reason in reasons if ".py " in reason}
    assert requests == listed | FOR_EVERYBODY


@pytest.mark.parametrize(
    "right",
    [
        Right("", "secrets", "delete"),
        Right("", "secrets", "deletecollection"),
        Right("storage.cipher.dev", "cipherstorages", "create"),
        Right("storage.cipher.dev", "cipherstorages", "update"),
        Right("storage.cipher.dev", "cipherstorages", "delete"),
        Right("storage.cipher.dev", "cipherstorages/status", "update"),
        Right("storage.cipher.dev", "cipherservers", "create"),
        Right("storage.cipher.dev", "cipherservers", "update"),
        Right("storage.cipher.dev", "cipherservers", "delete"),
        Right("storage.cipher.dev", "cipherservers/status", "update"),
        Right("apiextensions.k8s.io", "customresourcedefinitions", "list"),
        Right("apiextensions.k8s.io", "customresourcedefinitions", "watch", "cipherstorages.storage.cipher.dev"),
        Right("apiextensions.k8s.io", "customresourcedefinitions", "create"),
        Right("", "namespaces", "get", "default"),
        Right("", "namespaces", "patch"),
        Right("", "pods", "create"),
        Right("", "pods/exec", "create"),
        Right("", "serviceaccounts/token", "create"),
        Right("", "configmaps", "update"),
        Right("", "configmaps", "patch"),
        Right("rbac.authorization.k8s.io", "clusterrolebindings", "create"),
        Right("", "nodes", "get"),
        Right("coordination.k8s.io", "leases", "get", "cipher-operator"),
    ],
    ids=_id,
)
def test_the_api_server_refuses_the_rest(installed: ControlPlane, right: Right) -> None:
    assert not _allowed(installed, ACCOUNT, right)


@pytest.mark.parametrize("right", ALLOWED, ids=_id)
def test_the_api_server_grants_what_is_listed(installed: ControlPlane, right: Right) -> None:
    assert _allowed(installed, ACCOUNT, right)


@pytest.mark.parametrize("right", LEASES, ids=_id)
def test_leases_are_granted_in_its_own_namespace(installed: ControlPlane, right: Right) -> None:
    assert _allowed(installed, ACCOUNT, right, "cipher-system")
    assert not _allowed(installed, ACCOUNT, right, "kube-system")


@pytest.mark.parametrize(
    "right",
    [
        Right("coordination.k8s.io", "leases", "list"),
        Right("coordination.k8s.io", "leases", "watch", "cipher-operator"),
        Right("coordination.k8s.io", "leases", "delete", "cipher-operator"),
        Right("coordination.k8s.io", "leases", "update", "another"),
    ],
    ids=_id,
)
def test_no_more_of_leases_is_granted(installed: ControlPlane, right: Right) -> None:
    assert not _allowed(installed, ACCOUNT, right, "cipher-system")


@pytest.mark.parametrize(
    ("role", "resource", "verb", "expected"),
    [
        ("view", "cipherstorages", "list", True),
        ("view", "cipherstorages", "create", False),
        ("edit", "cipherstorages", "create", True),
        ("edit", "cipherstorages", "deletecollection", True),
        ("admin", "cipherstorages", "patch", True),
        ("admin", "cipherstorages/status", "patch", False),
    ],
)
def test_peoples_roles_are_aggregated(
    installed: ControlPlane, namespace: str, role: str, resource: str, verb: str, expected: bool
) -> None:
    person = f"{role}-of-{namespace}"
    installed.kubectl("create", "rolebinding", person, f"--clusterrole={role}", f"--user={person}", "-n", namespace)
    right = Right("storage.cipher.dev", resource, verb)
    deadline = time.monotonic() + (10 if expected else 0)
    # The controller manager aggregates, and the API server notices, a moment later.
    while not (answer := _allowed(installed, person, right, namespace)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answer == expected


@pytest.mark.parametrize(
    ("role", "verb", "expected"),
    [
        ("view", "list", True),
        ("view", "create", False),
        ("edit", "get", True),
        ("edit", "create", False),
        ("admin", "watch", True),
        ("admin", "patch", False),
        ("cipherserver-viewer", "get", True),
        ("cipherserver-viewer", "patch", False),
        ("cipherserver-admin", "create", True),
        ("cipherserver-admin", "deletecollection", True),
    ],
)
def test_who_sees_servers_and_who_changes_them(
    installed: ControlPlane, namespace: str, role: str, verb: str, expected: bool
) -> None:
    """By a binding in the whole cluster. One in a namespace gives nothing of what is in none."""
    person, tenant = f"{role}-{verb}-of-{namespace}", f"{role}-{verb}-in-{namespace}"
    binding = f"{namespace}-{role}-{verb}"
    installed.kubectl("create", "clusterrolebinding", binding, f"--clusterrole={role}", f"--user={person}")
    installed.kubectl("create", "rolebinding", binding, f"--clusterrole={role}", f"--user={tenant}", "-n", namespace)
    right = Right("storage.cipher.dev", "cipherservers", verb)
    try:
        deadline = time.monotonic() + (10 if expected else 0)
        while not (answer := _allowed(installed, person, right)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert answer == expected
        assert not _allowed(installed, tenant, right)
        assert not _allowed(installed, person, Right("storage.cipher.dev", "cipherservers/status", "patch"))
    finally:
        installed.kubectl("delete", "clusterrolebinding", binding)


def test_the_servers_admin_is_aggregated_to_nothing(roles: dict[str, dict[str, Any]]) -> None:
    labels = roles["cipherserver-admin"]["metadata"]["labels"]
    assert not [label for label in labels if label.startswith("rbac.authorization.k8s.io/")]


def _allowed(plane: ControlPlane, user: str, right: Right, namespace: str = "") -> bool:
    resource, _, subresource = right.resource.partition("/")
    attributes = {
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
        "verb": right.verb,
        "name": right.only,
        "namespace": namespace,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": attributes},
    }
    answer = plane.client().request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(json.loads(answer)["status"]["allowed"])
