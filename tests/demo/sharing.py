"""The second act: a platform team shares its server with namespaces that hold no administrator's password."""

from __future__ import annotations

import json
import time
from typing import Any

from demo import screen
from demo.stage import Stage, StepError

HOME = "cipher-system"
GIVEN, WAITING = "shop", "lab"
"""Namespaces of two teams: the label is on the first from the start."""
LABEL = "cipher-storage=yes"
_API = "storage.cipher.dev/v1alpha1"


def share_a_server(stage: Stage) -> None:
    """Offer the server: the password stays in the operator's own namespace."""
    url = stage.postgres.admin_url(sslmode="disable")
    for team in (GIVEN, WAITING):
        stage.kubectl("create", "namespace", team, show=False)
    stage.kubectl("label", "namespace", GIVEN, LABEL)
    secret = {"metadata": {"name": "prod-eu-admin", "namespace": HOME}, "stringData": {"CIPHER_PG_URL": url}}
    spec = {
        "connection": {"secretRef": {"name": "prod-eu-admin"}},
        "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": dict([LABEL.split("=")])}},
        "limits": {"userConnectionLimit": 20},
    }
    _apply(stage, {"apiVersion": "v1", "kind": "Secret", **secret}, "kubectl apply -f prod-eu-admin.yaml")
    server = {"apiVersion": _API, "kind": "CipherServer", "metadata": {"name": "prod-eu"}, "spec": spec}
    _apply(stage, server, "kubectl apply -f prod-eu.yaml")
    began = time.monotonic()
    stage.wait("the CipherServer to be ready", lambda: _ready(_get(stage, "cserver", "prod-eu"))[0] == "True")
    screen.done("the operator has logged in", time.monotonic() - began)
    stage.kubectl("get", "cserver")


def two_tenants(stage: Stage) -> None:
    """Two teams apply the same three lines, with no Secret; one of them is let in, the other when it is labelled."""
    began = time.monotonic()
    for team in (GIVEN, WAITING):
        _apply(stage, _storage(team), f"kubectl apply -n {team} -f chat.yaml")
    _wait(stage, GIVEN, "Ready", began)
    _wait(stage, WAITING, "ServerNotAvailable", began)
    screen.say("the platform team lets the second one in")
    began = time.monotonic()
    stage.kubectl("label", "namespace", WAITING, LABEL)
    _wait(stage, WAITING, "Ready", began)
    stage.kubectl("get", "cstore", "--all-namespaces", "-o", "wide")


def beyond_a_limit(stage: Stage) -> None:
    """A tenant asks for more than he may have, and for another's database."""
    other = _get(stage, "cstore", "chat", WAITING)["status"]["database"]
    for name, more in (
        ("greedy", {"user": {"connectionLimit": 500}}),
        ("curious", {"database": {"name": other}}),
    ):
        began = time.monotonic()
        _apply(stage, _storage(GIVEN, name, more), f"kubectl apply -n {GIVEN} -f {name}.yaml")
        _wait(stage, GIVEN, "LimitExceeded", began, name)
        stage.kubectl("delete", "cstore", name, "-n", GIVEN, show=False)


def end_of_sharing(stage: Stage) -> None:
    """Delete the server while it is used: it is held, and goes with its last user."""
    stage.kubectl("delete", "cserver", "prod-eu", "--wait=false")
    said = "is being deleted and is held"
    stage.wait("the CipherServer to say why it stays", lambda: said in _ready(_get(stage, "cserver", "prod-eu"))[2])
    screen.output(_ready(_get(stage, "cserver", "prod-eu"))[2])
    began = time.monotonic()
    for team in (GIVEN, WAITING):
        stage.kubectl("delete", "cstore", "chat", "-n", team)
    stage.wait("the CipherServer to go", lambda: not _get(stage, "cserver", "prod-eu"))
    screen.done("its last user is gone, and so is it", time.monotonic() - began)
    kept = stage.postgres.execute("SELECT count(*) FROM pg_database WHERE datname ~ '^(shop|lab)_chat_'")
    if kept != [(2,)]:
        raise StepError("`deletionPolicy: Retain` must keep both databases")
    screen.say("deletionPolicy Retain, as the limits ask: both databases are kept")


def _storage(team: str, name: str = "chat", more: dict[str, Any] | None = None) -> dict[str, Any]:
    metadata = {"name": name, "namespace": team}
    spec = {"connection": {"serverRef": {"name": "prod-eu"}}, **(more or {})}
    return {"apiVersion": _API, "kind": "CipherStorage", "metadata": metadata, "spec": spec}


def _apply(stage: Stage, body: dict[str, Any], shown_as: str) -> None:
    screen.command(shown_as)
    screen.output(stage.kubectl("apply", "-f", "-", input=json.dumps(body), show=False))


def _get(stage: Stage, kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
    text = stage.kubectl("get", kind, name, "-n", namespace, "--ignore-not-found", "-o", "json", show=False)
    body: dict[str, Any] = json.loads(text) if text else {}
    return body


def _ready(body: dict[str, Any]) -> tuple[str, str, str]:
    conditions = body.get("status", {}).get("conditions", [])
    found: dict[str, str] = next((each for each in conditions if each["type"] == "Ready"), {})
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")


def _wait(stage: Stage, team: str, reason: str, since: float, name: str = "chat") -> None:
    stage.wait(f"{team}/{name} to say {reason}", lambda: _ready(_get(stage, "cstore", name, team))[1] == reason)
    seconds = time.monotonic() - since
    status, _, message = _ready(_get(stage, "cstore", name, team))
    screen.output(f"{team}/{name}: {message}")
    screen.done(f"Ready={status}, {reason}", seconds)
