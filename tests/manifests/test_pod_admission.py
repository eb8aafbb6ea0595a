"""The operator's Pod under the rules of clusters as they are: Pod Security `restricted`, OpenShift's restricted-v2."""

from __future__ import annotations

import copy
import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devcluster import ControlPlane, KubectlError
from manifests.manifest_files import REPOSITORY, documents

Pod = dict[str, Any]
POLICY = REPOSITORY / "tests" / "manifests" / "restricted_v2.yaml"
POD_SECURITY, RESTRICTED_V2 = "Pod Security restricted", "OpenShift's restricted-v2"
LABELS = {
    POD_SECURITY: "pod-security.kubernetes.io/enforce=restricted",
    RESTRICTED_V2: "scc=restricted-v2",
}


@pytest.fixture(scope="module")
def pod(control_plane: ControlPlane) -> Pod:
    """The Pod that the Deployment of manifests/base makes."""
    built = documents(control_plane.kubectl("kustomize", str(REPOSITORY / "manifests" / "base")))
    template = next(each for each in built if each["kind"] == "Deployment")["spec"]["template"]
    # The account is the namespace's own; another test shows that it is there.
    spec = {key: value for key, value in template["spec"].items() if key != "serviceAccountName"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator"}, "spec": spec}


@pytest.fixture(scope="module")
def namespaces(control_plane: ControlPlane, pod: Pod) -> Iterator[dict[str, str]]:
    """A namespace under each rule, when the rule is in force."""
    control_plane.kubectl("apply", "-f", str(POLICY))
    made = {}
    for rule, label in LABELS.items():
        made[rule] = f"admission-{secrets.token_hex(4)}"
        control_plane.kubectl("create", "namespace", made[rule])
        control_plane.kubectl("label", "namespace", made[rule], label)
        _wait_until_in_force(control_plane, made[rule], pod)
    yield made
    for name in made.values():
        control_plane.kubectl("delete", "namespace", name, "--wait=false")
    control_plane.kubectl("delete", "-f", str(POLICY))


def _wait_until_in_force(plane: ControlPlane, namespace: str, pod: Pod) -> None:
    lax = copy.deepcopy(pod)
    _as_root(lax)
    deadline = time.monotonic() + 20
    # The API server takes a policy up a moment after it was made.
    while not _refusal(plane, namespace, lax):
        assert time.monotonic() < deadline, "the rule does not come into force"
        time.sleep(0.2)


def _refusal(plane: ControlPlane, namespace: str, pod: Pod) -> str:
    """Return why the API server would not take a Pod, empty where it would."""
    try:
        plane.kubectl("-n", namespace, "create", "--dry-run=server", "-f", "-", input=json.dumps(pod))
    except KubectlError as error:
        return error.stderr
    return ""


def _as_root(pod: Pod) -> None:
    pod["spec"]["securityContext"] = {"runAsUser": 0}


def _may_escalate(pod: Pod) -> None:
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True


def _of_the_node(pod: Pod) -> None:
    pod["spec"]["volumes"].append({"name": "node", "hostPath": {"path": "/"}})


def _fixed_uid(pod: Pod) -> None:
    pod["spec"]["securityContext"]["runAsUser"] = 65532


def _fixed_uid_of_the_container(pod: Pod) -> None:
    pod["spec"]["containers"][0]["securityContext"]["runAsUser"] = 65532


def _fixed_group(pod: Pod) -> None:
    pod["spec"]["securityContext"]["fsGroup"] = 65532


REFUSED = [
    (POD_SECURITY, _as_root, "violates PodSecurity"),
    (POD_SECURITY, _may_escalate, "violates PodSecurity"),
    (POD_SECURITY, _of_the_node, "violates PodSecurity"),
    (RESTRICTED_V2, _as_root, "runAsUser: must be in the ranges"),
    (RESTRICTED_V2, _may_escalate, "privilege escalation"),
    (RESTRICTED_V2, _of_the_node, "volumes: this kind"),
    (RESTRICTED_V2, _fixed_uid, "runAsUser: must be in the ranges"),
    (RESTRICTED_V2, _fixed_uid_of_the_container, "containers' runAsUser: must be in the ranges"),
    (RESTRICTED_V2, _fixed_group, "fsGroup"),
]


@pytest.mark.parametrize(
    ("rule", "change", "said"), REFUSED, ids=[f"{rule}: {each.__name__[1:]}" for rule, each, _ in REFUSED]
)
def test_the_rule_is_really_in_force(
    control_plane: ControlPlane,
    namespaces: dict[str, str],
    pod: Pod,
    rule: str,
    change: Callable[[Pod], None],
    said: str,
) -> None:
    lax = copy.deepcopy(pod)
    change(lax)
    assert said in _refusal(control_plane, namespaces[rule], lax)


@pytest.mark.parametrize("rule", LABELS)
def test_the_operators_pod_is_admitted(
    control_plane: ControlPlane, namespaces: dict[str, str], pod: Pod, rule: str
) -> None:
    assert _refusal(control_plane, namespaces[rule], pod) == ""


def test_no_uid_and_no_group_is_fixed_anywhere_in_the_base(pod: Pod) -> None:
    contexts = [pod["spec"]["securityContext"], *(each["securityContext"] for each in pod["spec"]["containers"])]
    for context in contexts:
        assert not {"runAsUser", "runAsGroup", "fsGroup", "supplementalGroups"} & set(context)
    assert contexts[0]["runAsNonRoot"] is True
