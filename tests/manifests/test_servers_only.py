"""manifests/overlays/servers-only: which Secrets the operator reads where all storages name a CipherServer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster import ControlPlane, KubectlError
from manifests.manifest_files import REPOSITORY, documents
from support.rights import Right, granted

OVERLAYS = REPOSITORY / "manifests" / "overlays"
OVERLAY = OVERLAYS / "servers-only"
HOME, ACCOUNT = "cipher-system", "cipher-operator"
POLICY = "ValidatingAdmissionPolicy cipherstorage-servers-only"
SERVED = {"connection": {"serverRef": {"name": "eu"}}}
OWN = {"connection": {"secretRef": {"name": "pg-admin"}}}


def _granted(plane: ControlPlane, folder: Path) -> frozenset[Right]:
    return granted(documents(plane.kubectl("kustomize", str(folder))), HOME, ACCOUNT)


def test_it_is_the_base_but_for_secrets(control_plane: ControlPlane) -> None:
    base = _granted(control_plane, REPOSITORY / "manifests" / "base")
    overlay = _granted(control_plane, OVERLAY)
    assert {right for right in base ^ overlay if right.resource != "secrets"} == set()
    assert {(each.verb, each.namespace) for each in overlay if each.resource == "secrets"} == {
        *((verb, HOME) for verb in ("get", "list", "watch", "patch")),
        *((verb, "") for verb in ("get", "create", "update")),
    }


def test_the_fence_is_in_it(control_plane: ControlPlane) -> None:
    built = documents(control_plane.kubectl("kustomize", str(OVERLAY)))
    policies = {each["metadata"]["name"] for each in built if each["kind"] == "ValidatingAdmissionPolicyBinding"}
    assert policies == {"cipher-operator-fence", "cipherstorage-safe-upgrades", "cipherstorage-servers-only"}


@pytest.fixture(scope="module")
def ground() -> Iterator[ControlPlane]:
    """A control plane of its own, as this overlay takes rights away that the others give; a namespace `team`."""
    with ControlPlane() as plane:
        plane.kubectl("apply", "-k", str(REPOSITORY / "crds"))
        plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
        plane.kubectl("create", "namespace", "team")
        plane.kubectl("-n", "team", "create", "-f", "-", input=json.dumps(_storage("before", OWN)))
        plane.kubectl("apply", "-k", str(OVERLAY))
        deadline = time.monotonic() + 20
        while not _refusal(plane, "create", _storage("probe", OWN)):
            assert time.monotonic() < deadline, "the policy does not come into force"
            time.sleep(0.2)
        yield plane


def _storage(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "storage.cipher.dev/v1alpha1",
        "kind": "CipherStorage",
        "metadata": {"name": name},
        "spec": spec,
    }


def _refusal(plane: ControlPlane, verb: str, body: dict[str, Any]) -> str:
    try:
        plane.kubectl("-n", "team", verb, "-f", "-", "--dry-run=server", input=json.dumps(body))
    except KubectlError as error:
        return error.stderr
    return ""


def _may(plane: ControlPlane, verb: str, resource: str, namespace: str) -> bool:
    account = f"system:serviceaccount:{HOME}:{ACCOUNT}"
    where = ("-n", namespace) if namespace else ("--all-namespaces",)
    try:
        plane.kubectl("auth", "can-i", verb, resource, *where, f"--as={account}", "--quiet")
    except KubectlError:
        return False
    return True


@pytest.mark.parametrize(
    ("verb", "namespace", "expected"),
    [
        *((verb, HOME, True) for verb in ("get", "list", "watch", "patch", "create", "update")),
        *((verb, "team", True) for verb in ("get", "create", "update")),
        *((verb, "team", False) for verb in ("list", "watch", "patch", "delete")),
        *((verb, "", False) for verb in ("list", "watch", "patch", "delete")),
        ("delete", HOME, False),
    ],
)
def test_what_may_be_done_with_secrets(ground: ControlPlane, verb: str, namespace: str, expected: bool) -> None:
    assert _may(ground, verb, "secrets", namespace) is expected


def test_one_namespace_after_the_other(ground: ControlPlane) -> None:
    """Without the binding of the whole cluster, only a namespace that has its own lets the operator in."""
    ground.kubectl("create", "namespace", "served")
    ground.kubectl("-n", "served", "apply", "-k", str(OVERLAY / "served"))
    binding = ("clusterrolebinding", "cipher-operator-app-secrets")
    kept = ground.kubectl("get", *binding, "-o", "json")
    ground.kubectl("delete", *binding)
    try:
        deadline = time.monotonic() + 10
        while _may(ground, "get", "secrets", "team"):
            assert time.monotonic() < deadline, "the binding goes on"
            time.sleep(0.1)
        for verb in ("get", "create", "update"):
            assert _may(ground, verb, "secrets", "served")
            assert not _may(ground, verb, "secrets", "team")
        assert not _may(ground, "list", "secrets", "served")
    finally:
        ground.kubectl("apply", "-f", "-", input=kept)


REFUSED = {
    "a Secret of the tenant's own": ("create", _storage("new", OWN)),
    "back from a server": ("replace", _storage("served", OWN)),
}
ACCEPTED = {
    "a server": ("create", _storage("new", SERVED)),
    "one of before goes to a server": ("replace", _storage("before", SERVED)),
    "one of before is edited": ("replace", _storage("before", {**OWN, "interval": "10m"})),
}


@pytest.mark.parametrize("case", REFUSED)
def test_no_storage_has_a_secret_of_its_own(ground: ControlPlane, case: str) -> None:
    ground.kubectl("-n", "team", "apply", "-f", "-", input=json.dumps(_storage("served", SERVED)))
    said = _refusal(ground, *REFUSED[case])
    assert "must name a CipherServer" in said and POLICY in said


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_storage_of_a_server_is_let_in(ground: ControlPlane, case: str) -> None:
    assert _refusal(ground, *ACCEPTED[case]) == ""


def test_one_of_before_is_finished(ground: ControlPlane) -> None:
    held = {**_storage("before", OWN), "metadata": {"name": "before", "finalizers": ["storage.cipher.dev/finalizer"]}}
    assert _refusal(ground, "replace", held) == ""
    ground.kubectl("-n", "team", "patch", "cstore", "before", "--type=merge", "--subresource=status", "-p",
                   '{"status":{"observedGeneration":1}}')  # fmt: skip
