"""A cluster whose policies refuse the app Secret: their own words say what to do, so they are what is published."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg
import pytest

from devcluster import ControlPlane, KubectlError, PostgresServer
from devcluster.tls import CertificateAuthority
from support.cluster import Namespace, Operator, wait_until
from support.webhook import Webhook

WORDS = "label team is required"
POLICY = "require-team"
REASONS = {"Invalid": 422, "Forbidden": 403, "RequestEntityTooLarge": 413}
"""What a policy may answer with; Invalid is the default. `tests/kube/test_answers.py` has more of their words."""


class Policy:
    """A policy on every Secret of one namespace, in force from `start` to `stop`."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self._plane, self._namespace = plane, namespace
        self.name = f"{POLICY}-of-{namespace}"

    def start(self, **validation: str) -> None:
        spec = {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["secrets"],
                    }
                ]
            },
            "validations": [
                {
                    "expression": "has(object.metadata.labels) && 'team' in object.metadata.labels",
                    "message": WORDS,
                    **validation,
                }
            ],
        }
        bound = {
            "policyName": self.name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self._namespace}}},
        }
        self._apply("ValidatingAdmissionPolicy", spec)
        self._apply("ValidatingAdmissionPolicyBinding", bound)
        wait_until(self._in_force, "the policy is in force")

    def stop(self) -> None:
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            self._plane.kubectl("delete", kind, self.name, "--ignore-not-found")

    def _apply(self, kind: str, spec: Mapping[str, Any]) -> None:
        body = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": self.name},
            "spec": spec,
        }
        self._plane.kubectl("apply", "-f", "-", input=json.dumps(body))

    def _in_force(self) -> bool:
        return self.name in _refusal(self._plane, self._namespace)


def _refusal(plane: ControlPlane, namespace: str) -> str:
    """Return why a Secret without a label would be refused, empty where it would not."""
    try:
        plane.kubectl("-n", namespace, "create", "secret", "generic", "lax", "--dry-run=server")
    except KubectlError as error:
        return error.stderr
    return ""


@pytest.fixture
def policy(cluster: ControlPlane, namespace: Namespace) -> Iterator[Policy]:
    made = Policy(cluster, namespace.name)
    yield made
    made.stop()


@pytest.fixture
def admin(namespace: Namespace, server: PostgresServer) -> str:
    """A connection Secret as the policy asks for; its name."""
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "pg-admin", "labels": {"team": "chat"}},
        "stringData": {"CIPHER_PG_URL": server.admin_url(sslmode="disable")},
    }
    namespace.request("POST", namespace.path("secrets"), body)
    return "pg-admin"


def _storage(namespace: Namespace) -> None:
    namespace.storage("chat", {"database": {"name": namespace.name.replace("-", "_")}})


def _wait_refused(namespace: Namespace, words: str) -> str:
    """Return Ready's message, when it and SecretPublished repeat these words."""

    def says() -> bool:
        found = [namespace.condition("chat", type_) for type_ in ("Ready", "SecretPublished")]
        return all(each.get("status") == "False" and words in each["message"] for each in found)

    def told() -> str:
        return f"both conditions repeat the policy's words; they say {_conditions(namespace)}"

    wait_until(says, told)
    message: str = namespace.condition("chat")["message"]
    return message


def _conditions(namespace: Namespace) -> list[tuple[str, str, str]]:
    storage = namespace.get("cipherstorages", "chat") or {}
    conditions = storage.get("status", {}).get("conditions", [])
    return [(each["type"], each["reason"], each["message"]) for each in conditions]


def _published_anywhere(namespace: Namespace, operator: Operator) -> str:
    """Return all that people can read: status, Events and the operator's log."""
    events = namespace.request("GET", f"/apis/events.k8s.io/v1/namespaces/{namespace.name}/events")
    storage = namespace.get("cipherstorages", "chat") or {}
    return json.dumps([storage.get("status"), events]) + operator.log()


@pytest.mark.parametrize("reason", REASONS)
def test_a_new_secret_that_is_refused(
    namespace: Namespace, operator: Operator, policy: Policy, admin: str, reason: str
) -> None:
    policy.start(reason=reason)
    _storage(namespace)
    message = _wait_refused(namespace, WORDS)
    assert policy.name in message
    assert "`spec.app.labels`" in message
    assert namespace.get("secrets", "chat-cipher") is None
    namespace.patch("chat", {"spec": {"app": {"labels": {"team": "chat"}}}})
    namespace.wait_ready("chat", 120)
    assert namespace.app_secret("chat")["password"] not in _published_anywhere(namespace, operator)


def test_a_change_that_is_refused_leaves_the_secret_that_works(
    namespace: Namespace, operator: Operator, policy: Policy, admin: str
) -> None:
    _storage(namespace)
    namespace.wait_ready("chat", 120)
    before = namespace.app_secret("chat")
    policy.start()
    namespace.annotate("chat", "rotate-requested-at", "1")
    message = _wait_refused(namespace, WORDS)
    assert policy.name in message
    assert "`spec.app.labels`" in message
    # Deleted it would be lost: the policy keeps the new one from being made.
    assert "delete" not in message.lower()
    assert namespace.app_secret("chat") == before
    psycopg.connect(before["uri"]).close()
    namespace.patch("chat", {"spec": {"app": {"labels": {"team": "chat"}}}})
    namespace.wait_ready("chat", 120)
    after = namespace.app_secret("chat")
    assert after["password"] != before["password"]
    psycopg.connect(after["uri"]).close()
    said = _published_anywhere(namespace, operator)
    assert before["password"] not in said and after["password"] not in said


def test_a_policy_that_quotes_the_secret_does_not_get_it_published(
    namespace: Namespace, operator: Operator, policy: Policy, admin: str, server: PostgresServer
) -> None:
    quoted = "object.data.map(key, key + '=' + string(object.data[key])).join(', ')"
    # The trial Secret has no data: there the expression fails and `message` counts.
    policy.start(messageExpression=f"'{WORDS}: ' + {quoted}")
    _storage(namespace)
    _wait_refused(namespace, policy.name)
    _nothing_leaks(namespace, operator, server)


def test_a_webhook_that_quotes_the_secret_does_not_get_it_published(
    cluster: ControlPlane,
    namespace: Namespace,
    operator: Operator,
    certificate_authority: CertificateAuthority,
    admin: str,
    server: PostgresServer,
) -> None:
    def quote(data: dict[str, str]) -> str:
        return json.dumps({key: base64.b64decode(value).decode() for key, value in data.items()})

    def judge(secret: dict[str, Any]) -> str:
        if "team" in secret["metadata"].get("labels", {}):
            return ""
        return f"{WORDS}; data was {quote(secret['data'])}" if "password" in secret.get("data", {}) else WORDS

    with Webhook(cluster, certificate_authority.server(), judge) as webhook:
        webhook.register(namespace.name)
        wait_until(lambda: WORDS in _refusal(cluster, namespace.name), "the webhook is asked")
        _storage(namespace)
        _wait_refused(namespace, webhook.name)
        _nothing_leaks(namespace, operator, server)


def _nothing_leaks(namespace: Namespace, operator: Operator, server: PostgresServer) -> None:
    """After a refusal: make it Ready, and look for what the Secret holds in all that was said before and after."""
    refused = _published_anywhere(namespace, operator)
    namespace.patch("chat", {"spec": {"app": {"labels": {"team": "chat"}}}})
    namespace.wait_ready("chat", 120)
    said = refused + _published_anywhere(namespace, operator)
    stored = namespace.get("secrets", "chat-cipher")
    assert stored is not None
    for key in ("password", "CIPHER_PG_URL", "uri"):
        value = stored["data"][key]
        plain = base64.b64decode(value).decode()
        for written in (value, value[:80], plain):
            assert written not in said, f"{key} is said"
    assert "postgresql://" not in said
    assert f"{server.host}:{server.port}" not in said


def test_a_webhook_that_is_away_is_said_and_holds_up_nobody_else(
    cluster: ControlPlane,
    namespace: Namespace,
    new_namespace: Callable[[], Namespace],
    certificate_authority: CertificateAuthority,
    server: PostgresServer,
    admin: str,
) -> None:
    """The API server then answers 500 to writes of these Secrets: no outage of its own."""
    with Webhook(cluster, certificate_authority.server(), lambda _: WORDS) as webhook:
        webhook.register(namespace.name)
        wait_until(lambda: WORDS in _refusal(cluster, namespace.name), "the webhook is asked")
        webhook.close()
        _storage(namespace)
        _wait_refused(namespace, f'failed calling webhook "{webhook.name}"')
        other = new_namespace()
        other.admin_secret(server)
        other.storage("chat", {"database": {"name": f"{other.name}".replace("-", "_")}})
        assert other.wait_ready("chat") < 30
        other.delete("cipherstorages", "chat")
    namespace.wait_ready("chat", 120)


def test_a_quota_says_which_and_how_much(namespace: Namespace, admin: str) -> None:
    body = {"metadata": {"name": "few"}, "spec": {"hard": {"secrets": "1"}}}
    namespace.request("POST", namespace.path("resourcequotas"), body)

    def counted() -> bool:
        quota = namespace.get("resourcequotas", "few") or {}
        return bool(quota.get("status", {}).get("used", {}).get("secrets") == "1")

    wait_until(counted, "the quota is counted")
    _storage(namespace)
    message = _wait_refused(namespace, "exceeded quota: few")
    assert "limited: secrets=1" in message
    namespace.request("DELETE", namespace.path("resourcequotas", "few"))
    namespace.annotate("chat", "reconcile-requested-at", "1")
    namespace.wait_ready("chat", 120)
