"""The CRD and the Python of `api` and `core` say the same."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from cipher_operator.api import conditions, durations, names, reserved
from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import (
    AdoptionPolicy,
    CAKind,
    ChannelBinding,
    DeletionPolicy,
    DoorSSLMode,
    DoorVerification,
    ManagementPolicy,
    SSLMode,
    UserMode,
    parse_spec,
)
from cipher_operator.core import requests
from cipher_operator.core.connection import admin, values
from cipher_operator.reconcile.report import status
from cipher_operator.reconcile.result import Facts, Result
from support import crd

FULL: dict[str, Any] = {
    "connection": {
        "secretRef": {"name": "pg", "keys": {}},
        "sslMode": "verify-full",
        "caRef": {"kind": "ConfigMap", "name": "ca", "key": "ca.pem"},
    },
    "database": {"name": "d", "create": False},
    "schema": "cipher",
    "user": {"mode": "Dedicated", "name": "u", "passwordSecretRef": {"name": "p", "key": "k"}},
    "extensions": [{"name": "vector"}],
    "app": {
        "labels": {"a": "b"},
        "annotations": {"c": "d"},
        "caRef": {"kind": "ConfigMap", "name": "ca", "key": "ca.pem"},
    },
    "passwordRotation": {"interval": "720h"},
    "interval": "5m",
    "adoptFrom": {"instance": "i", "namespace": "n", "name": "x"},
}


class Recorder(Mapping[str, Any]):
    """A mapping that notes the path of every field that is asked for."""

    def __init__(self, value: Mapping[str, Any], path: str, seen: set[str]) -> None:
        self._value, self._path, self._seen = value, path, seen

    def __getitem__(self, field: str) -> Any:
        return self._wrap(self._value[field], f"{self._path}.{field}")

    def get(self, field: str, default: Any = None) -> Any:
        self._seen.add(f"{self._path}.{field}")
        return self[field] if field in self._value else default

    def __iter__(self) -> Iterator[str]:
        return iter(self._value)

    def __len__(self) -> int:
        # Never empty, so that nothing is skipped.
        return max(1, len(self._value))

    def _wrap(self, value: Any, path: str) -> Any:
        if isinstance(value, Mapping):
            return Recorder(value, path, self._seen)
        if isinstance(value, list):
            return [self._wrap(item, f"{path}.[]") for item in value]
        return value


def test_parser_reads_exactly_the_fields_of_the_schema() -> None:
    seen: set[str] = set()
    for spec in (FULL, {**FULL, "connection": {"serverRef": {"name": "eu"}}}):
        parse_spec("ns", "name", Recorder(spec, "spec", seen))
    fields = {path for path, _ in crd.nodes(crd.schema("spec"), "spec")}
    values = {path for path in fields if path.endswith((".*", ".[]"))}
    assert seen == fields - values - {"spec"}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("spec.connection.sslMode", SSLMode),
        ("spec.connection.caRef.kind", CAKind),
        ("spec.connection.channelBinding", ChannelBinding),
        ("spec.app.sslMode", DoorSSLMode),
        ("spec.app.caRef.kind", CAKind),
        ("spec.app.verify", DoorVerification),
        ("spec.user.mode", UserMode),
        ("spec.deletionPolicy", DeletionPolicy),
        ("spec.adoptionPolicy", AdoptionPolicy),
        ("spec.managementPolicy", ManagementPolicy),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_enums(path: str, values: type) -> None:
    assert crd.schema(path)["enum"] == [str(value) for value in values]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "sent",
    [
        {"connection": {"secretRef": {"name": "pg"}}},
        {
            "connection": {"secretRef": {"name": "pg"}, "caRef": {"name": "ca"}, "sslMode": "verify-ca"},
            "user": {"passwordSecretRef": {"name": "p"}},
        },
    ],
    ids=["least", "optional objects with defaults"],
)
def test_defaults_of_schema_and_parser_are_the_same(sent: dict[str, Any]) -> None:
    filled = crd.with_defaults(sent, crd.schema("spec"))
    assert filled != sent
    assert parse_spec("ns", "name", filled) == parse_spec("ns", "name", sent)


def test_names() -> None:
    spec = crd.document()["spec"]
    assert crd.document()["metadata"]["name"] == names.CRD_NAME
    assert (spec["group"], spec["names"]["kind"], spec["names"]["plural"]) == (names.GROUP, names.KIND, names.PLURAL)
    assert crd.version()["name"] == names.VERSION
    all_requests = {*names.REQUEST_ANNOTATIONS, names.ADOPT_REQUEST}
    assert set(crd.schema("status.handledRequests")["properties"]) == all_requests
    for request, annotation in names.REQUEST_ANNOTATIONS.items():
        node = crd.schema(f"status.handledRequests.{request}")
        assert annotation in node["description"] and node["maxLength"] == requests.MAX_VALUE


def test_bounds() -> None:
    assert crd.schema("spec.user.name")["maxLength"] == names.MAX_USER_NAME
    assert crd.schema("spec.database.name")["maxLength"] == names.MAX_NAME
    assert crd.schema("spec.app.maxConnections")["maximum"] == admin.MAX_POOL
    plan = crd.schema("status.plan")
    assert (plan["maxItems"], plan["items"]["maxLength"]) == (status.PLAN_LINES, status.PLAN_LINE_LENGTH)


def test_a_status_that_the_operator_can_write_is_never_over_a_bound() -> None:
    # One value over its bound refuses the whole status.
    condition = crd.schema("status.conditions.[]")["properties"]
    assert condition["message"]["maxLength"] >= conditions.MAX_MESSAGE
    assert len(ConditionType) <= crd.schema("status.conditions")["maxItems"]
    for word, field in [*((str(type_), "type") for type_ in ConditionType), *((str(r), "reason") for r in Reason)]:
        assert re.fullmatch(condition[field]["pattern"], word) and len(word) <= condition[field]["maxLength"]
    assert crd.schema("status.database")["maxLength"] >= names.MAX_NAME
    assert crd.schema("status.user")["maxLength"] >= values.MAX_LOGIN
    secret_name = crd.schema("spec.app.secretName")["maxLength"]
    assert len(names.default_secret_name("n" * 63)) <= secret_name <= crd.schema("status.binding.name")["maxLength"]


def test_every_field_that_is_written_is_in_the_schema() -> None:
    # What the schema does not know is dropped without a word.
    facts = Facts("d", "u", "s", "16.4", "2026-01-02T03:04:05Z")
    handled = dict.fromkeys((*names.REQUEST_ANNOTATIONS, names.ADOPT_REQUEST), "v")
    written = status.next_status(
        Result(facts=facts, plan=("SELECT 1",), handled=handled), {}, 1, "2026-01-02T03:04:05Z", progress_deadline=600
    )
    failed = Result(failure=Failure(Reason.CONNECTION_REFUSED, "why", stage=ConditionType.CONNECTED))
    trying = status.next_status(failed, written, 1, "2026-01-02T03:04:05Z", progress_deadline=600)
    node = crd.schema("status")
    assert set(written) | set(trying) == set(node["properties"])
    assert set(written["handledRequests"]) == set(node["properties"]["handledRequests"]["properties"])
    condition = crd.schema("status.conditions.[]")["properties"]
    assert {field for each in written["conditions"] for field in each} == set(condition)


def _words(rule: str) -> set[str]:
    """Return the names that a rule lists in brackets."""
    return {word for listed in re.findall(r"self in \[(.*?)\]", rule) for word in re.findall(r"'([^']*)'", listed)}


def _prefixes(rule: str) -> set[str]:
    """Return what a rule refuses at the beginning, as a call or in one expression."""
    (expression,) = re.findall(r"self\.matches\('\^\((.*?)\)'\)", rule) or [""]
    return {*re.findall(r"self\.startsWith\('([^']*)'\)", rule), *filter(None, expression.split("|"))}


@pytest.mark.parametrize(
    ("path", "listed", "prefixes"),
    [
        ("spec.database.name", reserved.DATABASES, ()),
        ("spec.connection.database", reserved.DATABASES, ()),
        ("spec.schema", reserved.SCHEMAS, reserved.SCHEMA_PREFIXES),
        ("spec.user.name", reserved.ROLES, reserved.ROLE_PREFIXES),
    ],
)
def test_reserved_names_are_those_of_the_parser(path: str, listed: frozenset[str], prefixes: tuple[str, ...]) -> None:
    (rule,) = [each["rule"] for each in crd.schema(path)[crd.RULES] if "reserves" in each["message"]]
    assert _words(rule) == listed
    assert _prefixes(rule) == set(prefixes)


def test_default_user_name_obeys_the_schema() -> None:
    node = crd.schema("spec.user.name")
    for namespace, name in [("team", "chat"), ("n" * 63, "x" * 63), ("0", "a.b-c")]:
        derived = names.default_user_name(namespace, name)
        assert re.fullmatch(node["pattern"], derived) and len(derived) <= node["maxLength"]
        assert not reserved.is_reserved_role(derived)


@pytest.mark.parametrize("path", ["spec.interval", "spec.passwordRotation.interval"])
def test_durations_are_written_the_same_way(path: str) -> None:
    (rule,) = crd.schema(path)[crd.RULES]
    # CEL gets the parser's expression, without the groups that the parser reads from.
    same = re.sub(r"\(\?:\((.*?)\)([hms])\)\?", r"(\1\2)?", durations.PATTERN)
    assert f"self.matches('^{same}$')" in rule["rule"]
