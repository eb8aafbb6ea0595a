"""What a user sees from apply to delete, with the real API server, the real PostgreSQL and the real process."""

import base64
import json
from collections.abc import Callable

import psycopg
import pytest

from devcluster import PostgresServer
from support.cluster import Namespace, Operator, ready_storage, wait_until, writing_statements
from support.held_connections import most_held
from support.kstatus import violations
from support.provision import CIPHER_START

EXPECTED_KEYS = {
    *("CIPHER_PG_URL", "STORAGE_DATABASE_HOST", "STORAGE_DATABASE_PORT", "STORAGE_DATABASE_NAME"),
    *("STORAGE_DATABASE_USER", "STORAGE_DATABASE_PASSWORD", "STORAGE_DATABASE_SSL"),
    *("type", "provider", "host", "port", "database", "username", "password", "uri"),
}


def app(namespace: Namespace, name: str = "chat") -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(namespace.app_secret(name)["uri"], autocommit=True)


def test_apply_to_ready_to_the_apps_first_row(namespace: Namespace, server: PostgresServer, operator: Operator) -> None:
    server.mark_log()
    database = ready_storage(namespace, server)
    storage = namespace.get("cipherstorages", "chat")
    assert storage is not None
    status = storage["status"]
    assert violations(storage) == []
    assert status["database"] == database
    assert status["binding"] == {"name": "chat-cipher"}
    assert status["serverVersion"].startswith("16.")
    assert "finalizers" not in storage["metadata"], "Retain needs none"
    assert not any("kopf" in key for key in storage["metadata"].get("annotations", {}))
    secret = namespace.get("secrets", "chat-cipher")
    assert secret is not None
    assert set(secret["data"]) == EXPECTED_KEYS
    assert secret["type"] == "servicebinding.io/postgresql"
    assert secret["metadata"]["ownerReferences"][0]["uid"] == storage["metadata"]["uid"]
    with app(namespace) as connection:
        for statement in CIPHER_START:
            connection.execute(statement)
    assert server.connections_authorized() <= 4, "two as admin, one login test, one by this test"
    # An Event is posted when the status is written.
    wait_until(lambda: len(namespace.events("chat")) > 1, "both Events are there")
    assert sorted(namespace.events("chat")) == ["Created", "Ready"]


def test_a_secret_that_comes_later_is_seen_at_once(namespace: Namespace, server: PostgresServer) -> None:
    namespace.storage("chat", {"database": {"name": namespace.name.replace("-", "_")}, "interval": "1h"})
    namespace.wait_reason("chat", "SecretNotFound")
    assert "'pg-admin'" in namespace.condition("chat")["message"]
    namespace.admin_secret(server)
    assert namespace.wait_ready("chat") < 30, "by the watch: what waits is looked at again after a minute"


def test_steady_state_writes_nothing(namespace: Namespace, server: PostgresServer) -> None:
    ready_storage(namespace, server, interval="10s")
    before = namespace.get("cipherstorages", "chat"), namespace.get("secrets", "chat-cipher")
    assert writing_statements(server.log_text()), "the first run is in the log"
    server.mark_log()
    namespace.annotate("chat", "reconcile-requested-at", "1")
    wait_until(
        lambda: namespace.handled("chat") == {"reconcile": "1"},
        "the request is handled",
    )
    assert server.connections_authorized(user=server.superuser) == 1
    assert server.connections_authorized() == 2, "a person who asks gets the login tested too"
    assert writing_statements(server.log_text()) == []
    after = namespace.get("secrets", "chat-cipher")
    assert before[1] is not None
    assert after is not None
    assert after["metadata"]["resourceVersion"] == before[1]["metadata"]["resourceVersion"]


@pytest.mark.parametrize("break_it", ["deleted", "emptied"])
def test_a_lost_app_secret_comes_back_through_the_other_login(
    namespace: Namespace, server: PostgresServer, break_it: str
) -> None:
    ready_storage(namespace, server)
    old = namespace.app_secret("chat")
    pods = app(namespace)
    if break_it == "deleted":
        namespace.delete("secrets", "chat-cipher")
    else:
        patch = [{"op": "replace", "path": "/data", "value": {}}]
        namespace.plane.kubectl(
            "-n", namespace.name, "patch", "secret", "chat-cipher", "--type=json", "-p", json.dumps(patch)
        )
    wait_until(
        lambda: (
            (namespace.get("secrets", "chat-cipher") or {}).get("data", {}).get("password", "") != ""
            and namespace.app_secret("chat")["password"] != old["password"]
        ),
        "the Secret is back",
    )
    new = namespace.app_secret("chat")
    assert new["username"] == f"{old['username']}_b"
    wait_until(lambda: "SecretRecreated" in namespace.events("chat"), "an event tells of it")
    pods.execute("SELECT 1")
    psycopg.connect(old["uri"]).close()
    psycopg.connect(new["uri"]).close()
    namespace.wait_ready("chat")


def test_drift_is_healed_and_told(namespace: Namespace, server: PostgresServer) -> None:
    database = ready_storage(namespace, server, interval="10s")
    server.execute("DROP TABLE cipher_lists", database=database)
    namespace.annotate("chat", "reconcile-requested-at", "now")
    wait_until(lambda: "DriftHealed" in namespace.events("chat"), "an event tells of it")
    assert server.execute("SELECT to_regclass('cipher_lists') IS NOT NULL", database=database) == [(True,)]
    assert namespace.condition("chat")["status"] == "True"


def test_a_changed_app_password_is_set_again_when_somebody_asks(namespace: Namespace, server: PostgresServer) -> None:
    ready_storage(namespace, server)
    user = namespace.app_secret("chat")["username"]
    server.execute(f"ALTER ROLE \"{user}\" PASSWORD 'someone else changed it'")
    namespace.annotate("chat", "reconcile-requested-at", "1")
    wait_until(
        lambda: namespace.handled("chat") == {"reconcile": "1"},
        "the request is handled",
    )
    psycopg.connect(namespace.app_secret("chat")["uri"]).close()


def test_delete_with_retain_leaves_the_data_and_the_login(namespace: Namespace, server: PostgresServer) -> None:
    database = ready_storage(namespace, server)
    old = namespace.app_secret("chat")
    namespace.delete("cipherstorages", "chat")
    wait_until(lambda: namespace.get("cipherstorages", "chat") is None, "it is gone")
    assert server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]) == [(1,)]
    psycopg.connect(old["uri"]).close()


def test_deleted_and_recreated_at_once_finds_its_data(namespace: Namespace, server: PostgresServer) -> None:
    database = ready_storage(namespace, server)
    old = namespace.app_secret("chat")
    with app(namespace) as connection:
        connection.execute("INSERT INTO cipher_store VALUES ('k', 'kept', now(), now())")
    namespace.delete("cipherstorages", "chat")
    namespace.storage("chat", {"database": {"name": database}})
    namespace.wait_ready("chat")
    storage = namespace.get("cipherstorages", "chat")
    assert storage is not None

    def adopted() -> bool:
        secret = namespace.get("secrets", "chat-cipher")
        return secret is not None and secret["metadata"]["ownerReferences"][0]["uid"] == storage["metadata"]["uid"]

    wait_until(adopted, "the app Secret is the new storage's, whatever the garbage collector did")
    with app(namespace) as connection:
        assert connection.execute("SELECT value FROM cipher_store").fetchall() == [("kept",)]
    psycopg.connect(old["uri"]).close()


def test_delete_policy_leaves_nothing(namespace: Namespace, server: PostgresServer) -> None:
    before = server.execute("SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles ORDER BY 1")
    ready_storage(namespace, server, deletionPolicy="Delete")
    storage, secret = namespace.get("cipherstorages", "chat"), namespace.get("secrets", "pg-admin")
    assert storage is not None
    assert secret is not None
    assert storage["metadata"]["finalizers"] == ["storage.cipher.dev/finalizer"]
    assert secret["metadata"]["finalizers"] == ["storage.cipher.dev/in-use"]
    namespace.delete("cipherstorages", "chat")
    wait_until(lambda: namespace.get("cipherstorages", "chat") is None, "it is gone")
    assert server.execute("SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles ORDER BY 1") == before
    # Let go after the storage: the other way round, a crash between the two would leave the storage without its way in.
    wait_until(lambda: _free(namespace, "pg-admin"), "the connection Secret is let go")


def _free(namespace: Namespace, name: str) -> bool:
    secret = namespace.get("secrets", name)
    assert secret is not None
    return not secret["metadata"].get("finalizers")


def test_a_namespace_goes_away_with_storages_of_both_policies(
    new_namespace: Callable[[], Namespace], server: PostgresServer
) -> None:
    namespace = new_namespace()
    kept = ready_storage(namespace, server, "kept")
    dropped = ready_storage(namespace, server, "dropped", deletionPolicy="Delete")
    namespace.end()
    databases = {row[0] for row in server.execute("SELECT datname FROM pg_database")}
    assert kept in databases
    assert dropped not in databases


def test_foreign_tables_block_a_deletion_until_they_are_gone(namespace: Namespace, server: PostgresServer) -> None:
    database = ready_storage(namespace, server, deletionPolicy="Delete")
    server.execute("CREATE TABLE reports (id int)", database=database)
    namespace.delete("cipherstorages", "chat")
    namespace.wait_reason("chat", "DeletionBlocked")
    assert "public.reports" in namespace.condition("chat")["message"]
    assert namespace.condition("chat", "Stalled")["status"] == "True"
    namespace.annotate("chat", "force-delete", "true")
    wait_until(lambda: namespace.get("cipherstorages", "chat") is None, "it is let go")
    assert server.execute("SELECT to_regclass('reports') IS NOT NULL", database=database) == [(True,)]


def test_rotation_on_demand(namespace: Namespace, server: PostgresServer) -> None:
    ready_storage(namespace, server)
    old = namespace.app_secret("chat")
    namespace.annotate("chat", "rotate-requested-at", "1")
    wait_until(lambda: namespace.app_secret("chat")["password"] != old["password"], "a new password is published")
    psycopg.connect(old["uri"]).close()
    psycopg.connect(namespace.app_secret("chat")["uri"]).close()
    wait_until(
        lambda: namespace.handled("chat") == {"rotate": "1"},
        "the request is handled once",
    )
    namespace.annotate("chat", "revoke-previous-requested-at", "1")

    def revoked() -> bool:
        try:
            psycopg.connect(old["uri"]).close()
        except psycopg.OperationalError:
            return True
        return False

    wait_until(revoked, "the old login ends")
    wait_until(lambda: "PreviousRevoked" in namespace.events("chat"), "an event tells of it")
    assert "DriftHealed" not in namespace.events("chat"), "what was asked for is no drift"
    psycopg.connect(namespace.app_secret("chat")["uri"]).close()


def test_observe_plans_and_writes_nothing(namespace: Namespace, server: PostgresServer) -> None:
    namespace.admin_secret(server)
    before = server.execute("SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles ORDER BY 1")
    namespace.storage("chat", {"database": {"name": "observed_only"}, "managementPolicy": "Observe"})
    namespace.wait_reason("chat", "ChangesPending")
    storage = namespace.get("cipherstorages", "chat")
    assert storage is not None
    assert any("CREATE DATABASE" in line for line in storage["status"]["plan"])
    assert "SCRAM" not in json.dumps(storage)
    assert server.execute("SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles ORDER BY 1") == before
    assert namespace.get("secrets", "chat-cipher") is None


def test_suspend_leaves_everything_as_it_was(namespace: Namespace, server: PostgresServer) -> None:
    database = ready_storage(namespace, server)
    namespace.patch("chat", {"spec": {"suspend": True}})
    server.execute("DROP TABLE cipher_lists", database=database)
    namespace.annotate("chat", "reconcile-requested-at", "1")
    namespace.patch("chat", {"spec": {"suspend": False}})
    wait_until(
        lambda: server.execute("SELECT to_regclass('cipher_lists') IS NOT NULL", database=database) == [(True,)],
        "healed when resumed",
    )


def test_twenty_storages_at_once(namespace: Namespace, server: PostgresServer, operator: Operator) -> None:
    namespace.admin_secret(server)
    names = [f"s{number}" for number in range(20)]
    with most_held(operator.pid, server.port) as most:
        for name in names:
            namespace.storage(name, {"database": {"name": f"{namespace.name}_{name}".replace("-", "_")}})
        for name in names:
            namespace.wait_ready(name, 120)
    assert 1 < most.connections <= 8


def test_no_secret_is_in_logs_events_or_status(
    namespace: Namespace, server: PostgresServer, operator: Operator
) -> None:
    ready_storage(namespace, server)
    secret = namespace.app_secret("chat")
    public = operator.log() + json.dumps(namespace.get("cipherstorages", "chat"))
    public += json.dumps(namespace.request("GET", f"/apis/events.k8s.io/v1/namespaces/{namespace.name}/events"))
    for hidden in (secret["password"], server.password, f"{server.host}:{server.port}", "postgresql://"):
        assert hidden not in public
    assert secret["password"] not in server.log_text()
    assert base64.b64encode(secret["password"].encode()).decode() not in public


def test_a_secret_that_nobody_holds_any_more_can_be_deleted(namespace: Namespace, server: PostgresServer) -> None:
    ready_storage(namespace, server, deletionPolicy="Delete")
    namespace.admin_secret(server, "pg-second")
    namespace.patch("chat", {"spec": {"connection": {"secretRef": {"name": "pg-second"}}}})
    wait_until(
        lambda: (namespace.get("secrets", "pg-second") or {})["metadata"].get("finalizers"),
        "the new Secret is held",
    )
    namespace.delete("secrets", "pg-admin")
    wait_until(lambda: namespace.get("secrets", "pg-admin") is None, "the old one is let go")
    namespace.delete("secrets", "pg-second")
    assert namespace.get("secrets", "pg-second") is not None, "the one in use is held"
    namespace.delete("cipherstorages", "chat")
    wait_until(lambda: namespace.get("cipherstorages", "chat") is None, "the storage is gone")
    wait_until(lambda: namespace.get("secrets", "pg-second") is None, "and then its Secret")


def test_rotate_and_revoke_asked_at_once_leave_a_login_that_works(namespace: Namespace, server: PostgresServer) -> None:
    ready_storage(namespace, server)
    old = namespace.app_secret("chat")
    annotations = {
        "storage.cipher.dev/rotate-requested-at": "1",
        "storage.cipher.dev/revoke-previous-requested-at": "1",
    }
    namespace.patch("chat", {"metadata": {"annotations": annotations}})
    wait_until(
        lambda: namespace.handled("chat") == {"rotate": "1", "revokePrevious": "1"},
        "both are handled, one after the other",
    )
    psycopg.connect(namespace.app_secret("chat")["uri"]).close()
    assert namespace.app_secret("chat")["username"] == f"{old['username']}_b"
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(old["uri"])


def test_what_people_made_by_hand_is_adopted(namespace: Namespace, server: PostgresServer) -> None:
    database = namespace.name.replace("-", "_")
    user = f"hand_{database}"
    server.execute(f'CREATE DATABASE "{database}"')
    server.execute(f"CREATE USER {user} PASSWORD 'by-hand'")
    server.execute(f"GRANT ALL ON SCHEMA public TO {user}", database=database)
    pod = psycopg.connect(server.admin_url(database, user=user, password="by-hand", sslmode="disable"), autocommit=True)
    for statement in CIPHER_START:
        pod.execute(statement)
    namespace.admin_secret(server)
    namespace.secret("by-hand", {"password": "by-hand"})
    spec = {
        "database": {"name": database},
        "user": {"name": user, "passwordSecretRef": {"name": "by-hand", "key": "password"}},
        "adoptionPolicy": "IfUnowned",
    }
    namespace.storage("chat", spec)
    namespace.wait_ready("chat")
    assert namespace.app_secret("chat")["password"] == "by-hand"
    for statement in CIPHER_START:
        pod.execute(statement)
    pod.close()
