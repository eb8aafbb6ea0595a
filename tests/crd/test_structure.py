"""The shape of the CRDs: everything typed, described, bounded, and nothing that disturbs GitOps."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from cipher_operator import __version__
from support import crd

CHANGED = "cannot be changed: "
NODES = {kind: list(crd.nodes(crd.schema(kind=kind))) for kind in crd.KINDS}
BOUNDS = {
    "string": {"maxLength"},
    "integer": {"minimum", "maximum"},
    "array": {"maxItems", "x-kubernetes-list-type"},
    "boolean": set(),
}
each_kind = pytest.mark.parametrize("kind", crd.KINDS)


@each_kind
def test_every_node_is_typed(kind: str) -> None:
    assert [path for path, node in NODES[kind] if node.get("type") not in {*BOUNDS, "object"}] == []
    loose = {"x-kubernetes-preserve-unknown-fields", "nullable", "anyOf", "oneOf"}
    assert [path for path, node in NODES[kind] if loose & set(node)] == []


@each_kind
def test_every_node_is_described(kind: str) -> None:
    # The API server allows only `name` and `generateName` to be said about metadata.
    texts = {path: node.get("description", "") for path, node in NODES[kind] if path != "metadata"}
    assert [path for path, text in texts.items() if not text.endswith(".") or len(text) > 420] == []


@each_kind
def test_every_node_is_bounded(kind: str) -> None:
    assert [path for path, node in NODES[kind] if not _bounds(node) <= set(node)] == []


def _bounds(node: Mapping[str, Any]) -> set[str]:
    if "enum" in node:
        return set()
    if node["type"] == "object":
        return {"properties"} if "properties" in node else {"additionalProperties", "maxProperties"}
    return BOUNDS[node["type"]]


@each_kind
def test_no_default_inside_a_list_item(kind: str) -> None:
    # Argo CD shows such a default as a difference for ever.
    assert [path for path, node in NODES[kind] if "default" in node and "[]" in path.split(".")] == []


@each_kind
def test_descriptions_say_default_range_and_choices(kind: str) -> None:
    # `kubectl explain` shows none of these by itself.
    for path, node in NODES[kind]:
        if not path.startswith("spec."):
            continue
        text = node["description"]
        if node.get("default", {}) != {}:
            assert f"Default {json.dumps(node['default'])}" in text or f"Default '{node['default']}'" in text, path
        if node["type"] == "integer":
            assert str(node["minimum"]) in text and str(node["maximum"]) in text, path
        assert [choice for choice in node.get("enum", []) if choice not in text] == [], path


@pytest.mark.parametrize("field", ["database.name", "schema", "user.name", "user.mode", "app.secretName"])
def test_immutable_field_says_so_in_rule_and_description(field: str) -> None:
    assert "Immutable" in crd.schema(f"spec.{field}")["description"]
    targets = [
        f"{path}{rule.get('fieldPath', '')}" for path, rule in crd.rules() if rule["message"].startswith(CHANGED)
    ]
    assert targets.count(f"spec.{field}") + targets.count(f".spec.{field}") == 1


@each_kind
def test_a_missing_object_gets_the_defaults_of_its_fields(kind: str) -> None:
    # Without `default: {}` on the object, the defaults inside apply only when somebody writes the object.
    # With a required field inside, the object cannot be defaulted.
    for path, node in NODES[kind]:
        if any("default" in child for child in node.get("properties", {}).values()):
            assert node.get("default") == {} or "required" in node, path


@each_kind
def test_rules_say_what_must_be(kind: str) -> None:
    openings = {"must", "may", "cannot", "keys"}
    assert [rule["message"] for _, rule in crd.rules(kind) if rule["message"].split()[0] not in openings] == []


@each_kind
def test_no_rule_says_the_words_by_which_tools_delete_and_make_anew(kind: str) -> None:
    # "is immutable" in an API error is what they look for when they are told to force, and the data goes along.
    assert [rule["message"] for _, rule in crd.rules(kind) if "immutable" in rule["message"].lower()] == []


@each_kind
def test_rules_at_the_root_are_about_changes_only(kind: str) -> None:
    # Any other would refuse every later write of an object stored before it, the removal of a finalizer too.
    assert [rule["rule"] for path, rule in crd.rules(kind) if not path and "oldSelf" not in rule["rule"]] == []


@each_kind
def test_size_leaves_room_for_client_side_apply(kind: str) -> None:
    assert len(json.dumps(crd.document(kind))) < 262_144 / 5


def test_document() -> None:
    document, version = crd.document(), crd.version()
    assert document["metadata"]["labels"]["servicebinding.io/provisioned-service"] == "true"
    annotations = {"argocd.argoproj.io/sync-options": "Prune=false", "storage.cipher.dev/version": __version__}
    assert document["metadata"]["annotations"] == annotations
    assert document["spec"]["names"]["shortNames"] == ["cstore"]
    assert document["spec"]["names"]["categories"] == ["cipher"]
    assert "preserveUnknownFields" not in document["spec"]
    assert version["subresources"] == {"status": {}}
    named = [f".spec.connection.{reference}.name" for reference in ("secretRef", "serverRef")]
    assert version["selectableFields"] == [{"jsonPath": path} for path in named]
    assert crd.schema("status")["default"] == {"observedGeneration": -1}
    columns = {column["name"]: column.get("priority", 0) for column in version["additionalPrinterColumns"]}
    assert columns == {
        "Ready": 0,
        "Reason": 0,
        "Suspended": 0,
        "Database": 0,
        "User": 0,
        "Age": 0,
        "Secret": 1,
        "Server": 1,
        "Version": 1,
        "Password-Age": 1,
        "Message": 1,
    }


def test_document_of_servers() -> None:
    document, version = crd.document(crd.SERVERS), crd.version(crd.SERVERS)
    annotations = {"argocd.argoproj.io/sync-options": "Prune=false", "storage.cipher.dev/version": __version__}
    assert document["metadata"]["annotations"] == annotations
    assert document["spec"]["scope"] == "Cluster"
    assert document["spec"]["names"]["shortNames"] == ["cserver"]
    assert document["spec"]["names"]["categories"] == ["cipher"]
    assert version["subresources"] == {"status": {}}
    assert crd.schema("status", crd.SERVERS)["default"] == {"observedGeneration": -1}
    columns = [(column["name"], column.get("priority", 0)) for column in version["additionalPrinterColumns"]]
    assert columns == [("Ready", 0), ("Reason", 0), ("Version", 0), ("Storages", 0), ("Age", 0), ("Message", 1)]


def test_a_server_names_no_namespace_in_a_reference() -> None:
    # Who may choose the namespace of a Secret reads everybody's through the operator.
    paths = [path for path, _ in NODES[crd.SERVERS] if "Ref." in path and "namespace" in path.lower()]
    assert paths == []


def test_kustomization_names_every_file() -> None:
    # With an extension, `kubectl apply -f crds` would try to apply the kustomization itself.
    kustomization = yaml.safe_load((crd.CRDS / "Kustomization").read_text())
    assert kustomization["resources"] == sorted(path.name for path in crd.CRDS.glob("*.yaml"))
