"""What people and tools see: kubectl, server-side apply, status and selectors."""

import json
import re
from typing import Any

import pytest

from cipher_operator.api.conditions import Draft, merge
from cipher_operator.api.failures import ConditionType
from cipher_operator.api.names import API_VERSION
from cipher_operator.reconcile.report.status import PLAN_LINE_LENGTH, PLAN_LINES
from devcluster import ControlPlane, KubectlError
from support import crd
from support.servers import LEAST, Servers
from support.storages import MINIMAL, Storages

SERVED = {"connection": {"serverRef": {"name": "eu"}}}
NOW = "2026-01-02T03:04:05Z"
READY = merge((), [Draft(ConditionType.READY, "True", "Ready", "all well")], 1, NOW)[0].to_json()
STATUS = {
    "observedGeneration": 1,
    "conditions": [READY],
    "database": "cipher_db",
    "user": "cipher_user",
    "serverVersion": "16.4",
    "binding": {"name": "chat-cipher"},
    "passwordSetAt": NOW,
}


def test_explain_shows_the_descriptions(installed: ControlPlane) -> None:
    for field in ("spec.connection.caRef", "spec.connection.host", "spec.app.verify", "spec.user.name",
                  "status.handledRequests"):  # fmt: skip
        shown = " ".join(installed.kubectl("explain", f"cstore.{field}").split())
        assert " ".join(crd.schema(field)["description"].split()) in shown
    for field in ("spec.allowedNamespaces.selector.matchExpressions", "spec.limits.databaseNames", "spec.auth.region",
                  "spec.defaults.app.verify", "status.rights"):  # fmt: skip
        shown = " ".join(installed.kubectl("explain", f"cserver.{field}").split())
        assert " ".join(crd.schema(field, crd.SERVERS)["description"].split()) in shown


def test_kustomize_builds_the_same_crd(installed: ControlPlane) -> None:
    assert "unchanged" in installed.kubectl("apply", "-k", str(crd.CRDS))


@pytest.mark.parametrize("arguments", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_apply_twice_changes_nothing(storages: Storages, installed: ControlPlane, arguments: tuple[str, ...]) -> None:
    spec = crd.changed(
        MINIMAL, {"user": {}, "database": {}, "app.labels": {"team": "a"}, "extensions": [{"name": "x"}]}
    )
    name = f"applied-{len(arguments)}"
    text = json.dumps(storages.new(spec, name=name))
    apply = ("-n", storages.namespace, "apply", *arguments, "-f", "-")
    installed.kubectl(*apply, input=text)
    # kubectl diff ends with an error when it finds a difference.
    installed.kubectl("-n", storages.namespace, "diff", *arguments, "-f", "-", input=text)
    installed.kubectl(*apply, input=text)
    if arguments:
        installed.kubectl(*apply[:4], "--field-manager=another", "-f", "-", input=text)
    assert storages.get(name)["metadata"]["generation"] == 1


@pytest.mark.parametrize("arguments", [(), ("--server-side",)], ids=["client-side", "server-side"])
@pytest.mark.parametrize(
    ("before", "changes", "text"),
    [
        pytest.param(None, {"connection.sslMode": "verify-ca"},
                     "spec.connection.caRef: Required value: must be set when `sslMode` is 'verify-ca'", id="new"),
        pytest.param({"database.name": "a"}, {"database.name": "b"},
                     "spec.database.name: Forbidden: cannot be changed: the storage stays in its", id="changed"),
        pytest.param({"database.name": "a"}, {"database": None},
                     "spec.database.name: Forbidden: cannot be changed: the storage stays in its", id="removed"),
    ],
)  # fmt: skip
def test_refused_apply_says_what_to_do(
    storages: Storages,
    installed: ControlPlane,
    arguments: tuple[str, ...],
    before: dict[str, Any] | None,
    changes: dict[str, Any],
    text: str,
) -> None:
    apply = ("-n", storages.namespace, "apply", *arguments, "-f", "-")
    sent = storages.new(crd.changed(MINIMAL, before or {}))
    if before is not None:
        installed.kubectl(*apply, input=json.dumps(sent))
    with pytest.raises(KubectlError) as caught:
        installed.kubectl(*apply, input=json.dumps({**sent, "spec": crd.changed(sent["spec"], changes)}))
    assert text in str(caught.value)


def test_columns(storages: Storages, installed: ControlPlane) -> None:
    storages.create(MINIMAL, STATUS, name="chat")
    get = ("-n", storages.namespace, "get")
    narrow = installed.kubectl(*get, "cstore", "chat").splitlines()
    wide = installed.kubectl(*get, "cipherstorage", "chat", "-o", "wide").splitlines()
    assert narrow[0].split() == ["NAME", "READY", "REASON", "SUSPENDED", "DATABASE", "USER", "AGE"]
    assert narrow[1].split()[:6] == ["chat", "True", "Ready", "false", "cipher_db", "cipher_user"]
    assert wide[0].split() == [*narrow[0].split(), "SECRET", "SERVER", "VERSION", "PASSWORD-AGE", "MESSAGE"]
    assert wide[1].split()[7:9] == ["chat-cipher", "16.4"], "there is no server that it names"
    assert re.fullmatch(r"\d+[dy]\w*", wide[1].split()[9]), "how long ago the password was set"
    assert wide[1].split()[10:] == ["all", "well"]
    assert "chat" in installed.kubectl(*get, "cipher", "-o", "name")
    storages.create(SERVED, STATUS, name="served")
    assert installed.kubectl(*get, "cstore", "served", "-o", "wide").splitlines()[1].split()[8:10] == ["eu", "16.4"]


def test_columns_of_servers(servers: Servers, installed: ControlPlane) -> None:
    status = {"conditions": [READY], "serverVersion": "16.4", "storages": 12, "observedGeneration": 1}
    servers.create(LEAST, {**status, "rights": ["CREATEROLE", "CREATEDB"]}, name="eu")
    narrow = installed.kubectl("get", "cserver", "eu").splitlines()
    wide = installed.kubectl("get", "cipherserver", "eu", "-o", "wide").splitlines()
    assert narrow[0].split() == ["NAME", "READY", "REASON", "VERSION", "STORAGES", "AGE"]
    assert narrow[1].split()[:5] == ["eu", "True", "Ready", "16.4", "12"]
    assert wide[0].split() == [*narrow[0].split(), "MESSAGE"]
    assert wide[1].split()[6:] == ["all", "well"]
    installed.kubectl("wait", "--for=condition=Ready", "cserver/eu", "--timeout=5s")
    assert "cipherserver.storage.cipher.dev/eu" in installed.kubectl("get", "cipher", "-o", "name")


def test_wait_for_ready_is_satisfied_by_a_condition_of_this_generation(
    storages: Storages, installed: ControlPlane
) -> None:
    storages.create(MINIMAL, STATUS, name="waited")
    installed.kubectl("-n", storages.namespace, "wait", "--for=condition=Ready", "cstore/waited", "--timeout=5s")


def test_a_new_object_shows_that_nothing_was_observed(storages: Storages) -> None:
    # Without it, tools take a brand-new object for a finished one.
    stored = storages.create(MINIMAL, name="new").body
    assert stored["status"] == {"observedGeneration": -1}
    assert storages.get("new")["status"] == {"observedGeneration": -1}


def test_a_status_sent_with_the_object_is_dropped(storages: Storages) -> None:
    sent = {**storages.new(MINIMAL), "status": STATUS}
    assert storages.request("POST", storages.path, sent).body["status"] == {"observedGeneration": -1}


def test_the_largest_status_is_stored_whole(storages: Storages) -> None:
    drafts = [Draft(type_, "Unknown", "R" * 128, "ä" * 32_768) for type_ in ConditionType]
    status: dict[str, Any] = {
        **STATUS,
        "conditions": [condition.to_json() for condition in merge((), drafts, 1, NOW)],
        "database": "d" * 63,
        "user": "u" * 63,
        "binding": {"name": "s" * 253},
        "handledRequests": dict.fromkeys(("reconcile", "rotate", "revokePrevious", "recreate", "adoptFrom"), "v" * 256),
        "plan": ["ü" * PLAN_LINE_LENGTH] * PLAN_LINES,
    }
    written = storages.create(MINIMAL, status)
    assert written.accepted, written.causes
    assert written.body["status"] == status


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"conditions": [READY, READY]}, "status.conditions[1]"),
        ({"conditions": [{**READY, "status": "Maybe"}]}, "status.conditions[0].status"),
        ({"conditions": [{**READY, "reason": "two words"}]}, "status.conditions[0].reason"),
        ({"conditions": [{**READY, "message": "m" * 32_769}]}, "status.conditions[0].message"),
        ({"conditions": [{**READY, "lastTransitionTime": "now"}]}, "status.conditions[0].lastTransitionTime"),
        ({"plan": ["x"] * 129}, "status.plan"),
        ({"plan": ["x" * 2_049]}, "status.plan[0]"),
        ({"observedGeneration": -2}, "status.observedGeneration"),
        ({"passwordSetAt": "yesterday"}, "status.passwordSetAt"),
        ({"handledRequests": {"rotate": "v" * 257}}, "status.handledRequests.rotate"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_status_is_refused(storages: Storages, change: dict[str, Any], field: str) -> None:
    stored = storages.create(MINIMAL).body
    answer = storages.write_status(stored, {**STATUS, **change})
    assert not answer.accepted
    assert field in [where for where, _ in answer.causes]


@pytest.mark.parametrize("arguments", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_apply_twice_changes_nothing_of_a_server(
    servers: Servers, installed: ControlPlane, arguments: tuple[str, ...]
) -> None:
    selected = {"from": "Selector", "names": ["b", "a"], "selector": {"matchLabels": {"x": "y"}}}
    changes = {"allowedNamespaces": selected, "auth": {}, "limits.extensions": ["vector"], "defaults.interval": "10m"}
    name = f"applied-{len(arguments)}"
    text = json.dumps(servers.new(crd.changed(LEAST, changes), name=name))
    apply = ("apply", *arguments, "-f", "-")
    installed.kubectl(*apply, input=text)
    installed.kubectl("diff", *arguments, "-f", "-", input=text)
    installed.kubectl(*apply, input=text)
    if arguments:
        installed.kubectl(*apply[:2], "--field-manager=another", "-f", "-", input=text)
    assert servers.get(name)["metadata"]["generation"] == 1


def test_a_new_server_shows_that_nothing_was_observed(servers: Servers) -> None:
    sent = {**servers.new(LEAST), "status": {"serverVersion": "16.4"}}
    assert servers.request("POST", servers.path, sent).body["status"] == {"observedGeneration": -1}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"conditions": [READY, READY]}, "status.conditions[1]"),
        ({"storages": -1}, "status.storages"),
        ({"rights": ["R"] * 17}, "status.rights"),
        ({"rights": ["R" * 64]}, "status.rights[0]"),
        ({"serverVersion": "1" * 65}, "status.serverVersion"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_status_of_a_server_is_refused(servers: Servers, change: dict[str, Any], field: str) -> None:
    answer = servers.write_status(servers.create(LEAST).body, {"observedGeneration": 1, **change})
    assert not answer.accepted
    assert field in [where for where, _ in answer.causes]


def test_field_selector_finds_the_storages_of_a_server(storages: Storages) -> None:
    storages.create({"connection": {"serverRef": {"name": "wanted"}}}, name="of-a-server")
    storages.create(MINIMAL, name="of-a-secret")
    answer = storages.request("GET", f"{storages.path}?fieldSelector=spec.connection.serverRef.name%3Dwanted")
    assert [item["metadata"]["name"] for item in answer.body["items"]] == ["of-a-server"]


def test_field_selector_finds_the_storages_of_a_connection_secret(storages: Storages) -> None:
    storages.create(crd.changed(MINIMAL, {"connection.secretRef.name": "pg-wanted"}), name="wanted")
    storages.create(MINIMAL, name="unwanted")
    answer = storages.request("GET", f"{storages.path}?fieldSelector=spec.connection.secretRef.name%3Dpg-wanted")
    assert [item["metadata"]["name"] for item in answer.body["items"]] == ["wanted"]


@pytest.mark.parametrize("kind", crd.KINDS)
def test_what_can_be_selected_by_is_published(installed: ControlPlane, kind: str) -> None:
    """By that the operator knows a CRD that does not allow its lists."""
    document = json.loads(installed.client().request("GET", f"/openapi/v3/apis/{API_VERSION}"))
    name = crd.document(kind)["spec"]["names"]["kind"]
    (schema,) = (each for key, each in document["components"]["schemas"].items() if key.endswith(f".{name}"))
    published = [f".{each['fieldPath']}" for each in schema.get("x-kubernetes-selectable-fields", ())]
    assert published == [each["jsonPath"] for each in crd.version(kind).get("selectableFields", ())]
