"""The failure table, of the storage itself: its Secrets, spec and owner; lost data; deletion."""

from collections.abc import Generator
from functools import partial
from typing import Any

import psycopg
import pytest

from cipher_operator.api.failures import ConditionType
from cipher_operator.api.reasons import Reason
from devcluster.tls import private_key_pem
from support.failure_table import Record, Scene, Table, produce
from support.provision import snapshot

ACCESS, DATABASE, SCHEMA = ConditionType.ACCESS_GRANTED, ConditionType.DATABASE_READY, ConditionType.SCHEMA_APPLIED
NOT_FOUND, KEY_MISSING, LOST = Reason.SECRET_NOT_FOUND, Reason.SECRET_KEY_MISSING, Reason.DATABASE_LOST
CONFLICT, EXISTS, BLOCKED = Reason.CONFLICT, Reason.ALREADY_EXISTS, Reason.DELETION_BLOCKED

row = Table()


@pytest.fixture(scope="module")
def operator_flags() -> tuple[str, ...]:
    return ("--interval", "1h", "--connect-timeout", "2s", "--allowed-extensions", "vector,not_there")


# --- Secrets ---


@row("Secret not there yet", NOT_FOUND, "pg-admin", "spec.connection.secretRef.name")
def secret_not_there(scene: Scene) -> Generator[None]:
    assert scene.server.running
    scene.create()
    yield
    scene.secret()


@row("Secret deleted", NOT_FOUND, "pg-admin", "spec.connection.secretRef.name")
def secret_deleted(scene: Scene) -> Generator[None]:
    scene.ready()
    scene.namespace.delete("secrets", "pg-admin")
    yield
    psycopg.connect(scene.namespace.app_secret("chat")["uri"]).close()
    scene.secret()


@row("key missing", KEY_MISSING, "CIPHER_PG_URL")
def key_missing(scene: Scene) -> Generator[None]:
    assert scene.server.running
    scene.namespace.secret("pg-admin", {"url": "postgresql://u:p@127.0.0.1/db"})
    scene.create()
    yield
    scene.secret()


@row("empty password in its own key", KEY_MISSING, "STORAGE_DATABASE_PASSWORD")
def empty_password(scene: Scene) -> Generator[None]:
    parts = {"STORAGE_DATABASE_HOST": scene.server.host, "STORAGE_DATABASE_USER": "u", "STORAGE_DATABASE_PASSWORD": ""}
    scene.namespace.secret("pg-admin", parts)
    scene.create()
    yield
    scene.secret()


def no_ca(scene: Scene, text: str | None) -> Generator[None]:
    server = scene.server
    scene.secret(host="localhost", sslmode="prefer")
    if text is not None:
        scene.write_ca(text, key="another")
    scene.create(
        {
            "connection": {
                "secretRef": {"name": "pg-admin"},
                "sslMode": "verify-full",
                "caRef": {"kind": "ConfigMap", "name": "pg-ca"},
            },
            "app": {"caPath": "/etc/cipher/ca.crt"},
        }
    )
    yield
    assert server.tls is not None
    scene.write_ca(server.tls.ca.read_text())


row("CA not found", NOT_FOUND, "spec.connection.caRef.name")(partial(no_ca, text=None))
row("CA under another key", KEY_MISSING, "spec.connection.caRef.key")(partial(no_ca, text=private_key_pem().decode()))


def no_password(scene: Scene, data: dict[str, str]) -> Generator[None]:
    scene.secret()
    if data:
        scene.namespace.secret("login", data)
    scene.create({"user": {"passwordSecretRef": {"name": "login", "key": "password"}}})
    yield
    scene.namespace.secret("login", {"password": "br0ught-along"})


row("password's Secret not found", NOT_FOUND, "spec.user.passwordSecretRef.name", stage=ACCESS)(
    partial(no_password, data={})
)
row("password's key missing", KEY_MISSING, "spec.user.passwordSecretRef.key", stage=ACCESS)(
    partial(no_password, data={"other": "x"})
)

# --- the URL ---


def bad_url(scene: Scene, url: str) -> Generator[None]:
    assert scene.server.running
    scene.hidden.add("127.0.0.1")
    scene.namespace.secret("pg-admin", {"CIPHER_PG_URL": url})
    scene.create()
    yield
    scene.secret()


for case, url, word in (
    ("no user", "postgresql://127.0.0.1:5432/db", "user"),
    ("unencoded @ in the password", "postgresql://u:p@ss@127.0.0.1/db", "ercent-encode"),
    ("unencoded # in the password", "postgresql://u:p#ss@127.0.0.1/db", "ercent-encode"),
    ("sslkeylogfile", "postgresql://u:p@127.0.0.1/db?sslkeylogfile=/tmp/x", "sslkeylogfile"),
    ("options", "postgresql://u:p@127.0.0.1/db?options=-crole%3Dx", "options"),
    ("service", "postgresql://u:p@127.0.0.1/db?service=x", "service"),
    ("host in the query", "postgresql://u:p@127.0.0.1/db?host=/tmp", "host"),
    ("sslmode nonsense", "postgresql://u:p@127.0.0.1/db?sslmode=maybe", "sslmode"),
    ("port out of range", "postgresql://u:p@127.0.0.1:70000/db", "port"),
    ("empty password", "postgresql://u:@127.0.0.1/db", "password"),
    ("template0", "postgresql://u:p@127.0.0.1/template0", "template0"),
):
    row(f"URL: {case}", Reason.INVALID_URL, word)(partial(bad_url, url=url))

# --- the spec ---


def extension(scene: Scene, name: str) -> Generator[None]:
    scene.secret()
    scene.create({"extensions": [{"name": name}]})
    yield
    scene.patch(extensions=None)


row("extension that is not allowed", Reason.INVALID_SPEC, "--allowed-extensions")(partial(extension, name="plperlu"))
row("extension not installed", Reason.INSUFFICIENT_PRIVILEGE, "CREATE EXTENSION", stage=SCHEMA, sqlstate="0A000")(
    partial(extension, name="not_there")
)

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
    assert scene.server.running
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
    empty = scene.servers("new")
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
    server = scene.on(scene.servers("breakable"))
    scene.ready(DELETE)
    server.stop()
    scene.namespace.delete("cipherstorages", "chat")
    yield
    server.start()


@row("deletion: database in use", Reason.LOCK_TIMEOUT, "pg_prepared_xacts", sqlstate="55006", gone=True)
def prepared_transaction(scene: Scene) -> Generator[None]:
    server = scene.on(scene.servers("breakable"))
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
def test_named_within_seconds_and_mended_without_a_restart(scene: Scene, record_property: Record, case: str) -> None:
    produce(row.rows[case], scene, record_property)
