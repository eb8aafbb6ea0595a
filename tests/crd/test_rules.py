"""Every rule on the real API server: it refuses its bad case at the right field with its message, and no good case."""

from collections.abc import Mapping
from typing import Any

import pytest

from cipher_operator.api import reserved
from cipher_operator.api.durations import parse_duration
from cipher_operator.api.spec import parse_spec
from support import crd
from support.storages import MINIMAL, Storages

SHARED = {"user.mode": "Shared"}
VERIFIED = {"connection.sslMode": "verify-full", "connection.caRef": {"name": "ca"}, "app.caPath": "/ca.crt"}
BRING = {"user.passwordSecretRef": {"name": "own"}}

SERVED = {"connection.secretRef": None, "connection.serverRef.name": "eu"}

RESERVED = "reserves for itself"
RESERVED_DATABASES = sorted(reserved.DATABASES)
RESERVED_SCHEMAS = (*sorted(reserved.SCHEMAS), *(f"{prefix}x" for prefix in reserved.SCHEMA_PREFIXES))
RESERVED_ROLES = (
    *sorted(reserved.ROLES),
    *(f"{prefix}x" for prefix in reserved.ROLE_PREFIXES),
    *("rdsadmin", "rds_superuser", "cloudsqlsuperuser", "azure_pg_admin", "azuresu", "alloydbsuperuser"),
    *("supabase_admin", "neon_superuser", "neondb_owner", "neondb", "pg_monitor"),
)
POOLED = {"app.host": "pooler", "app.sslMode": "verify-ca", "app.caRef": {"name": "pooler-ca"}, "app.caPath": "/ca.crt"}
PLAIN = {"connection.host": "db.example.com"}
BAD_KEY = "keys must be 'name' or 'prefix/name'"
THEIRS = "these decide who owns or prunes the Secret"
INTERVAL = "must be '0s', or a duration such as '5m' of at least '10s' and at most '24h'"
ROTATION = "must be a duration such as '720h', at least '24h' and at most '8784h'"
PATTERN = "should match"

# What is changed in the least spec, the field that is refused, a part of the message.
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"connection": None}, "spec.connection", "Required value"),
    ({"connection.secretRef": None}, "spec.connection.secretRef", "must be set, or `serverRef`"),
    ({"connection.serverRef.name": "eu"}, "spec.connection.secretRef", "may not be specified when `serverRef` is set"),
    *(
        ({**SERVED, f"connection.{field}": value}, f"spec.connection.{field}", "when `serverRef` is set; the Ciph")
        for field, value in (
            ("host", "db"),
            ("sslMode", "require"),
            ("channelBinding", "prefer"),
            ("caRef", {"name": "ca"}),
        )
    ),
    ({**SERVED, "connection.port": 5432}, "spec.connection.port", "may only be specified when `host` is set"),
    ({**SERVED, "connection.database": "d"}, "spec.connection.database", "may only be specified when `host` is set"),
    ({**SERVED, **SHARED}, "spec.user.mode", "may not be 'Shared' when `connection.serverRef` is set"),
    ({**SERVED, "app.caRef": {"name": "ca"}}, "spec.app.caRef", "may only be specified when `app.sslMode`"),
    ({"connection.secretRef": None, "connection.serverRef": {}}, "spec.connection.serverRef.name", "Required value"),
    ({**SERVED, "connection.serverRef.name": ""}, "spec.connection.serverRef.name", "at least 1 chars"),
    ({**SERVED, "connection.serverRef.name": "a/b"}, "spec.connection.serverRef.name", PATTERN),
    ({**SERVED, "connection.serverRef.name": "e" * 64}, "spec.connection.serverRef.name", crd.TOO_LONG),
    ({"connection.secretRef.name": None}, "spec.connection.secretRef.name", "Required value"),
    ({"connection.secretRef.name": ""}, "spec.connection.secretRef.name", "at least 1 chars"),
    ({"connection.secretRef.name": "Not_A_Name"}, "spec.connection.secretRef.name", PATTERN),
    ({"connection.secretRef.name": "other/pg"}, "spec.connection.secretRef.name", PATTERN),
    ({"connection.secretRef.name": "x" * 254}, "spec.connection.secretRef.name", crd.TOO_LONG),
    ({"connection.secretRef.keys.url": "no spaces"}, "spec.connection.secretRef.keys.url", PATTERN),
    ({"connection.secretRef.keys.url": ""}, "spec.connection.secretRef.keys.url", "at least 1 chars"),
    ({"connection.sslMode": "on"}, "spec.connection.sslMode", 'supported values: "disable", "allow", "prefer"'),
    ({**VERIFIED, "connection.sslMode": None}, "spec.connection.caRef", "may only be specified when `sslMode` is"),
    ({**VERIFIED, "connection.sslMode": "require"}, "spec.connection.caRef", "'verify-ca' or 'verify-full'"),
    ({"connection.sslMode": "verify-ca"}, "spec.connection.caRef", "must be set when `sslMode` is 'verify-ca'"),
    ({**VERIFIED, "app.caPath": None}, "spec.app.caPath", "must be set when `connection.caRef` is set"),
    ({**VERIFIED, "connection.caRef.kind": "Node"}, "spec.connection.caRef.kind", 'values: "Secret", "ConfigMap"'),
    ({**VERIFIED, "connection.caRef.name": None}, "spec.connection.caRef.name", "Required value"),
    ({**VERIFIED, "connection.caRef.key": "a/b"}, "spec.connection.caRef.key", PATTERN),
    ({**VERIFIED, "app.sslMode": "verify-full", "app.caPath": None}, "spec.app.caPath", "`connection.caRef` is set"),
    ({**POOLED, "app.caPath": None}, "spec.app.caPath", "`connection.caRef` is set, or `app.caRef`"),
    ({**POOLED, "app.sslMode": None}, "spec.app.caRef", "may only be specified when `app.sslMode`"),
    ({**POOLED, "app.sslMode": "require"}, "spec.app.caRef", "may only be specified when `app.sslMode`"),
    ({**POOLED, **VERIFIED, "app.sslMode": "disable"}, "spec.app.caRef", "may only be specified when `app.sslMode`"),
    ({**POOLED, "app.caRef": None}, "spec.app.caRef", "must be set when `app.sslMode` is 'verify-ca'"),
    ({**POOLED, "app.sslMode": "prefer"}, "spec.app.sslMode", 'supported values: "disable", "require", "verify-ca"'),
    ({**POOLED, "app.secretName": "pooler-ca"}, "spec.app.secretName", "must not be the Secret in `app.caRef`"),
    ({**POOLED, "app.caRef.kind": "Node"}, "spec.app.caRef.kind", 'values: "Secret", "ConfigMap"'),
    ({**POOLED, "app.caRef.key": "a/b"}, "spec.app.caRef.key", PATTERN),
    ({"app.caRef": {}}, "spec.app.caRef.name", "Required value"),
    ({"app.verify": "never"}, "spec.app.verify", 'supported values: "IfReachable", "Always", "Never"'),
    *(
        ({"connection.host": host}, "spec.connection.host", PATTERN)
        for host in ("postgresql://u:p@db", "/run/postgresql", "a,b", "db:5432", "[::1]", "db/x", "-db", "db.")
    ),
    ({"connection.host": "h" * 254}, "spec.connection.host", crd.TOO_LONG),
    ({"connection.port": 5432}, "spec.connection.port", "may only be specified when `host` is set"),
    ({"connection.database": "d"}, "spec.connection.database", "may only be specified when `host` is set"),
    ({**PLAIN, "connection.port": 0}, "spec.connection.port", "greater than or equal to 1"),
    ({**PLAIN, "connection.port": 65_536}, "spec.connection.port", "less than or equal to 65535"),
    ({**PLAIN, "connection.database": "a b"}, "spec.connection.database", PATTERN),
    ({**PLAIN, "connection.database": "d" * 64}, "spec.connection.database", crd.TOO_LONG),
    *(
        ({**PLAIN, "connection.database": name}, "spec.connection.database", RESERVED)
        for name in RESERVED_DATABASES
    ),
    ({"connection.channelBinding": "off"}, "spec.connection.channelBinding", '"disable", "prefer", "require"'),
    *(
        ({"database.name": name}, "spec.database.name", RESERVED)
        for name in RESERVED_DATABASES
    ),
    ({"database.name": "a b"}, "spec.database.name", PATTERN),
    ({"database.name": "-option"}, "spec.database.name", PATTERN),
    ({"database.name": 'a"b'}, "spec.database.name", PATTERN),
    ({"database.name": "dätenbank"}, "spec.database.name", PATTERN),
    ({"database.name": "line\nbreak"}, "spec.database.name", PATTERN),
    ({"database.name": "d" * 64}, "spec.database.name", crd.TOO_LONG),
    *(
        ({"schema": name}, "spec.schema", RESERVED)
        for name in RESERVED_SCHEMAS
    ),
    ({"schema": "Cipher"}, "spec.schema", PATTERN),
    ({"schema": "a.b"}, "spec.schema", PATTERN),
    ({"schema": '"$user"'}, "spec.schema", PATTERN),
    ({"schema": "s" * 64}, "spec.schema", crd.TOO_LONG),
    *(
        ({"user.name": name}, "spec.user.name", RESERVED)
        for name in RESERVED_ROLES
    ),
    ({"user.name": "chat_b"}, "spec.user.name", "must not end in '_b' or '_owner'"),
    ({"user.name": "chat_owner"}, "spec.user.name", "must not end in '_b' or '_owner'"),
    ({"user.name": "Cipher"}, "spec.user.name", PATTERN),
    ({"user.name": "7up"}, "spec.user.name", PATTERN),
    ({"user.name": "a;drop"}, "spec.user.name", PATTERN),
    ({"user.name": "u" * 58}, "spec.user.name", crd.TOO_LONG),
    ({"user.mode": "shared"}, "spec.user.mode", 'supported values: "Dedicated", "Shared"'),
    ({"user.connectionLimit": 0}, "spec.user.connectionLimit", "must be -1 (no limit) or at least 1"),
    ({"user.connectionLimit": -2}, "spec.user.connectionLimit", "greater than or equal to -1"),
    ({"user.connectionLimit": 262_144}, "spec.user.connectionLimit", "less than or equal to 262143"),
    ({**SHARED, "user.name": "u"}, "spec.user.name", "the administrator's own login is published"),
    ({**SHARED, **BRING}, "spec.user.passwordSecretRef", "the administrator's own password is published"),
    ({**SHARED, "user.connectionLimit": 5}, "spec.user.connectionLimit", "must be -1 when `user.mode` is 'Shared'"),
    ({**SHARED, "passwordRotation.interval": "720h"}, "spec.passwordRotation", "when `user.mode` is 'Shared'"),
    ({**SHARED, "schema": "cipher"}, "spec.schema", "must be 'public' when `user.mode` is 'Shared'"),
    ({"user.passwordSecretRef": {}}, "spec.user.passwordSecretRef.name", "Required value"),
    ({**BRING, "passwordRotation.interval": "720h"}, "spec.passwordRotation", "when `user.passwordSecretRef` is set"),
    ({"user.passwordSecretRef.name": "pg-admin"}, "spec.user.passwordSecretRef.name", "must not be the Secret in `c"),
    ({"app.secretName": "pg-admin"}, "spec.app.secretName", "must not be the Secret in `connection.secretRef`"),
    ({**BRING, "app.secretName": "own"}, "spec.app.secretName", "must not be the Secret in `user.passwordSecretRef`"),
    ({**VERIFIED, "app.secretName": "ca"}, "spec.app.secretName", "must not be the Secret in `connection.caRef`"),
    ({"app.secretName": "A"}, "spec.app.secretName", PATTERN),
    *(
        ({f"app.{field}": {key: "x"}}, f"spec.app.{field}", THEIRS)
        for field in ("labels", "annotations")
        for key in (
            "argocd.argoproj.io/instance",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/managed-by",
            "kustomize.toolkit.fluxcd.io/name",
            "helm.toolkit.fluxcd.io/name",
            "kubectl.kubernetes.io/last-applied-configuration",
            "storage.cipher.dev/name",
        )
    ),
    *(
        ({f"app.{field}": {key: "x"}}, f"spec.app.{field}", BAD_KEY)
        for field in ("labels", "annotations")
        for key in ("", "a b", "-a", "a/b/c", "/a", "Example.com/a", "k" * 64)
    ),
    ({"app.labels": {"a": "not a label"}}, "spec.app.labels.a", PATTERN),
    ({"app.labels": {"a": "v" * 64}}, "spec.app.labels.a", crd.TOO_LONG),
    ({"app.labels": {f"k{n}": "v" for n in range(17)}}, "spec.app.labels", "must have at most 16 items"),
    ({"app.annotations": {"a": "v" * 1025}}, "spec.app.annotations.a", crd.TOO_LONG),
    ({"app.host": "http://pooler"}, "spec.app.host", PATTERN),
    ({"app.host": "/run/postgresql"}, "spec.app.host", PATTERN),
    ({"app.host": "a,b"}, "spec.app.host", PATTERN),
    ({"app.host": "db:5432"}, "spec.app.host", PATTERN),
    ({"app.port": 0}, "spec.app.port", "greater than or equal to 1"),
    ({"app.port": 65_536}, "spec.app.port", "less than or equal to 65535"),
    ({"app.port": "5432"}, "spec.app.port", 'must be of type integer: "string"'),
    ({"app.caPath": "ca.crt"}, "spec.app.caPath", PATTERN),
    ({"app.caPath": "/ca.crt?sslmode=disable"}, "spec.app.caPath", PATTERN),
    ({"app.maxConnections": 0}, "spec.app.maxConnections", "greater than or equal to 1"),
    ({"app.maxConnections": 10_001}, "spec.app.maxConnections", "less than or equal to 10000"),
    ({"extensions": [{"name": "_vector"}]}, "spec.extensions[0].name", PATTERN),
    ({"extensions": [{"name": "Vector"}]}, "spec.extensions[0].name", PATTERN),
    ({"extensions": [{"name": "a"}, {"name": "a"}]}, "spec.extensions[1]", "Duplicate value"),
    ({"extensions": [{}]}, "spec.extensions[0].name", "Required value"),
    ({"extensions": [{"name": f"e{n}"} for n in range(17)]}, "spec.extensions", "must have at most 16 items"),
    ({"passwordRotation": {}}, "spec.passwordRotation.interval", "Required value"),
    *(
        ({"passwordRotation.interval": text}, "spec.passwordRotation.interval", ROTATION)
        for text in ("23h59m59s", "8784h1s", "30d", "0s", "720", "+720h", "-720h", "24h ", "1.5h", "99999h")
    ),
    *(
        ({"interval": text}, "spec.interval", INTERVAL)
        for text in ("9s", "24h1s", "1d", "5 m", "30s5m", "500ms", "-5m", "5M", "m5")
    ),
    ({"interval": ""}, "spec.interval", "at least 2 chars"),
    ({"interval": 300}, "spec.interval", 'must be of type string: "integer"'),
    ({"deletionPolicy": "Orphan"}, "spec.deletionPolicy", 'supported values: "Retain", "Delete"'),
    ({"adoptionPolicy": "Always"}, "spec.adoptionPolicy", 'supported values: "Never", "IfUnowned"'),
    ({"managementPolicy": "observe"}, "spec.managementPolicy", 'supported values: "Manage", "Observe"'),
    ({"adoptFrom": {"namespace": "a", "name": "b"}}, "spec.adoptFrom.instance", "Required value"),
    ({"adoptFrom": {"instance": "i", "namespace": "A", "name": "b"}}, "spec.adoptFrom.namespace", PATTERN),
    ({"adoptFrom": {"instance": "i", "namespace": "a", "name": "b" * 64}}, "spec.adoptFrom.name", crd.TOO_LONG),
    ({"adoptFrom": {"instance": "i" * 64, "namespace": "a", "name": "b"}}, "spec.adoptFrom.instance", crd.TOO_LONG),
    ({"adoptFrom": {"instance": "i j", "namespace": "a", "name": "b"}}, "spec.adoptFrom.instance", PATTERN),
    ({"suspend": "true"}, "spec.suspend", 'must be of type boolean: "string"'),
]  # fmt: skip

ACCEPTED: list[dict[str, Any]] = [
    {},
    SERVED,
    # What the CipherServer has, or its `defaults` may have, is for the operator to look at.
    {**SERVED, "app.sslMode": "verify-ca"},
    {**SERVED, "app.sslMode": "verify-ca", "app.caRef": {"name": "ca"}},
    {**SERVED, "deletionPolicy": "Delete", "adoptionPolicy": "IfUnowned", "user.name": "u", "database.name": "d"},
    {"connection.secretRef.keys": {"url": "DATABASE_URL", "password": "pass.word-1"}},
    *({"connection.sslMode": mode} for mode in ("disable", "allow", "prefer", "require", "verify-full")),
    VERIFIED,
    {**VERIFIED, "connection.sslMode": "verify-ca"},
    {**VERIFIED, "connection.caRef": {"kind": "ConfigMap", "name": "bundle", "key": "ca.pem"}},
    # A ConfigMap is no Secret: the same name is no conflict.
    {**VERIFIED, "connection.caRef": {"kind": "ConfigMap", "name": "x"}, "app.secretName": "x"},
    *(
        {**POOLED, **changes}
        for changes in (
            {},
            {"app.sslMode": "verify-full"},
            {"app.sslMode": "verify-full", "app.caRef": None, "app.caPath": None},
            {"app.sslMode": None, "connection.sslMode": "verify-full"},
            # The operator verifies, and pods go through a side-car that speaks plain.
            {
                "connection.sslMode": "verify-full",
                "connection.caRef": {"name": "ca"},
                "app.sslMode": "disable",
                "app.caRef": None,
                "app.caPath": None,
            },
            {"connection.sslMode": "verify-ca", "connection.caRef": {"name": "ca"}, "app.caRef": None},
        )
    ),
    *({"app.verify": choice} for choice in ("IfReachable", "Always", "Never")),
    *({**PLAIN, "connection.host": host} for host in ("10.0.0.1", "fd00::1", "my_db.svc", "xn--mnchen-3ya.example")),
    {**PLAIN, "connection.port": 6432, "connection.database": "postgres", "connection.channelBinding": "disable"},
    {"app.caPath": "/etc/ssl/certs/ca-certificates.crt", "connection.sslMode": "verify-full"},
    *({"database.name": name} for name in ("My-DB", "postgres", "neondb", "d4abc", "7eleven", "d" * 63)),
    {"database.create": False},
    *({"schema": name} for name in ("public", "cipher", "_x", "pgx", "supabase", "s" * 63)),
    *({"user.name": name} for name in ("cipher_user", "_u", "pgx", "neon", "u" * 57)),
    *({"user.connectionLimit": limit} for limit in (-1, 1, 262_143)),
    SHARED,
    {**SHARED, "user.connectionLimit": -1, "schema": "public", "deletionPolicy": "Delete"},
    {**BRING, "app.secretName": "other"},
    {"passwordRotation.interval": "24h"},
    {"passwordRotation.interval": "8784h"},
    {"passwordRotation.interval": "1440m"},
    *({"interval": text} for text in ("0s", "0h0m0s", "10s", "5m", "1h30m", "24h", "86400s")),
    {"extensions": [{"name": "vector"}, {"name": "uuid-ossp"}]},
    {"app.secretName": "chat-cipher"},
    {"app.labels": {"app.kubernetes.io/name": "chat", "team": "", "example.com/tier": "a.b_c-1"}},
    {"app.annotations": {"reloader.stakater.com/match": "true", "note": "any text: v" + "x" * 1000}},
    {"app.labels": {"app.kubernetes.io/instances": "x", "argocd.argoproj.io.example/x": "x"}},
    *({"app.host": host} for host in ("pooler.example.com", "10.0.0.1", "fd00::1", "::ffff:10.0.0.1", "my_pooler")),
    {"app.port": 1, "app.maxConnections": 1},
    {"app.port": 65_535, "app.maxConnections": 10_000},
    {"deletionPolicy": "Delete", "adoptionPolicy": "IfUnowned", "managementPolicy": "Observe", "suspend": True},
    {"adoptFrom": {"instance": "7bdd2a0c-0a53-4e4c-8a2e-3e1d1f1f0001", "namespace": "team-a", "name": "old.name"}},
]


def _label(changes: Mapping[str, Any]) -> str:
    return ",".join(f"{path}={str(value)[:32]}" for path, value in changes.items()) or "least"


@pytest.mark.parametrize(("changes", "field", "message"), REFUSED, ids=[_label(changes) for changes, _, _ in REFUSED])
def test_refuses(storages: Storages, changes: dict[str, Any], field: str, message: str) -> None:
    answer = storages.try_create(crd.changed(MINIMAL, changes))
    assert not answer.accepted
    assert [text for where, text in answer.causes if where == field and message in text], answer.causes


@pytest.mark.parametrize("changes", ACCEPTED, ids=map(_label, ACCEPTED))
def test_accepts(storages: Storages, changes: dict[str, Any]) -> None:
    sent = crd.changed(MINIMAL, changes)
    answer = storages.try_create(sent)
    assert answer.accepted, answer.causes
    # What the server has filled in, and what the parser would have, is the same.
    assert parse_spec("ns", "x", answer.body["spec"]) == parse_spec("ns", "x", sent)


def test_every_rule_has_refused_a_case() -> None:
    proven = {
        rule["rule"]
        for path, rule in crd.rules()
        for _, field, message in REFUSED
        if field == f"{path}{rule.get('fieldPath', '')}" and message in rule["message"]
    }
    # Rules about changes have their cases in test_updates.
    assert [
        rule["rule"] for _, rule in crd.rules() if "oldSelf" not in rule["rule"] and rule["rule"] not in proven
    ] == []


@pytest.mark.parametrize("field", ["interval", "passwordRotation.interval"])
def test_the_parser_reads_every_duration_that_the_schema_accepts(field: str) -> None:
    accepted = [changes[field] for changes in ACCEPTED if field in changes]
    assert accepted and all(parse_duration(text) >= 0 for text in accepted)


@pytest.mark.parametrize(("length", "accepted"), [(63, True), (64, False)], ids=["63 characters", "64 characters"])
def test_length_of_the_name(storages: Storages, length: int, accepted: bool) -> None:
    answer = storages.try_create(MINIMAL, name="n" * length)
    assert answer.accepted is accepted
    assert accepted or any(where == "metadata.name" for where, _ in answer.causes)


def test_unknown_fields_are_refused_by_kubectls_validation(storages: Storages) -> None:
    sent = storages.new(crd.changed(MINIMAL, {"user.nmae": "x"}))
    answer = storages.request("POST", f"{storages.path}?dryRun=All&fieldValidation=Strict", sent)
    assert not answer.accepted and 'unknown field "spec.user.nmae"' in answer.body["message"]
