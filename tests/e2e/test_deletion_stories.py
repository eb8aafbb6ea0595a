"""Deletions with the policy Delete that something stands in the way of: each ends, or says how it can."""

import os
import signal
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from devcluster import PostgresServer
from devcluster.faults import FaultProxy
from support.cluster import Namespace, Operator, wait_until

FORCE = 'annotation `storage.cipher.dev/force-delete: "true"`'


def without_database(server: PostgresServer) -> str:
    return f"postgresql://{urlsplit(server.admin_url()).netloc}?sslmode=disable"


def gone(namespace: Namespace) -> bool:
    return namespace.get("cipherstorages", "chat") is None


def held(namespace: Namespace) -> list[str]:
    """Return the finalizers of the connection Secret."""
    secret = namespace.get("secrets", "pg-admin")
    assert secret is not None
    finalizers: list[str] = secret["metadata"].get("finalizers", [])
    return finalizers


def test_what_never_knew_its_database_can_be_deleted_as_its_message_says(
    namespace: Namespace, server: PostgresServer
) -> None:
    namespace.secret("pg-admin", {"CIPHER_PG_URL": without_database(server)})
    namespace.storage("chat", {"deletionPolicy": "Delete"})
    namespace.wait_reason("chat", "InvalidSpec")
    assert "delete this CipherStorage" in namespace.condition("chat")["message"]
    namespace.delete("cipherstorages", "chat")
    wait_until(lambda: gone(namespace), "it is gone")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        pytest.param("nonsense", "InvalidURL", id="the Secret holds no URL any more"),
        pytest.param("", "SecretKeyMissing", id="the Secret is empty"),
        pytest.param(None, "TargetChanged", id="the URL names no database any more"),
    ],
)
def test_a_deletion_that_waits_says_how_to_let_go(
    namespace: Namespace, server: PostgresServer, url: str | None, reason: str
) -> None:
    database = namespace.name.replace("-", "_")
    namespace.admin_secret(server, database=database)
    namespace.storage("chat", {"deletionPolicy": "Delete"})
    namespace.wait_ready("chat")
    namespace.secret("pg-admin", {"CIPHER_PG_URL": without_database(server) if url is None else url})
    namespace.wait_reason("chat", reason)
    namespace.delete("cipherstorages", "chat")
    wait_until(
        lambda: FORCE in namespace.condition("chat")["message"], lambda: f"it says how: {namespace.condition('chat')}"
    )
    assert namespace.condition("chat")["reason"] == reason
    namespace.annotate("chat", "force-delete", "true")
    wait_until(lambda: gone(namespace), "it is let go")
    assert server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]) == [(1,)]


def test_killed_at_any_moment_of_a_deletion(
    namespace: Namespace, server: PostgresServer, operator: Operator, fault_proxy: Callable[..., FaultProxy]
) -> None:
    names = "SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles ORDER BY 1"
    database = namespace.name.replace("-", "_")
    server.execute(f'CREATE DATABASE "{database}_theirs"')
    before = server.execute(names)
    # Slow enough to be killed in each step.
    slow = fault_proxy(server.port, latency=0.05).port
    url = server.admin_url(sslmode="disable").replace(f":{server.port}/", f":{slow}/")
    namespace.secret("pg-admin", {"CIPHER_PG_URL": url})
    cut_short = 0
    for number, delay in enumerate((0.1, 0.3, 0.5, 0.7, 0.9, 1.2)):
        place = {"database": {"name": f"{database}_theirs"}, "schema": "cipher"}
        namespace.storage(
            "chat", {"deletionPolicy": "Delete", "database": {"name": database}, **(place if number % 2 else {})}
        )
        namespace.wait_ready("chat")
        namespace.delete("cipherstorages", "chat")
        time.sleep(delay)
        os.kill(operator.pid, signal.SIGKILL)
        wait_until(lambda: operator.returncode is not None, "it is dead")
        cut_short += not gone(namespace)
        operator.start()
        wait_until(lambda: gone(namespace), lambda: f"it is gone: {namespace.condition('chat')}", 120)
        assert server.execute(names) == before
        # Killed between letting go of the storage and of its Secret: the next start lets go of that.
        wait_until(lambda: not held(namespace), "its Secret is let go")
    assert cut_short >= 2, "some were killed before their end"
