"""The parser of the spec: its defaults, what it reads, and that any JSON at all ends in InvalidSpec at worst."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipher_operator.api import reserved
from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import FailureClass, Reason
from cipher_operator.api.spec import (
    AdoptFrom,
    AdoptionPolicy,
    App,
    CAKind,
    CARef,
    ChannelBinding,
    Connection,
    Database,
    DeletionPolicy,
    DoorVerification,
    KeyRef,
    ManagementPolicy,
    SecretKeys,
    Spec,
    SSLMode,
    User,
    UserMode,
    parse_resource,
    parse_spec,
)
from support import crd
from support.storages import MINIMAL

KEYS = SecretKeys(
    url="CIPHER_PG_URL",
    host="STORAGE_DATABASE_HOST",
    port="STORAGE_DATABASE_PORT",
    database="STORAGE_DATABASE_NAME",
    user="STORAGE_DATABASE_USER",
    password="STORAGE_DATABASE_PASSWORD",
    ssl="STORAGE_DATABASE_SSL",
)


def test_the_least_spec_gets_every_default() -> None:
    assert parse_spec("team", "chat", MINIMAL) == Spec(
        connection=Connection("pg-admin", KEYS, None, None),
        database=Database(None, create=True),
        schema="public",
        user=User(UserMode.DEDICATED, None, -1, None),
        extensions=(),
        app=App("chat-cipher", {}, {}, None, None, None, None),
        rotation_interval=None,
        interval=None,
        deletion_policy=DeletionPolicy.RETAIN,
        adoption_policy=AdoptionPolicy.NEVER,
        adopt_from=None,
        management_policy=ManagementPolicy.MANAGE,
        suspend=False,
    )


def test_every_field_is_read() -> None:
    spec = {
        "connection": {
            "secretRef": {
                "name": "pg",
                "keys": {
                    "url": "A",
                    "host": "B",
                    "port": "C",
                    "database": "D",
                    "user": "E",
                    "password": "F",
                    "ssl": "G",
                },
            },
            "sslMode": "verify-ca",
            "caRef": {"kind": "ConfigMap", "name": "ca", "key": "ca.pem"},
            "host": "db.example.com",
            "port": 5433,
            "database": "postgres",
            "channelBinding": "disable",
        },
        "database": {"name": "My-DB", "create": False},
        "schema": "cipher",
        "user": {
            "mode": "Shared",
            "name": "u",
            "connectionLimit": 50,
            "passwordSecretRef": {"name": "own", "key": "pw"},
        },
        "extensions": [{"name": "vector"}, {"name": "pg_trgm"}],
        "app": {
            "secretName": "s",
            "labels": {"a": "b"},
            "annotations": {"c": "d"},
            "host": "pooler",
            "port": 6432,
            "caPath": "/ca.crt",
            "maxConnections": 3,
            "sslMode": "verify-full",
            "caRef": {"name": "pooler-ca"},
            "verify": "Always",
        },
        "passwordRotation": {"interval": "720h"},
        "interval": "0s",
        "deletionPolicy": "Delete",
        "adoptionPolicy": "IfUnowned",
        "adoptFrom": {"instance": "i", "namespace": "n", "name": "x"},
        "managementPolicy": "Observe",
        "suspend": True,
    }
    assert parse_spec("team", "chat", spec) == Spec(
        connection=Connection(
            "pg",
            SecretKeys(*"ABCDEFG"),
            SSLMode.VERIFY_CA,
            CARef(kind=CAKind.CONFIG_MAP, name="ca", key="ca.pem"),
            host="db.example.com",
            port=5433,
            database="postgres",
            channel_binding=ChannelBinding.DISABLE,
        ),
        database=Database("My-DB", create=False),
        schema="cipher",
        user=User(UserMode.SHARED, "u", 50, KeyRef("own", "pw")),
        extensions=("vector", "pg_trgm"),
        app=App(
            *("s", {"a": "b"}, {"c": "d"}, "pooler", 6432, "/ca.crt", 3),
            ssl_mode=SSLMode.VERIFY_FULL,
            ca=CARef(CAKind.SECRET, "pooler-ca", "ca.crt"),
            verify=DoorVerification.ALWAYS,
        ),
        rotation_interval=720 * 3_600.0,
        interval=0.0,
        deletion_policy=DeletionPolicy.DELETE,
        adoption_policy=AdoptionPolicy.IF_UNOWNED,
        adopt_from=AdoptFrom("i", "n", "x"),
        management_policy=ManagementPolicy.OBSERVE,
        suspend=True,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"connection": None}, "`spec.connection.secretRef.name` must be set"),
        ({"connection": {}}, "`spec.connection.secretRef.name` must be set"),
        ({"connection": []}, "`spec.connection` must be an object"),
        ({"connection.secretRef.name": ""}, "`spec.connection.secretRef.name` must be set"),
        ({"connection.secretRef.name": 1}, "`spec.connection.secretRef.name` must be a string"),
        ({"connection.secretRef.keys": "url"}, "`spec.connection.secretRef.keys` must be an object"),
        ({"connection.sslMode": "on"}, "`spec.connection.sslMode` must be one of disable, allow, prefer, require"),
        ({"connection.caRef": {}}, "`spec.connection.caRef.name` must be set"),
        ({"connection.host": 1}, "`spec.connection.host` must be a string"),
        ({"connection.port": "5432"}, "`spec.connection.port` must be a whole number"),
        ({"connection.channelBinding": "off"}, "`spec.connection.channelBinding` must be one of disable, prefer"),
        ({"app.sslMode": "prefer"}, "`spec.app.sslMode` must be one of disable, require, verify-ca, verify-full"),
        ({"app.caRef": {}}, "`spec.app.caRef.name` must be set"),
        ({"app.verify": "Sometimes"}, "`spec.app.verify` must be one of IfReachable, Always, Never"),
        ({"database.name": "a\0b"}, "`spec.database.name` must not contain NUL"),
        ({"database.create": "yes"}, "`spec.database.create` must be true or false"),
        ({"user.mode": "shared"}, "`spec.user.mode` must be one of Dedicated, Shared"),
        ({"user.connectionLimit": True}, "`spec.user.connectionLimit` must be a whole number"),
        ({"user.connectionLimit": 1.5}, "`spec.user.connectionLimit` must be a whole number"),
        ({"extensions": {"name": "vector"}}, "`spec.extensions` must be a list"),
        ({"extensions": [{"name": "a"}, None]}, "`spec.extensions[1].name` must be set"),
        ({"extensions": ["vector"]}, "`spec.extensions[0]` must be an object"),
        ({"app.labels": {"a": 1}}, "`spec.app.labels` must be a map of strings"),
        ({"app.annotations": []}, "`spec.app.annotations` must be a map of strings"),
        ({"interval": "1d"}, "`spec.interval` must be a duration such as 30s"),
        ({"passwordRotation": {"interval": 720}}, "`spec.passwordRotation.interval` must be a string"),
        ({"adoptFrom": {"instance": "i", "name": "x"}}, "`spec.adoptFrom.namespace` must be set"),
        ({"suspend": 1}, "`spec.suspend` must be true or false"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_says_which_field_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Failure) as caught:
        parse_spec("team", "chat", crd.changed(MINIMAL, changes))
    assert caught.value.reason is Reason.INVALID_SPEC
    assert caught.value.failure_class is FailureClass.STALLED
    assert caught.value.message.startswith(message)


RESERVED = [
    *(("database.name", name) for name in sorted(reserved.DATABASES)),
    *(("schema", name) for name in (*sorted(reserved.SCHEMAS), *(f"{each}x" for each in reserved.SCHEMA_PREFIXES))),
    *(("user.name", name) for name in (*sorted(reserved.ROLES), *(f"{each}x" for each in reserved.ROLE_PREFIXES))),
]


@pytest.mark.parametrize(("field", "name"), RESERVED)
def test_a_reserved_name_is_refused_whatever_schema_let_it_in(field: str, name: str) -> None:
    with pytest.raises(Failure) as caught:
        parse_spec("team", "chat", crd.changed(MINIMAL, {field: name}))
    assert caught.value.reason is Reason.INVALID_SPEC
    assert caught.value.message == f"`spec.{field}` must not be one that PostgreSQL or the provider reserves for itself"


@pytest.mark.parametrize(
    ("field", "name"),
    [("database.name", "postgres"), ("database.name", "neondb"), ("schema", "public"), ("schema", "cipher"),
     ("schema", "supabase"), ("user.name", "cipher_user"), ("user.name", "neon")],
)  # fmt: skip
def test_what_exists_on_a_providers_server_may_be_used(field: str, name: str) -> None:
    parse_spec("team", "chat", crd.changed(MINIMAL, {field: name}))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def _near_miss(node: Any) -> st.SearchStrategy[Any]:
    """Return values of the shape that the schema wants, with anything else here and there."""
    if "properties" in node:
        fields = {name: _near_miss(child) for name, child in node["properties"].items()}
        return st.fixed_dictionaries({}, optional=fields) | ANYTHING
    if "items" in node:
        return st.lists(_near_miss(node["items"]), max_size=2) | ANYTHING
    return st.sampled_from([*node.get("enum", ["x", 1, True])]) | ANYTHING


@given(_near_miss(crd.schema("spec")).filter(lambda value: isinstance(value, dict)))
def test_any_json_is_a_spec_or_invalid(spec: dict[str, Any]) -> None:
    # An object stored under another version of the schema may have any shape.
    try:
        parsed = parse_spec("team", "chat", json.loads(json.dumps(spec)))
    except Failure as failure:
        assert failure.reason is Reason.INVALID_SPEC
        assert failure.message.startswith("`spec.")
    else:
        assert parsed.connection.secret_name and parsed.schema and parsed.app.secret_name


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "metadata": ANYTHING
            | st.dictionaries(
                st.sampled_from(["namespace", "name", "uid", "generation", "finalizers", "annotations"]), ANYTHING
            ),
            "spec": ANYTHING,
            "status": ANYTHING,
        },
    )
)
def test_any_json_is_a_resource(body: dict[str, Any]) -> None:
    resource = parse_resource(body)
    assert resource.key == (resource.namespace, resource.name)
    assert all(isinstance(text, str) for text in (*resource.finalizers, *resource.annotations.values()))


def test_resource_facts() -> None:
    body = {
        "metadata": {
            "namespace": "team",
            "name": "chat",
            "uid": "u-1",
            "generation": 3,
            "resourceVersion": "77",
            "deletionTimestamp": "2026-01-02T03:04:05Z",
            "finalizers": ["storage.cipher.dev/finalizer"],
            "annotations": {"a": "b"},
        },
        "spec": MINIMAL,
        "status": {"observedGeneration": -1},
    }
    resource = parse_resource(body)
    assert (resource.key, resource.uid, resource.generation) == (("team", "chat"), "u-1", 3)
    assert (resource.resource_version, resource.deleting) == ("77", True)
    assert (resource.finalizers, resource.annotations) == (("storage.cipher.dev/finalizer",), {"a": "b"})
    assert (resource.raw_spec, resource.status) == (MINIMAL, {"observedGeneration": -1})
