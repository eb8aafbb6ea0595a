"""manifests/components/admission on a real API server: what the operator's token cannot do, and no older CRD."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from cipher_operator import __version__
from devcluster import ControlPlane, KubectlError
from devcluster.kubeconfig import ApiClient
from manifests.manifest_files import REPOSITORY
from support import crd

FENCES = REPOSITORY / "manifests" / "components" / "admission"
OURS = {"app.kubernetes.io/managed-by": "cipher-operator"}
IN_USE, FINALIZER = "storage.cipher.dev/in-use", "storage.cipher.dev/finalizer"
MAKES, CHANGES, LEAVES = "creates Secrets of type", "of Secrets that are not its own", "of CipherStorages"
LETS = "of CipherServers the operator changes nothing but the status and the finalizer storage.cipher.dev/in-use"


@pytest.fixture(scope="module")
def fenced(installed: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane with both policies in force, and a namespace `fenced` with a user's objects in it."""
    installed.kubectl("create", "namespace", "fenced")
    files = [str(FENCES / name) for name in ("fence.yaml", "safe-upgrades.yaml")]
    for path in files:
        installed.kubectl("apply", "-f", path)
    for made in (
        _secret("admin", labels={"a": "b"}, finalizers=["example.com/held"]),
        _secret("app", type="servicebinding.io/postgresql", labels=OURS),
        _storage(),
        _server(),
    ):
        installed.kubectl("-n", "fenced", "create", "-f", "-", input=json.dumps(made))
    deadline = time.monotonic() + 20
    while MAKES not in _said(installed, "create", _secret("token")):
        assert time.monotonic() < deadline, "the policy does not come into force"
        time.sleep(0.2)
    yield installed
    for path in files:
        installed.kubectl("delete", "-f", path)
    installed.kubectl(
        "-n", "fenced", "patch", "secret", "admin", "--type=merge", "-p", '{"metadata":{"finalizers":[]}}'
    )
    installed.kubectl("delete", "cserver", "fenced")
    installed.kubectl("delete", "namespace", "fenced", "--wait=false")


def _secret(name: str, *, type: str = "Opaque", data: str = "YQ==", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": type,
        "metadata": {"name": name, **metadata},
        "data": {"k": data},
    }


def _storage() -> dict[str, Any]:
    return {
        "apiVersion": "storage.cipher.dev/v1alpha1",
        "kind": "CipherStorage",
        "metadata": {"name": "chat"},
        "spec": {"connection": {"secretRef": {"name": "admin"}}},
    }


def _server() -> dict[str, Any]:
    return {
        "apiVersion": "storage.cipher.dev/v1alpha1",
        "kind": "CipherServer",
        "metadata": {"name": "fenced", "labels": {"a": "b"}},
        "spec": {
            "connection": {"secretRef": {"name": "admin"}},
            "allowedNamespaces": {"from": "Selector", "names": ["fenced"]},
        },
    }


def _said(plane: ControlPlane, verb: str, body: dict[str, Any] | str, *target: str) -> str:
    """Return what the API server says against a request of the operator's account, empty where it would do it."""
    account = plane.kubeconfig_for_service_account("cipher-system", "cipher-operator")
    whole = isinstance(body, dict)
    arguments = (*target, "-f", "-") if whole else (*target, "-p", str(body))
    try:
        plane.kubectl(
            "-n", "fenced", verb, *arguments, "--dry-run=server",
            input=json.dumps(body) if whole else None, kubeconfig=account,
        )  # fmt: skip
    except KubectlError as error:
        return error.stderr
    return ""


TOKEN = {
    "apiVersion": "v1",
    "kind": "Secret",
    "type": "kubernetes.io/service-account-token",
    "metadata": {"name": "token", "annotations": {"kubernetes.io/service-account.name": "default"}, "labels": OURS},
}
CREATED: dict[str, tuple[dict[str, Any], str]] = {
    "a token of another account": (TOKEN, MAKES),
    "a Secret of no type": (_secret("other"), MAKES),
    "one of the type without the label": (_secret("other", type="servicebinding.io/postgresql"), MAKES),
    "an app Secret": (_secret("other", type="servicebinding.io/postgresql", labels=OURS), ""),
}


@pytest.mark.parametrize("how", [("create",), ("apply", "--server-side")], ids=" ".join)
@pytest.mark.parametrize("case", CREATED)
def test_what_it_may_create(fenced: ControlPlane, case: str, how: tuple[str, ...]) -> None:
    body, refusal = CREATED[case]
    verb, *flags = how
    said = _said(fenced, verb, body, *flags)
    assert refusal in said
    assert bool(said) == bool(refusal)


def _add(path: str, value: object) -> str:
    return json.dumps([{"op": "add", "path": path, "value": value}])


PATCHED: dict[str, tuple[tuple[str, str], str, str]] = {
    "a user's password": (("secret", "admin"), _add("/data/k", "Yg=="), CHANGES),
    "a user's Secret, as plain text": (("secret", "admin"), _add("/stringData", {"k": "b"}), CHANGES),
    "a user's label": (("secret", "admin"), _add("/metadata/labels/a", "c"), CHANGES),
    "a user's annotation": (("secret", "admin"), _add("/metadata/annotations", {"a": "b"}), CHANGES),
    "an owner, so that it is collected": (
        ("secret", "admin"),
        _add("/metadata/ownerReferences", [{"apiVersion": "v1", "kind": "Secret", "name": "app", "uid": "1"}]),
        CHANGES,
    ),
    "another's finalizer": (("secret", "admin"), _add("/metadata/finalizers", []), CHANGES),
    "a finalizer of another name": (("secret", "admin"), _add("/metadata/finalizers/-", "example.com/x"), CHANGES),
    "a Secret made its own": (("secret", "admin"), _add("/metadata/labels", OURS), CHANGES),
    "an app Secret that loses its label": (("secret", "app"), _add("/metadata/labels", {}), CHANGES),
    "a storage's spec": (("cstore", "chat"), _add("/spec/interval", "10m"), LEAVES),
    "a storage's request": (("cstore", "chat"), _add("/metadata/annotations", {"a": "b"}), LEAVES),
    "whom a server lets in": (("cserver", "fenced"), _add("/spec/allowedNamespaces", {"from": "All"}), LETS),
    "where a server's login is sent": (("cserver", "fenced"), _add("/spec/connection/host", "evil"), LETS),
    "a server's label": (("cserver", "fenced"), _add("/metadata/labels/a", "c"), LETS),
    "a storage's finalizer on a server": (("cserver", "fenced"), _add("/metadata/finalizers", [FINALIZER]), LETS),
    "its finalizer on a server": (("cserver", "fenced"), _add("/metadata/finalizers", [IN_USE]), ""),
    "a server's finalizer on a storage": (("cstore", "chat"), _add("/metadata/finalizers", [IN_USE]), LEAVES),
    "its finalizer on a user's Secret": (("secret", "admin"), _add("/metadata/finalizers/-", IN_USE), ""),
    "an app Secret's password": (("secret", "app"), _add("/data/k", "Yg=="), ""),
    "its finalizer on a storage": (("cstore", "chat"), _add("/metadata/finalizers", [FINALIZER]), ""),
}


@pytest.mark.parametrize("case", PATCHED)
def test_what_it_may_change(fenced: ControlPlane, case: str) -> None:
    target, patch, refusal = PATCHED[case]
    said = _said(fenced, "patch", patch, *target, "--type=json")
    assert refusal in said
    assert bool(said) == bool(refusal)


def test_others_are_not_fenced(fenced: ControlPlane) -> None:
    fenced.kubectl("-n", "fenced", "create", "-f", "-", "--dry-run=server", input=json.dumps(_secret("of-a-user")))


def test_the_status_of_a_server_is_written(fenced: ControlPlane) -> None:
    # Not by kubectl, which reads a status before it patches it: the operator has no right to that.
    token = fenced.client().service_account_token("cipher-system", "cipher-operator", seconds=600)
    operator = ApiClient(fenced.url, fenced.ca.read_bytes(), token)
    path = "/apis/storage.cipher.dev/v1alpha1/cipherservers/fenced/status"
    written = operator.request("PATCH", path, {"status": {"observedGeneration": 1, "storages": 3}})
    assert json.loads(written)["status"]["storages"] == 3


@pytest.mark.parametrize("kind", crd.KINDS)
def test_the_crd_says_which_version_it_is_of(kind: str) -> None:
    assert crd.document(kind)["metadata"]["annotations"]["storage.cipher.dev/version"] == __version__


@pytest.mark.parametrize("kind", crd.KINDS)
@pytest.mark.parametrize(
    ("version", "refused"),
    [
        ("0.0.9", True),
        (None, True),
        ("none", True),
        (__version__, False),
        (f"{__version__}-rc.1", False),
        ("0.10.0", False),
    ],
)
def test_no_older_crd_is_laid_over_a_newer(
    fenced: ControlPlane, tmp_path: Path, kind: str, version: str | None, refused: bool
) -> None:
    changed = deepcopy(crd.document(kind))
    annotations = changed["metadata"]["annotations"]
    annotations.pop("storage.cipher.dev/version")
    if version is not None:
        annotations["storage.cipher.dev/version"] = version
    (tmp_path / "crd.yaml").write_text(yaml.safe_dump(changed))
    try:
        fenced.kubectl("apply", "--dry-run=server", "-f", str(tmp_path / "crd.yaml"))
        said = ""
    except KubectlError as error:
        said = error.stderr
    assert bool(said) == refused, said
    if refused:
        assert re.search(r"older than 0\.1\.0.*delete validatingadmissionpolicybinding cipherstorage-safe", said, re.S)
