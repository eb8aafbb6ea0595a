"""What a tenant may: patterns of names, namespaces, and specs of servers that cannot be worked with."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import FailureClass, Reason
from cipher_operator.api.server import parse_server_spec
from cipher_operator.core import discretion, tenancy
from cipher_operator.core.name_pattern import PatternError, name_matches

LEAST: dict[str, Any] = {"connection": {"secretRef": {"name": "admin"}}, "allowedNamespaces": {"from": "All"}}

MATCHES = {
    "the namespace and more": ("^{namespace}_.*$", "shop_chat", True),
    "without anchors, which count all the same": ("{namespace}_.*", "x_shop_chat", False),
    "nothing behind it": ("{namespace}_.*", "shop_", True),
    "once at least": ("{namespace}_.+", "shop_", False),
    "one of a set": ("{namespace}_[a-c]", "shop_b", True),
    "none of a set": ("{namespace}_[^a-c]", "shop_b", False),
    "a set that repeats": ("{namespace}_[a-z0-9]+", "shop_chat1", True),
    "too much behind a set": ("{namespace}_[a-z]+", "shop_chat1", False),
    "what may be left out": ("x?{namespace}", "shop", True),
    "what may be there": ("x?{namespace}", "xshop", True),
    "what is there once at most": ("x?{namespace}", "xxshop", False),
    "another namespace": ("{namespace}_.*", "shop-eu_chat", False),
    "a namespace with the same beginning": ("{namespace}.*", "shopping", True),
    "a dash that is meant": (r"{namespace}\-x", "shop-x", True),
}


@pytest.mark.parametrize(("pattern", "name", "fits"), MATCHES.values(), ids=MATCHES)
def test_patterns(pattern: str, name: str, fits: bool) -> None:
    assert name_matches(pattern, "shop", name) is fits


def test_a_namespace_is_no_pattern() -> None:
    assert not name_matches("{namespace}_x", "a-b", "a+b_x")


@pytest.mark.parametrize(
    "pattern",
    [
        "{namespace}_(a|b)",
        "{namespace}{2}",
        "shared_.*",
        "{namespace}[z-a]",
        "{namespace}_[",
        "({namespace})*",
        "",
        "^$",
    ],
)
def test_patterns_that_are_none(pattern: str) -> None:
    with pytest.raises(PatternError):
        name_matches(pattern, "shop", "shop_x")


def test_no_pattern_takes_longer_than_its_length_times_the_names() -> None:
    # Python's own engine takes hours for these sixty characters.
    assert not name_matches("{namespace}" + "a*" * 60 + "b", "x", "x" + "a" * 62)


@given(st.text("ab_", max_size=12), st.text("ab", min_size=1, max_size=4))
def test_a_pattern_of_plain_characters_is_equality(name: str, namespace: str) -> None:
    assert name_matches("{namespace}_ab", namespace, name) is (name == f"{namespace}_ab")


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "alternatives": ({"limits": {"databaseNames": "{namespace}_(a|b)"}}, "spec.limits.databaseNames"),
    "a pattern without the namespace": ({"limits": {"databaseNames": "shared_.*"}}, "spec.limits.databaseNames"),
    "a template without a name": ({"databaseNameTemplate": "{namespace}"}, "spec.databaseNameTemplate"),
    "a template without a namespace": ({"databaseNameTemplate": "x_{name}"}, "spec.databaseNameTemplate"),
    "a template with what names must not hold": (
        {"databaseNameTemplate": "{namespace}-{name}"},
        "spec.databaseNameTemplate",
    ),
    "everybody, and then some": ({"allowedNamespaces": {"from": "Selector"}}, "spec.allowedNamespaces"),
    "a source that is none": ({"allowedNamespaces": {"from": "Same"}}, "spec.allowedNamespaces"),
    "nothing said": ({"allowedNamespaces": {}}, "spec.allowedNamespaces.from"),
    "an empty selector": (
        {"allowedNamespaces": {"from": "Selector", "selector": {}}},
        "spec.allowedNamespaces.selector",
    ),
    "an operator that is none": (
        {
            "allowedNamespaces": {
                "from": "Selector",
                "selector": {"matchExpressions": [{"key": "a", "operator": "Like"}]},
            }
        },
        "spec.allowedNamespaces.selector.matchExpressions[0].operator",
    ),
    "In without values": (
        {"allowedNamespaces": {"from": "Selector", "selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}},
        "spec.allowedNamespaces.selector.matchExpressions[0].values",
    ),
    "a policy that is none": ({"limits": {"deletionPolicies": ["Drop"]}}, "spec.limits.deletionPolicies"),
    "no Secret": ({"connection": {}}, "spec.connection.secretRef.name"),
    "a cloud's login without a name": (
        {"auth": {"method": "AWSIAM"}, "connection": {"host": "h", "sslMode": "verify-full"}},
        "spec.connection.user",
    ),
    "a cloud's login without a host": (
        {"auth": {"method": "AzureEntra"}, "connection": {"user": "u", "sslMode": "verify-full"}},
        "spec.connection.host",
    ),
}


@pytest.mark.parametrize(("change", "field"), BAD.values(), ids=BAD)
def test_specs_that_serve_nobody_name_the_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(Failure) as refused:
        tenancy.check_server(parse_server_spec(LEAST | change))
    assert refused.value.reason is Reason.INVALID_SPEC
    assert f"`{field}`" in refused.value.message


FAILURES = sorted(reason for reason in Reason if reason not in ("Ready", "Observed", "ChangesPending", "Progressing"))


@pytest.mark.parametrize("reason", FAILURES)
def test_what_a_tenant_reads_of_a_failure(reason: Reason) -> None:
    if reason is Reason.DELETING:
        return
    told = discretion.discreet(Failure(reason, "role 'boss' at Secret 'admin-of-all'"), "prod")
    assert told.reason is reason
    assert told.failure_class is reason.failure_class
    own = reason in discretion.OWN
    assert ("boss" in told.message) is own, "closed unless it is known to be about the storage itself"
    assert own or reason.failure_class is not FailureClass.STALLED or "prod" in told.message or "own" in told.message
