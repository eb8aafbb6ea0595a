"""Every rule of CipherServer on the real API server: it refuses its bad case at the right field, and no good case."""

from collections.abc import Mapping
from typing import Any

import pytest

from support import crd
from support.servers import LEAST, Servers

CLOUD = {
    "auth.method": "AWSIAM",
    "connection": {"host": "db.example.com", "user": "admin", "sslMode": "verify-full"},
}
VERIFIED = {"connection.sslMode": "verify-ca", "connection.caRef": {"name": "ca"}}
SELECTED = {"allowedNamespaces.from": "Selector", "allowedNamespaces.selector.matchLabels": {"a": "b"}}
NAMED = {"allowedNamespaces.from": "Selector", "allowedNamespaces.names": ["shop"]}
NAMES, SELECTOR = "spec.allowedNamespaces.names", "spec.allowedNamespaces.selector"
EXPRESSIONS = "allowedNamespaces.selector.matchExpressions"
TEMPLATE, DATABASES = "spec.databaseNameTemplate", "spec.limits.databaseNames"
INTERVAL = "must be '0s', or a duration such as '5m' of at least '10s' and at most '24h'"
PATTERN, NOT_RE2 = "should match", "must be a regular expression (RE2)"

# What is changed in the least spec, the field that is refused, a part of the message.
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"connection": None}, "spec.connection", "Required value"),
    ({"connection.secretRef": None}, "spec.connection.secretRef", "must be set when `auth.method` is 'Password'"),
    ({"connection.secretRef.name": "other/pg"}, "spec.connection.secretRef.name", PATTERN),
    ({"connection.secretRef.keys.url": "no spaces"}, "spec.connection.secretRef.keys.url", PATTERN),
    ({"connection.user": "u"}, "spec.connection.user", "may not be specified when `auth.method` is 'Password'"),
    ({"connection.sslMode": "on"}, "spec.connection.sslMode", 'supported values: "disable", "allow", "prefer"'),
    ({"connection.sslMode": "verify-ca"}, "spec.connection.caRef", "must be set when `sslMode` is 'verify-ca'"),
    ({**VERIFIED, "connection.sslMode": "require"}, "spec.connection.caRef", "may only be specified when `sslMode`"),
    ({**VERIFIED, "connection.caRef.kind": "Node"}, "spec.connection.caRef.kind", 'values: "Secret", "ConfigMap"'),
    ({"connection.host": "a,b"}, "spec.connection.host", PATTERN),
    ({"connection.port": 5432}, "spec.connection.port", "may only be specified when `host` is set"),
    ({"connection.database": "d"}, "spec.connection.database", "may only be specified when `host` is set"),
    ({"connection.host": "db", "connection.port": 65_536}, "spec.connection.port", "less than or equal to 65535"),
    ({"connection.host": "db", "connection.database": "rdsadmin"}, "spec.connection.database", "reserves for itself"),
    ({"auth.method": "Kerberos"}, "spec.auth.method", '"Password", "AWSIAM", "CloudSQLIAM", "AzureEntra"'),
    *(
        ({**CLOUD, "auth.method": method, f"connection.{field}": value}, f"spec.connection.{field}", message)
        for method in ("AWSIAM", "CloudSQLIAM", "AzureEntra")
        for field, value, message in (
            ("host", None, "must be set when `auth.method` is not 'Password'"),
            ("user", None, "must be set when `auth.method` is not 'Password'"),
            ("sslMode", None, "must be 'verify-ca' or 'verify-full' when `auth.method` is not 'Password'"),
            ("sslMode", "require", "must be 'verify-ca' or 'verify-full' when `auth.method` is not 'Password'"),
            ("secretRef", {"name": "pg"}, "may only be specified when `auth.method` is 'Password'"),
            ("channelBinding", "require", "must not be 'require' when `auth.method` is not 'Password'"),
        )
    ),
    ({**CLOUD, "connection.user": "a\nb"}, "spec.connection.user", PATTERN),
    ({**CLOUD, "connection.user": "u" * 64}, "spec.connection.user", crd.TOO_LONG),
    ({"auth.region": "eu-central-1"}, "spec.auth.region", "may only be specified when `auth.method` is 'AWSIAM'"),
    ({**CLOUD, "auth.region": "EU"}, "spec.auth.region", PATTERN),
    ({**CLOUD, "auth.region": "a/../b"}, "spec.auth.region", PATTERN),
    ({**CLOUD, "auth.scope": "https://a/.default"}, "spec.auth.scope", "when `auth.method` is 'AzureEntra'"),
    ({**CLOUD, "auth.method": "AzureEntra", "auth.scope": "http://a/.default"}, "spec.auth.scope", PATTERN),
    ({**CLOUD, "auth.method": "AzureEntra", "auth.scope": "https://a/b"}, "spec.auth.scope", PATTERN),
    ({"allowedNamespaces": None}, "spec.allowedNamespaces", "Required value"),
    ({"allowedNamespaces": {}}, "spec.allowedNamespaces.from", "Required value"),
    ({"allowedNamespaces.from": "Same"}, "spec.allowedNamespaces.from", 'supported values: "All", "Selector"'),
    ({"allowedNamespaces.names": ["shop"]}, NAMES, "may not be specified when `from` is 'All'"),
    ({**SELECTED, "allowedNamespaces.from": "All"}, SELECTOR, "may not be specified when `from` is 'All'"),
    ({"allowedNamespaces.from": "Selector"}, SELECTOR, "must be set when `from` is 'Selector' and `names` is empty"),
    ({**NAMED, "allowedNamespaces.names": []}, SELECTOR, "must be set when `from` is 'Selector' and `names` is empty"),
    # In Kubernetes an empty selector matches everything.
    ({**NAMED, "allowedNamespaces.selector": {}}, SELECTOR, "an empty one would match every namespace"),
    ({**SELECTED, "allowedNamespaces.selector": {"matchLabels": {}}}, SELECTOR, "an empty one would match"),
    ({**SELECTED, "allowedNamespaces.selector": {"matchExpressions": []}}, SELECTOR, "an empty one would match"),
    ({**NAMED, "allowedNamespaces.names": ["a.b"]}, f"{NAMES}[0]", PATTERN),
    ({**NAMED, "allowedNamespaces.names": ["n" * 64]}, f"{NAMES}[0]", crd.TOO_LONG),
    ({**NAMED, "allowedNamespaces.names": ["a", "a"]}, f"{NAMES}[1]", "Duplicate value"),
    ({**NAMED, "allowedNamespaces.names": [f"n{n}" for n in range(65)]}, NAMES, "must have at most 64 items"),
    *(
        ({"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {key: "x"}}}},
         f"{SELECTOR}.matchLabels", "keys must be 'name' or 'prefix/name'")
        for key in ("", "a b", "-a", "a/b/c", "/a", "Example.com/a", "k" * 64)
    ),
    ({**SELECTED, "allowedNamespaces.selector.matchLabels": {"a": "b c"}}, f"{SELECTOR}.matchLabels.a", PATTERN),
    *(
        ({**SELECTED, EXPRESSIONS: [{"key": "a", **expression}]}, f"{SELECTOR}.matchExpressions[0].{field}", message)
        for expression, field, message in (
            ({"operator": "In"}, "values", "must be set when `operator` is 'In' or 'NotIn'"),
            ({"operator": "NotIn", "values": []}, "values", "must be set when `operator` is 'In' or 'NotIn'"),
            ({"operator": "Exists", "values": ["b"]}, "values", "may not be specified when `operator` is 'Exists'"),
            ({"operator": "DoesNotExist", "values": ["b"]}, "values", "may not be specified when `operator`"),
            ({"operator": "Gt", "values": ["1"]}, "operator", 'values: "In", "NotIn", "Exists", "DoesNotExist"'),
            ({}, "operator", "Required value"),
            ({"key": "a b", "operator": "Exists"}, "key", PATTERN),
            ({"operator": "In", "values": ["b c"]}, "values[0]", PATTERN),
        )
    ),
    ({"databaseNameTemplate": "{namespace}_and_more"}, TEMPLATE, "must have both '{namespace}' and '{name}'"),
    ({"databaseNameTemplate": "{name}_and_more_of_it"}, TEMPLATE, "must have both '{namespace}' and '{name}'"),
    *(
        ({"databaseNameTemplate": "{namespace}_{name}" + text}, TEMPLATE, PATTERN)
        for text in ("{uid}", "{", "}", "-", "A", " ", "{{name}}", "{name!r}", "{name.x}", "ä")
    ),
    ({"databaseNameTemplate": "{namespace}{name}" + "x" * 112}, TEMPLATE, crd.TOO_LONG),
    ({"defaults.app.host": "db:5432"}, "spec.defaults.app.host", PATTERN),
    ({"defaults.app.port": 0}, "spec.defaults.app.port", "greater than or equal to 1"),
    ({"defaults.app.sslMode": "prefer"}, "spec.defaults.app.sslMode", '"disable", "require", "verify-ca"'),
    ({"defaults.app.sslMode": "verify-ca"}, "spec.defaults.app.sslMode", "when `connection.caRef` is not set"),
    ({"defaults.app.caPath": "ca.crt"}, "spec.defaults.app.caPath", PATTERN),
    ({"defaults.app.verify": "never"}, "spec.defaults.app.verify", '"IfReachable", "Always", "Never"'),
    ({"defaults.app.maxConnections": 10_001}, "spec.defaults.app.maxConnections", "less than or equal to 10000"),
    ({"defaults.user.connectionLimit": 0}, "spec.defaults.user.connectionLimit", "must be -1 (no limit) or at least"),
    *(
        ({"defaults.user.connectionLimit": number, "limits.userConnectionLimit": 20},
         "spec.defaults.user.connectionLimit", "must be at least 1 and at most `limits.userConnectionLimit`")
        for number in (-1, 21)
    ),
    *(({"defaults.interval": text}, "spec.defaults.interval", INTERVAL) for text in ("9s", "25h", "1d")),
    ({"limits.databaseNames": "shop_[a-z0-9_]*"}, DATABASES, "must contain '{namespace}'"),
    *(
        ({"limits.databaseNames": "{namespace}_" + text}, DATABASES, NOT_RE2)
        for text in ("(", "[", "*+?**", "a{1001}", "(a{9}){999}", "(?=a)", "(?!a)", r"(a)\1", "(?<=a)", "\\", "[z-a]")
    ),
    *(
        ({"limits.databaseNames": "{namespace}" + text}, DATABASES, "must consist of '{namespace}', letters, digits")
        for text in ("(a|b)", "|b", "a{2}", "[[:alpha:]]", r"\d", "*", "ä", " ", "[^]]", "^a", "$a", "{name}")
    ),
    ({"limits.databaseNames": "{namespace}" + "x" * 246}, DATABASES, crd.TOO_LONG),
    ({"limits.deletionPolicies": []}, "spec.limits.deletionPolicies", "at least 1 items"),
    ({"limits.deletionPolicies": ["Orphan"]}, "spec.limits.deletionPolicies[0]", 'values: "Retain", "Delete"'),
    ({"limits.existingDatabases": "yes"}, "spec.limits.existingDatabases", 'must be of type boolean: "string"'),
    ({"limits.extensions": ["Vector"]}, "spec.limits.extensions[0]", PATTERN),
    ({"limits.extensions": [f"e{n}" for n in range(17)]}, "spec.limits.extensions", "must have at most 16 items"),
    ({"limits.userConnectionLimit": 0}, "spec.limits.userConnectionLimit", "greater than or equal to 1"),
    ({"limits.userConnectionLimit": -1}, "spec.limits.userConnectionLimit", "greater than or equal to 1"),
    ({"limits.storages": 0}, "spec.limits.storages", "greater than or equal to 1"),
    ({"limits.storages": 10_001}, "spec.limits.storages", "less than or equal to 10000"),
    ({"maxConnections": 0}, "spec.maxConnections", "greater than or equal to 1"),
    ({"maxConnections": 1_001}, "spec.maxConnections", "less than or equal to 1000"),
]  # fmt: skip

ACCEPTED: list[dict[str, Any]] = [
    {},
    {"connection.secretRef.keys": {"user": "username", "password": "password"}, "connection.host": "fd00::1"},
    {"connection.host": "db", "connection.port": 6432, "connection.database": "defaultdb"},
    {"connection.channelBinding": "require"},
    VERIFIED,
    {"connection.sslMode": "verify-full", "connection.caRef": {"kind": "ConfigMap", "name": "rds", "key": "ca.pem"}},
    CLOUD,
    {**CLOUD, "auth.region": "us-gov-west-1", "connection.channelBinding": "disable"},
    {**CLOUD, "auth.method": "CloudSQLIAM", "connection.user": "sa@project.iam"},
    {**CLOUD, "auth.method": "AzureEntra", "connection.user": "Gruppe für Daten"},
    {**CLOUD, "auth.method": "AzureEntra", "auth.scope": "https://ossrdbms-aad.database.chinacloudapi.cn/.default"},
    SELECTED,
    NAMED,
    {**SELECTED, **NAMED},
    {**NAMED, "allowedNamespaces.names": [f"n{n}" for n in range(64)]},
    {**SELECTED, "allowedNamespaces.selector": {"matchExpressions": [
        {"key": "example.com/tier", "operator": "In", "values": ["a", "b"]},
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]},
        {"key": "x", "operator": "Exists"},
        {"key": "y", "operator": "DoesNotExist", "values": []},
    ]}},
    {**SELECTED, "allowedNamespaces.selector": {"matchLabels": {}, "matchExpressions": [
        {"key": "x", "operator": "Exists"},
    ]}},
    *({"databaseNameTemplate": text} for text in ("{name}{namespace}", "t_{namespace}_9_{name}_{name}")),
    {"defaults": {}},
    {"defaults": {"app": {}, "user": {}}},
    {"defaults.app": {"host": "pooler", "port": 6432, "sslMode": "verify-full", "caPath": "/ca.crt"}},
    {"defaults.app": {"verify": "Always", "maxConnections": 5}, "defaults.interval": "0s"},
    {**VERIFIED, "defaults.app.sslMode": "verify-ca"},
    {"defaults.user.connectionLimit": -1},
    {"defaults.user.connectionLimit": 20, "limits.userConnectionLimit": 20},
    {"limits": {}},
    {"limits.deletionPolicies": ["Delete", "Retain"], "limits.existingDatabases": True, "limits.adoption": True},
    {"limits.extensions": ["vector", "uuid-ossp"], "limits.storages": 1},
    *(
        {"limits.databaseNames": text}
        for text in ("{namespace}", "^{namespace}_.*$", r"t[0-9]?\-{namespace}[^A-Z]+.x*", "{namespace}" + "x" * 245)
    ),
    {"maxConnections": 1_000},
]  # fmt: skip


def _label(changes: Mapping[str, Any]) -> str:
    return ",".join(f"{path}={str(value)[:40]}" for path, value in changes.items()) or "least"


@pytest.mark.parametrize(("changes", "field", "message"), REFUSED, ids=[_label(changes) for changes, _, _ in REFUSED])
def test_refuses(servers: Servers, changes: dict[str, Any], field: str, message: str) -> None:
    answer = servers.try_create(crd.changed(LEAST, changes))
    assert not answer.accepted
    assert [text for where, text in answer.causes if where == field and message in text], answer.causes


@pytest.mark.parametrize("changes", ACCEPTED, ids=map(_label, ACCEPTED))
def test_accepts(servers: Servers, changes: dict[str, Any]) -> None:
    answer = servers.try_create(crd.changed(LEAST, changes))
    assert answer.accepted, answer.causes
    assert answer.body["spec"] == crd.with_defaults(crd.changed(LEAST, changes), crd.schema("spec", crd.SERVERS))


def test_every_rule_has_refused_a_case() -> None:
    proven = {
        rule["rule"]
        for path, rule in crd.rules(crd.SERVERS)
        for _, field, message in REFUSED
        if field == f"{path.replace('.[]', '[0]')}{rule.get('fieldPath', '')}" and message in rule["message"]
    }
    assert [rule["rule"] for _, rule in crd.rules(crd.SERVERS) if rule["rule"] not in proven] == []


def test_what_stands_in_the_least_spec() -> None:
    filled = crd.with_defaults(LEAST, crd.schema("spec", crd.SERVERS))
    assert (filled["auth"], filled["databaseNameTemplate"]) == ({"method": "Password"}, "{namespace}_{name}")
    # Closed unless said.
    assert filled["limits"] == {"deletionPolicies": ["Retain"], "existingDatabases": False, "adoption": False}


def test_every_namespace_is_not_the_default(servers: Servers) -> None:
    assert crd.schema("spec", crd.SERVERS)["required"] == ["connection", "allowedNamespaces"]
    assert "default" not in crd.schema("spec.allowedNamespaces.from", crd.SERVERS)


@pytest.mark.parametrize(("length", "accepted"), [(63, True), (64, False)], ids=["63 characters", "64 characters"])
def test_length_of_the_name(servers: Servers, length: int, accepted: bool) -> None:
    answer = servers.try_create(LEAST, name="n" * length)
    assert answer.accepted is accepted
    assert accepted or any(where == "metadata.name" for where, _ in answer.causes)
