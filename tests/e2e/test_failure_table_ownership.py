"""The failure table, of what a storage finds on the server: things of others, lost data, what blocks a deletion."""

from collections.abc import Generator
from typing import Any

import psycopg
import pytest

from cipher_operator.api.failures import ConditionType
from cipher_operator.api.reasons import Reason
from support.failure_table import Record, Scene, Table
from support.played_rows import Outcome
from support.provision import snapshot

ACCESS, DATABASE, SCHEMA = ConditionType.ACCESS_GRANTED, ConditionType.DATABASE_READY, ConditionType.SCHEMA_APPLIED
LOST, BLOCKED = Reason.DATABASE_LOST, Reason.DELETION_BLOCKED
CONFLICT, EXISTS = Reason.CONFLICT, Reason.ALREADY_EXISTS

row = Table()


@pytest.fixture(scope="module")
def operator_flags() -> tuple[str, ...]:
    return ("--interval", "1h", "--connect-timeout", "2s")


# --- whose it is ---


@row("database and schema of another storage", CONFLICT, "/chat'", "spec.adoptFrom", stage=ACCESS)
def rival(scene: Scene) -> Generator[None]:
    scene.ready()
    scene.name = "rival"
    scene.create()
    yield
    assert scene.namespace.condition("chat")["status"] == "True"
    scene.namespace.delete("cipherstorages", "chat")
    kube_system = scene.namespace.request("GET", "/api/v1/namespaces/kube-system")
    instance = kube_system["metadata"]["uid"]
    scene.patch(adoptFrom={"instance": instance, "namespace": scene.namespace.name, "name": "chat"})


@row("login of another storage", CONFLICT, "/chat'", stage=ACCESS)
def same_login(scene: Scene) -> Generator[None]:
    user = {"user": {"name": f"same_{scene.database}"}}
    scene.ready(user)
    scene.name = "rival"
    scene.namespace.storage("rival", {"database": {"name": "b"}, **user})
    yield
    assert scene.namespace.condition("chat")["status"] == "True"
    scene.namespace.delete("cipherstorages", "rival")
    scene.create({"user": {"name": f"other_{scene.database}"}, "schema": "cipher"})


@row("app Secret of somebody else", EXISTS, "'chat-cipher'", stage=ConditionType.SECRET_PUBLISHED)
def foreign_secret(scene: Scene) -> Generator[None]:
    scene.alone()
    scene.namespace.secret("chat-cipher", {"mine": "yes"})
    before = snapshot(scene.server)
    scene.secret()
    scene.create()
    yield
    assert scene.namespace.app_secret("chat") == {"mine": "yes"}
    assert snapshot(scene.server) == before, "refused before anything was made on the server"
    scene.namespace.delete("secrets", "chat-cipher")


@row("role that exists", EXISTS, "taken", "spec.user.name", stage=ACCESS)
def role_exists(scene: Scene) -> Generator[None]:
    assert scene.server.running
    scene.sql("CREATE ROLE taken LOGIN")
    scene.secret()
    scene.create({"user": {"name": "taken"}})
    yield
    scene.sql("DROP ROLE taken")
    scene.ask()


@row("table that exists", EXISTS, "cipher_store", "spec.adoptionPolicy: IfUnowned", stage=SCHEMA)
def table_exists(scene: Scene) -> Generator[None]:
    assert scene.server.running
    scene.sql(f"CREATE DATABASE {scene.database} OWNER {scene.admin}")
    scene.sql("CREATE TABLE cipher_store (key text PRIMARY KEY)", scene.database)
    scene.secret()
    scene.create()
    yield
    scene.sql("DROP TABLE cipher_store", scene.database)
    scene.ask()


@row("table with another column", Reason.SCHEMA_CONFLICT, "value", stage=SCHEMA)
def other_column(scene: Scene) -> Generator[None]:
    scene.ready()
    scene.sql("ALTER TABLE cipher_store ALTER value TYPE varchar(9)", scene.database)
    scene.ask()
    yield
    scene.sql("ALTER TABLE cipher_store ALTER value TYPE text", scene.database)
    scene.ask()


# --- lost data ---


@row("URL of another database", Reason.TARGET_CHANGED, "Set the Secret back", stage=DATABASE)
def target_changed(scene: Scene) -> Generator[None]:
    scene.alone()
    scene.secret(database=scene.database)
    scene.namespace.storage("chat")
    scene.namespace.wait_ready("chat")
    before = snapshot(scene.server)
    scene.secret(database="elsewhere")
    yield
    assert snapshot(scene.server) == before
    scene.secret(database=scene.database)


@row("database dropped", LOST, "recreate-requested-at", stage=DATABASE)
def database_dropped(scene: Scene) -> Generator[None]:
    scene.alone()
    scene.ready()
    scene.sql(f"DROP DATABASE {scene.database} WITH (FORCE)")
    scene.ask()
    yield
    before = snapshot(scene.server)
    scene.ask()
    scene.namespace.wait_reason("chat", LOST)
    assert snapshot(scene.server) == before
    scene.namespace.annotate("chat", "recreate-requested-at", "1")
    yield
    psycopg.connect(scene.namespace.app_secret("chat")["uri"]).close()


@row("empty server", LOST, "recreate-requested-at", stage=DATABASE)
def empty_server(scene: Scene) -> Generator[None]:
    scene.ready()
    empty = scene.another()
    before = snapshot(empty)
    scene.secret(user=empty.superuser, password=empty.password, port=empty.port)
    yield
    assert snapshot(empty) == before
    scene.secret()


@row("all tables gone", LOST, "recreate-requested-at", stage=DATABASE)
def tables_gone(scene: Scene) -> Generator[None]:
    scene.ready()
    scene.sql("DROP TABLE cipher_store, cipher_lists, cipher_list_metadata", scene.database)
    scene.ask()
    yield
    scene.namespace.annotate("chat", "recreate-requested-at", "1")


# --- deletion ---

DELETE: dict[str, Any] = {"deletionPolicy": "Delete"}


@row("deletion: a table of others", BLOCKED, "reports", "force-delete", stage=DATABASE, gone=True)
def foreign_table(scene: Scene) -> Generator[None]:
    scene.ready(DELETE)
    scene.sql("CREATE TABLE reports (n int)", scene.database)
    scene.namespace.delete("cipherstorages", "chat")
    yield
    scene.sql("DROP TABLE reports", scene.database)
    scene.ask()


@row("deletion: server away", Reason.CONNECTION_REFUSED, "The deletion waits", "force-delete", gone=True)
def server_away(scene: Scene) -> Generator[None]:
    server = scene.alone("breakable")
    scene.ready(DELETE)
    server.stop()
    scene.namespace.delete("cipherstorages", "chat")
    yield
    server.start()


@row("deletion: database in use", Reason.LOCK_TIMEOUT, "pg_prepared_xacts", sqlstate="55006", stage=DATABASE, gone=True)
def prepared_transaction(scene: Scene) -> Generator[None]:
    server = scene.alone("breakable")
    scene.ready(DELETE)
    with psycopg.connect(server.admin_url(scene.database), autocommit=True) as other:
        # No session holds it, so the operator can end none.
        other.execute("BEGIN; SELECT pg_advisory_xact_lock(1); PREPARE TRANSACTION 'held'")
    scene.namespace.delete("cipherstorages", "chat")
    yield
    # The operator lets nobody in to what it drops.
    scene.sql(f"ALTER DATABASE {scene.database} ALLOW_CONNECTIONS true")
    with psycopg.connect(server.admin_url(scene.database), autocommit=True) as other:
        other.execute("ROLLBACK PREPARED 'held'")


@pytest.mark.parametrize("case", list(row.rows))
def test_named_within_seconds_and_mended_without_a_restart(
    outcomes: dict[str, Outcome], record_property: Record, case: str
) -> None:
    outcomes[case].tell(record_property)
