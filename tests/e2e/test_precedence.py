"""Which wish counts where several meet: suspend, Observe, the deletion policy, the rotation's own interval."""

import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from devcluster import PostgresServer
from support.cluster import Namespace, Operator, ready_storage, wait_until

NAMES = "SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles ORDER BY 1"


def gone(namespace: Namespace) -> bool:
    return namespace.get("cipherstorages", "chat") is None


def held(namespace: Namespace) -> tuple[bool, bool]:
    """Return whether our finalizers are on the storage and on its Secret."""
    objects = namespace.get("cipherstorages", "chat"), namespace.get("secrets", "pg-admin")
    storage, secret = (bool((found or {})["metadata"].get("finalizers")) for found in objects)
    return storage, secret


@pytest.mark.parametrize("wish", [{"suspend": True}, {"managementPolicy": "Observe"}], ids=["suspended", "Observe"])
def test_a_deletion_touches_nothing_of_what_is_not_managed(
    namespace: Namespace, server: PostgresServer, wish: dict[str, object]
) -> None:
    ready_storage(namespace, server, deletionPolicy="Delete")
    namespace.patch("chat", {"spec": wish})
    before = server.execute(NAMES)
    uri = namespace.app_secret("chat")["uri"]
    namespace.delete("cipherstorages", "chat")
    wait_until(lambda: gone(namespace), "it is let go")
    assert server.execute(NAMES) == before
    psycopg.connect(uri).close()
    wait_until(lambda: not (namespace.get("secrets", "pg-admin") or {})["metadata"].get("finalizers"), "its Secret too")


def test_a_suspended_storage_is_not_healed_until_it_is_resumed(
    namespace: Namespace, server: PostgresServer, operator: Operator
) -> None:
    database = ready_storage(namespace, server)
    status = (namespace.get("cipherstorages", "chat") or {})["status"]
    namespace.patch("chat", {"spec": {"suspend": True}})
    wait_until(lambda: "suspended by spec.suspend" in operator.log(), "it is seen")
    server.execute("DROP TABLE cipher_lists", database=database)
    seen = operator.log().count("suspended by spec.suspend")
    namespace.annotate("chat", "reconcile-requested-at", "1")
    wait_until(lambda: operator.log().count("suspended by spec.suspend") > seen, "it was looked at")
    assert server.execute("SELECT to_regclass('cipher_lists')", database=database) == [(None,)]
    assert (namespace.get("cipherstorages", "chat") or {})["status"] == status
    namespace.patch("chat", {"spec": {"suspend": False}})
    wait_until(lambda: server.execute("SELECT to_regclass('cipher_lists')", database=database) != [(None,)], "healed")


def test_the_finalizers_follow_every_change_of_policy(namespace: Namespace, server: PostgresServer) -> None:
    ready_storage(namespace, server, deletionPolicy="Delete")
    changes: list[tuple[dict[str, str], bool]] = [
        ({"deletionPolicy": "Retain"}, False),
        ({"deletionPolicy": "Delete"}, True),
        ({"managementPolicy": "Observe"}, False),
        ({"managementPolicy": "Manage"}, True),
    ]
    for change, expected in changes:
        namespace.patch("chat", {"spec": change})
        wait_until(lambda: held(namespace) == (expected, expected), f"after {change}")  # noqa: B023


def test_a_password_is_rotated_when_its_time_has_come_even_without_checks(
    namespace: Namespace, server: PostgresServer
) -> None:
    ready_storage(namespace, server, interval="0s", passwordRotation={"interval": "24h"})
    before = namespace.app_secret("chat")
    made = (datetime.now(UTC) - timedelta(hours=24) + timedelta(seconds=6)).isoformat(timespec="seconds")
    patch = json.dumps({"metadata": {"annotations": {"storage.cipher.dev/password-set-at": made}}})
    namespace.plane.kubectl("-n", namespace.name, "patch", "secret", "chat-cipher", "--type=merge", "-p", patch)
    namespace.annotate("chat", "reconcile-requested-at", "1")
    wait_until(
        lambda: (namespace.get("cipherstorages", "chat") or {})["status"].get("handledRequests"), "it was looked at"
    )
    wait_until(lambda: namespace.app_secret("chat")["password"] != before["password"], "the time has come")
    wait_until(lambda: "PasswordRotated" in namespace.events("chat"), "it is told")
    for secret in (before, namespace.app_secret("chat")):
        psycopg.connect(secret["uri"]).close()
