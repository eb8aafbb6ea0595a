"""What CipherServer and CipherStorage both say, they say the same way."""

from collections.abc import Mapping
from typing import Any

import pytest

from support import crd


def _told(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema without what it says to people; properties by name."""
    return {
        key: {field: _told(child) for field, child in value.items()} if key == "properties"
        else _told(value) if isinstance(value, Mapping) and key != "default"
        else value
        for key, value in node.items()
        if key != "description"
    }  # fmt: skip


CONNECTION = "spec.connection"
SAME = {
    **{f"spec.connection.{field}": f"spec.connection.{field}" for field in (
        "host", "port", "database", "secretRef", "sslMode", "channelBinding", "caRef")},
    **{f"spec.defaults.app.{field}": f"spec.app.{field}" for field in (
        "host", "port", "sslMode", "caPath", "verify", "maxConnections")},
    "spec.defaults.user.connectionLimit": "spec.user.connectionLimit",
    "spec.defaults.interval": "spec.interval",
    "spec.limits.extensions.[]": "spec.extensions.[].name",
    "status.conditions": "status.conditions",
    "status.observedGeneration": "status.observedGeneration",
    "status.serverVersion": "status.serverVersion",
}  # fmt: skip


@pytest.mark.parametrize("path", SAME)
def test_a_field_of_both_is_bounded_alike(path: str) -> None:
    assert _told(crd.schema(path, crd.SERVERS)) == _told(crd.schema(SAME[path]))


def test_no_default_of_a_storage_hides_that_of_its_server() -> None:
    # The API server stores a schema's default, and then nobody knows whether the tenant has said it.
    for path, theirs in SAME.items():
        if path.startswith("spec.defaults."):
            assert "default" not in crd.schema(theirs), path


def test_every_field_of_defaults_has_its_field_in_a_storage() -> None:
    node = crd.schema("spec.defaults", crd.SERVERS)
    leaves = {path for path, child in crd.nodes(node, "spec.defaults") if "properties" not in child}
    assert leaves == {path for path in SAME if path.startswith("spec.defaults.")}


def test_every_rule_of_a_servers_connection_is_one_of_a_storages() -> None:
    ours, theirs = (
        {
            rule["rule"].removeprefix("has(self.serverRef) || ")
            for rule in crd.schema("spec.connection", kind)[crd.RULES]
        }
        for kind in (crd.SERVERS, crd.STORAGES)
    )
    assert ours and ours <= theirs


def test_policies_and_limits_are_those_of_a_storage() -> None:
    policies = crd.schema("spec.limits.deletionPolicies", crd.SERVERS)
    assert policies["items"]["enum"] == crd.schema("spec.deletionPolicy")["enum"]
    assert policies["default"] == [crd.schema("spec.deletionPolicy")["default"]]
    limit = crd.schema("spec.limits.userConnectionLimit", crd.SERVERS)
    assert limit["maximum"] == crd.schema("spec.user.connectionLimit")["maximum"]


def test_names_that_refer_are_as_long_as_names() -> None:
    name = crd.schema("spec.connection.serverRef.name")
    assert name["maxLength"] == crd.schema("metadata.name", crd.SERVERS)["maxLength"]


def test_labels_are_checked_alike() -> None:
    ours = crd.schema("spec.allowedNamespaces.selector.matchLabels", crd.SERVERS)
    theirs = crd.schema("spec.app.labels")
    assert ours[crd.RULES][0] == theirs[crd.RULES][0]
    assert _told(ours["additionalProperties"]) == _told(theirs["additionalProperties"])
    assert ours["maxProperties"] == theirs["maxProperties"]
