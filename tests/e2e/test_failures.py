"""Things that go wrong: the status says it within seconds, and recovers without a restart."""

import json
from typing import Any

import psycopg
import pytest

from devcluster import ControlPlane, PostgresServer
from support.cluster import Namespace, Operator, wait_until
from support.provision import snapshot

SLOW = 12.0
"""Seconds within which a fault must stand in the status, and a mend must show: generous for a busy machine."""


def database_of(namespace: Namespace) -> str:
    return namespace.name.replace("-", "_")


def ready(namespace: Namespace, server: PostgresServer, spec: dict[str, Any] | None = None) -> str:
    namespace.admin_secret(server)
    namespace.storage("chat", {"database": {"name": database_of(namespace)}, **(spec or {})})
    namespace.wait_ready("chat")
    return database_of(namespace)


@pytest.fixture
def own_server(postgres_server: Any) -> PostgresServer:
    """A server of the test's own, to be broken."""
    started: PostgresServer = postgres_server(16)
    return started


def ask(namespace: Namespace, value: str) -> None:
    namespace.annotate("chat", "reconcile-requested-at", value)


def test_server_stopped_and_started(namespace: Namespace, own_server: PostgresServer) -> None:
    ready(namespace, own_server)
    own_server.stop()
    ask(namespace, "stopped")
    namespace.wait_reason("chat", "ConnectionRefused", SLOW)
    assert namespace.condition("chat", "Reconciling")["status"] == "True"
    own_server.start()
    namespace.wait_ready("chat", SLOW)


def test_a_storage_without_checks_says_that_its_server_stays_down(
    namespace: Namespace, own_server: PostgresServer
) -> None:
    ready(namespace, own_server)
    namespace.storage("quiet", {"database": {"name": f"{database_of(namespace)}_quiet"}, "interval": "0s"})
    namespace.wait_ready("quiet")
    own_server.stop()
    ask(namespace, "stopped")
    namespace.wait_reason("quiet", "ConnectionRefused", 8 + SLOW)
    own_server.start()
    namespace.wait_ready("quiet", SLOW)


def test_server_down_at_the_first_apply(namespace: Namespace, own_server: PostgresServer) -> None:
    namespace.admin_secret(own_server)
    own_server.stop()
    namespace.storage("chat", {"database": {"name": "later"}})
    namespace.wait_reason("chat", "ConnectionRefused", SLOW)
    own_server.start()
    namespace.wait_ready("chat", SLOW)


def test_admin_password_changed_and_mended(namespace: Namespace, own_server: PostgresServer) -> None:
    ready(namespace, own_server)
    old = own_server.password
    own_server.execute("CREATE ROLE rescue SUPERUSER LOGIN PASSWORD 'rescue'")
    own_server.execute(f"ALTER ROLE {own_server.superuser} PASSWORD 'changed'")
    ask(namespace, "changed")
    namespace.wait_reason("chat", "AuthenticationFailed", SLOW)
    own_server.mark_log()
    for attempt in range(5):
        ask(namespace, f"again-{attempt}")
    assert namespace.condition("chat")["reason"] == "AuthenticationFailed"
    assert own_server.log_text().count("password authentication failed") <= 2, "one try a minute: no lockout"
    namespace.admin_secret(own_server, password="changed")
    assert namespace.wait_ready("chat", SLOW) < SLOW
    own_server.execute(f"ALTER ROLE {own_server.superuser} PASSWORD '{old}'", user="rescue", password="rescue")


BAD_SECRETS = {
    "no user": ("postgresql://127.0.0.1:5432/db", "InvalidURL", "user"),
    "unencoded @ in the password": ("postgresql://u:p@ss@127.0.0.1/db", "InvalidURL", "percent-encode"),
    "unencoded # in the password": ("postgresql://u:p#ss@127.0.0.1/db", "InvalidURL", "percent-encode"),
    "sslkeylogfile": ("postgresql://u:p@127.0.0.1/db?sslkeylogfile=/tmp/x", "InvalidURL", "sslkeylogfile"),
    "options": ("postgresql://u:p@127.0.0.1/db?options=-crole%3Dx", "InvalidURL", "options"),
    "service": ("postgresql://u:p@127.0.0.1/db?service=x", "InvalidURL", "service"),
    "host in the query": ("postgresql://u:p@127.0.0.1/db?host=/tmp", "InvalidURL", "host"),
    "sslmode nonsense": ("postgresql://u:p@127.0.0.1/db?sslmode=maybe", "InvalidURL", "sslmode"),
    "port out of range": ("postgresql://u:p@127.0.0.1:70000/db", "InvalidURL", "port"),
    "empty password": ("postgresql://u:@127.0.0.1/db", "InvalidURL", "password"),
    "template0": ("postgresql://u:p@127.0.0.1/template0", "InvalidURL", "template0"),
}


@pytest.mark.parametrize("case", list(BAD_SECRETS))
def test_bad_url(namespace: Namespace, operator: Operator, case: str) -> None:
    url, reason, word = BAD_SECRETS[case]
    namespace.secret("pg-admin", {"CIPHER_PG_URL": url})
    namespace.storage("chat")
    namespace.wait_reason("chat", reason, SLOW)
    message = namespace.condition("chat")["message"]
    assert word.lower() in message.lower()
    assert "127.0.0.1" not in message
    assert namespace.condition("chat", "Stalled")["status"] == "True"


def test_missing_key_is_named(namespace: Namespace) -> None:
    namespace.secret("pg-admin", {"url": "postgresql://u:p@127.0.0.1/db"})
    namespace.storage("chat")
    namespace.wait_reason("chat", "SecretKeyMissing", SLOW)
    assert "CIPHER_PG_URL" in namespace.condition("chat")["message"]


def test_a_trailing_newline_is_forgiven(namespace: Namespace, server: PostgresServer) -> None:
    namespace.secret("pg-admin", {"CIPHER_PG_URL": server.admin_url(sslmode="disable") + "\n"})
    namespace.storage("chat", {"database": {"name": database_of(namespace)}})
    namespace.wait_ready("chat")


def test_individual_parameters(namespace: Namespace, server: PostgresServer) -> None:
    namespace.secret(
        "pg-admin",
        {
            "STORAGE_DATABASE_HOST": server.host,
            "STORAGE_DATABASE_PORT": str(server.port),
            "STORAGE_DATABASE_NAME": database_of(namespace),
            "STORAGE_DATABASE_USER": server.superuser,
            "STORAGE_DATABASE_PASSWORD": server.password,
            "STORAGE_DATABASE_SSL": "false",
        },
    )
    namespace.storage("chat")
    namespace.wait_ready("chat")


def test_tls_demanded_of_a_server_without_it(namespace: Namespace, server: PostgresServer) -> None:
    namespace.secret("pg-admin", {"CIPHER_PG_URL": server.admin_url()})
    namespace.storage("chat", {"database": {"name": "x"}})
    namespace.wait_reason("chat", "TLSNotSupported", SLOW)
    namespace.patch("chat", {"spec": {"connection": {"sslMode": "prefer"}}})
    namespace.wait_ready("chat", SLOW)


def test_the_secret_disappears_while_ready(namespace: Namespace, server: PostgresServer) -> None:
    ready(namespace, server)
    namespace.delete("secrets", "pg-admin")
    namespace.wait_reason("chat", "SecretNotFound", SLOW)
    psycopg.connect(namespace.app_secret("chat")["uri"]).close()
    namespace.admin_secret(server)
    namespace.wait_ready("chat", SLOW)


def test_database_dropped_is_lost_until_asked(namespace: Namespace, server: PostgresServer) -> None:
    database = ready(namespace, server)
    server.execute(f'DROP DATABASE "{database}" WITH (FORCE)')
    ask(namespace, "dropped")
    namespace.wait_reason("chat", "DatabaseLost", SLOW)
    before = snapshot(server)
    ask(namespace, "again")
    namespace.wait_reason("chat", "DatabaseLost", SLOW)
    assert snapshot(server) == before
    namespace.annotate("chat", "recreate-requested-at", "1")
    namespace.wait_ready("chat", SLOW)
    psycopg.connect(namespace.app_secret("chat")["uri"]).close()


def test_an_empty_server_behind_the_same_secret(namespace: Namespace, server: PostgresServer, own_server: Any) -> None:
    ready(namespace, server)
    before = snapshot(own_server)
    namespace.admin_secret(own_server)
    namespace.wait_reason("chat", "DatabaseLost", SLOW)
    assert snapshot(own_server) == before
    namespace.admin_secret(server)
    namespace.wait_ready("chat", SLOW)


def test_the_urls_database_changes(namespace: Namespace, server: PostgresServer) -> None:
    namespace.admin_secret(server, database=database_of(namespace))
    namespace.storage("chat")
    namespace.wait_ready("chat")
    before = snapshot(server)
    namespace.admin_secret(server, database="elsewhere")
    namespace.wait_reason("chat", "TargetChanged", SLOW)
    assert snapshot(server) == before
    namespace.admin_secret(server, database=database_of(namespace))
    namespace.wait_ready("chat", SLOW)


def test_an_app_secret_of_somebody_else_is_never_overwritten(namespace: Namespace, server: PostgresServer) -> None:
    namespace.secret("chat-cipher", {"mine": "yes"})
    before = snapshot(server)
    namespace.admin_secret(server)
    namespace.storage("chat", {"database": {"name": database_of(namespace)}})
    namespace.wait_reason("chat", "AlreadyExists", SLOW)
    assert "'chat-cipher'" in namespace.condition("chat")["message"]
    assert namespace.app_secret("chat") == {"mine": "yes"}
    assert snapshot(server) == before, "refused before anything was made on the server"
    namespace.delete("secrets", "chat-cipher")
    namespace.wait_ready("chat", SLOW)


def test_two_storages_on_one_database_and_schema(namespace: Namespace, server: PostgresServer) -> None:
    ready(namespace, server)
    namespace.storage("rival", {"database": {"name": database_of(namespace)}})
    namespace.wait_reason("rival", "Conflict", SLOW)
    assert f"'{namespace.name}/chat'" in namespace.condition("rival")["message"]
    assert namespace.condition("chat")["status"] == "True"


def test_two_storages_with_one_login(namespace: Namespace, server: PostgresServer) -> None:
    ready(namespace, server, {"user": {"name": f"same_{database_of(namespace)}"}})
    namespace.storage("rival", {"database": {"name": "b"}, "user": {"name": f"same_{database_of(namespace)}"}})
    namespace.wait_reason("rival", "Conflict", SLOW)


def test_an_existing_role_of_that_name(namespace: Namespace, server: PostgresServer) -> None:
    server.execute("CREATE ROLE taken LOGIN")
    namespace.admin_secret(server)
    namespace.storage("chat", {"database": {"name": database_of(namespace)}, "user": {"name": "taken"}})
    namespace.wait_reason("chat", "AlreadyExists", SLOW)


def test_an_extension_that_is_not_allowed_is_refused(namespace: Namespace, server: PostgresServer) -> None:
    namespace.admin_secret(server)
    namespace.storage("chat", {"database": {"name": "x"}, "extensions": [{"name": "plperlu"}]})
    namespace.wait_reason("chat", "InvalidSpec", SLOW)
    assert "--allowed-extensions" in namespace.condition("chat")["message"]


def test_deletion_waits_for_a_server_that_is_away(namespace: Namespace, own_server: PostgresServer) -> None:
    ready(namespace, own_server, {"deletionPolicy": "Delete"})
    own_server.stop()
    namespace.delete("cipherstorages", "chat")
    namespace.wait_reason("chat", "ConnectionRefused", SLOW)
    assert "force-delete" in namespace.condition("chat")["message"]
    own_server.start()
    wait_until(lambda: namespace.get("cipherstorages", "chat") is None, "it is gone", SLOW)


def test_api_server_away_for_25_seconds(
    namespace: Namespace, cluster: ControlPlane, server: PostgresServer, operator: Operator
) -> None:
    import time

    namespace.admin_secret(server)
    for number in range(3):
        namespace.storage(f"s{number}", {"database": {"name": f"{database_of(namespace)}_{number}"}})
    cluster.stop_apiserver()
    time.sleep(25)
    cluster.start_apiserver()
    assert operator.returncode is None
    for number in range(3):
        namespace.wait_ready(f"s{number}", 30)
    namespace.storage("after", {"database": {"name": f"{database_of(namespace)}_after"}})
    namespace.wait_ready("after", 30)
    assert json.dumps(namespace.get("cipherstorages", "after"))
