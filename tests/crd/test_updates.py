"""What may be changed afterwards: immutable fields, names pinned later, and objects stored under another schema."""

import json
import time
from copy import deepcopy
from typing import Any

import pytest

from cipher_operator.api.spec import parse_resource, parse_spec
from devcluster import ControlPlane
from support import crd
from support.storages import MINIMAL, Storages

READY = {
    "observedGeneration": 1,
    "database": "cipher_db",
    "user": "cipher_user",
    "binding": {"name": "chat-cipher"},
}
ROTATED = {**READY, "user": "cipher_user_b"}

# The spec and status before, what is changed, the field that is refused.
REFUSED: list[tuple[str, dict[str, Any], dict[str, Any] | None, dict[str, Any], str]] = [
    ("schema changed", {"schema": "a"}, None, {"schema": "b"}, "spec.schema"),
    ("schema added", {}, None, {"schema": "b"}, "spec.schema"),
    ("schema removed", {"schema": "a"}, None, {"schema": None}, "spec.schema"),
    ("mode changed", {}, None, {"user.mode": "Shared"}, "spec.user.mode"),
    ("mode changed back", {"user.mode": "Shared"}, None, {"user": None}, "spec.user.mode"),
    ("database changed", {"database.name": "a"}, None, {"database.name": "b"}, "spec.database.name"),
    ("database removed", {"database.name": "a"}, READY, {"database.name": None}, "spec.database.name"),
    ("database removed with its object", {"database.name": "a"}, READY, {"database": None}, "spec.database.name"),
    ("database pinned to another", {}, READY, {"database.name": "other"}, "spec.database.name"),
    ("database pinned before it is known", {}, None, {"database.name": "cipher_db"}, "spec.database.name"),
    ("database changed although ready there", {"database.name": "a"}, READY, {"database.name": "cipher_db"},
     "spec.database.name"),
    ("user changed", {"user.name": "a"}, None, {"user.name": "b"}, "spec.user.name"),
    ("user removed", {"user.name": "a"}, READY, {"user.name": None}, "spec.user.name"),
    ("user removed with its object", {"user.name": "a"}, READY, {"user": None}, "spec.user.name"),
    ("user pinned to another", {}, READY, {"user.name": "other"}, "spec.user.name"),
    ("user pinned to the second login", {}, ROTATED, {"user.name": "cipher_user_b"}, "spec.user.name"),
    ("user pinned to another second login", {}, ROTATED, {"user.name": "cipher_user_c"}, "spec.user.name"),
    ("user pinned before it is known", {}, None, {"user.name": "cipher_user"}, "spec.user.name"),
    ("secret changed", {"app.secretName": "a"}, None, {"app.secretName": "b"}, "spec.app.secretName"),
    ("secret removed", {"app.secretName": "a"}, READY, {"app.secretName": None}, "spec.app.secretName"),
    ("secret removed with its object", {"app.secretName": "a"}, READY, {"app": None}, "spec.app.secretName"),
    ("secret pinned to another", {}, READY, {"app.secretName": "chat-cipher"}, "spec.app.secretName"),
]  # fmt: skip

ACCEPTED: list[tuple[str, dict[str, Any], dict[str, Any] | None, dict[str, Any]]] = [
    ("nothing", {}, None, {}),
    ("default written out", {}, None, {"schema": "public", "user.mode": "Dedicated", "database.create": True}),
    ("default objects removed", {}, None, {"database": None, "user": None, "app": None}),
    ("database pinned to the status", {}, READY, {"database.name": "cipher_db"}),
    ("user pinned to the status", {}, READY, {"user.name": "cipher_user"}),
    ("user pinned while its second login is published", {}, ROTATED, {"user.name": "cipher_user"}),
    ("secret pinned to its default", {}, None, {"app.secretName": "<name>-cipher"}),
    ("other fields beside the immutable ones", {"database.name": "a", "user.name": "u", "app.secretName": "s"}, READY,
     {"database.create": False, "user.connectionLimit": 50, "app.port": 6432, "suspend": True, "interval": "0s"}),
    ("another connection Secret", {}, READY, {"connection.secretRef.name": "pg-admin-2"}),
    ("another way in for the operator, and for pods", {}, READY,
     {"connection.host": "db.example.com", "app.host": "pooler", "app.sslMode": "disable", "app.verify": "Never"}),
    ("policies", {}, READY,
     {"deletionPolicy": "Delete", "adoptionPolicy": "IfUnowned", "managementPolicy": "Observe"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "status", "changes", "field"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_refuses_change(
    storages: Storages, spec: dict[str, Any], status: dict[str, Any] | None, changes: dict[str, Any], field: str
) -> None:
    before = crd.changed(MINIMAL, spec)
    stored = storages.create(before, status)
    answer = storages.try_update(stored.body, crd.changed(before, changes))
    assert not answer.accepted
    messages = [message for where, message in answer.causes if where == field]
    (message,) = [message for message in messages if message.startswith("Forbidden: cannot be changed")]
    assert "Create a new CipherStorage" in message


READS_DEFAULT = [
    pytest.param({"connection.secretRef.name": "taken-cipher"}, id="connection"),
    pytest.param({"user.passwordSecretRef.name": "taken-cipher"}, id="password"),
    pytest.param(
        {"connection.sslMode": "verify-ca", "connection.caRef.name": "taken-cipher", "app.caPath": "/ca.crt"}, id="CA"
    ),
    pytest.param(
        {"app.sslMode": "verify-ca", "app.caRef.name": "taken-cipher", "app.caPath": "/ca.crt"}, id="CA of the pods"
    ),
]


@pytest.mark.parametrize("changes", READS_DEFAULT)
def test_a_secret_that_is_read_is_not_the_default_app_secret(storages: Storages, changes: dict[str, Any]) -> None:
    spec = crd.changed(MINIMAL, changes)
    created = storages.try_create(spec, name="taken")
    stored = storages.create(MINIMAL).body
    changed = storages.try_update(stored, crd.changed(MINIMAL, {
        path: f"{stored['metadata']['name']}-cipher" if value == "taken-cipher" else value
        for path, value in changes.items()
    }))  # fmt: skip
    for answer in (created, changed):
        assert not answer.accepted
        ((where, message),) = answer.causes
        assert where == "spec.app.secretName" and message.startswith("Required value: must be set when `connection`, ")
    assert storages.try_create(spec, name="other").accepted
    assert storages.try_create(crd.changed(spec, {"app.secretName": "chat"}), name="taken").accepted


@pytest.mark.parametrize(
    ("spec", "status", "changes"), [case[1:] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED]
)
def test_accepts_change(
    storages: Storages, spec: dict[str, Any], status: dict[str, Any] | None, changes: dict[str, Any]
) -> None:
    before = crd.changed(MINIMAL, spec)
    stored = storages.create(before, status).body
    name = stored["metadata"]["name"]
    changes = {path: f"{name}-cipher" if value == "<name>-cipher" else value for path, value in changes.items()}
    answer = storages.try_update(stored, crd.changed(before, changes))
    assert answer.accepted, answer.causes


@crd.takes_late_statuses
def test_an_object_stored_under_another_schema_can_still_be_finished(installed: ControlPlane) -> None:
    """Its status is written, its finalizer removed and its labels changed, whatever the rules say of its spec."""
    group = "storage.another.dev"
    strict = json.loads(json.dumps(crd.document()).replace("storage.cipher.dev", group))
    loose = deepcopy(strict)
    (version,) = loose["spec"]["versions"]
    version.pop("selectableFields")
    version["schema"]["openAPIV3Schema"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    client = installed.client()
    installed.kubectl("apply", "-f", "-", input=json.dumps(loose))
    installed.kubectl("wait", "--for=condition=Established", f"crd/{loose['metadata']['name']}")
    path = f"/apis/{group}/v1alpha1/namespaces/default/cipherstorages"
    bad = {
        "connection": {},
        "schema": "pg_x",
        "user": {"mode": "Shared", "name": "postgres"},
        "interval": "1d",
        "app": {"labels": {"app.kubernetes.io/instance": "x"}, "secretName": "s"},
    }
    sent = {"apiVersion": f"{group}/v1alpha1", "kind": "CipherStorage", "spec": bad}
    own = {"connection": {"secretRef": {"name": "own-cipher"}}}
    for name, spec in (("bad", bad), ("empty", {}), ("own", own)):
        finalized = {"name": name, "finalizers": ["storage.cipher.dev/finalizer"]}
        client.request("POST", path, {**sent, "metadata": finalized, "spec": spec})

    installed.kubectl("apply", "-f", "-", input=json.dumps(strict))
    storages = Storages(client, "default", group=group)
    deadline = time.monotonic() + 20
    while storages.try_create(bad).accepted:
        assert time.monotonic() < deadline, "the strict schema has no effect"
        time.sleep(0.05)

    for name in ("bad", "empty", "own"):
        stored = storages.request("GET", f"{path}/{name}")
        if name != "own":
            with pytest.raises(Exception, match=r"spec\.connection\.secretRef\.name"):
                parse_spec("default", name, parse_resource(stored.body).raw_spec)
        written = storages.write_status(stored.body, {**READY, "observedGeneration": 1})
        assert written.accepted, written.causes
        labelled = deepcopy(dict(written.body))
        labelled["metadata"]["labels"] = {"team": "a"}
        labelled["metadata"]["finalizers"] = []
        released = storages.request("PUT", f"{path}/{name}", labelled)
        assert released.accepted, released.causes
        assert "finalizers" not in released.body["metadata"]
    client.request("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{strict['metadata']['name']}")
