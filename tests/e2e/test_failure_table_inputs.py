"""The failure table, of what a storage is given: Secrets, CA, URL, extensions."""

from collections.abc import Callable, Generator
from functools import partial

import psycopg
import pytest

from cipher_operator.api.failures import ConditionType
from cipher_operator.api.reasons import Reason
from devcluster.tls import private_key_pem
from support.failure_table import Record, Scene, Table
from support.played_rows import Outcome

ACCESS, SCHEMA = ConditionType.ACCESS_GRANTED, ConditionType.SCHEMA_APPLIED
NOT_FOUND, KEY_MISSING = Reason.SECRET_NOT_FOUND, Reason.SECRET_KEY_MISSING

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


def no_ca(scene: Scene, text: Callable[[], bytes] | None = None) -> Generator[None]:
    server = scene.server
    scene.secret(host="localhost", sslmode="prefer")
    if text is not None:
        scene.write_ca(text().decode(), key="another")
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


row("CA not found", NOT_FOUND, "spec.connection.caRef.name")(no_ca)
row("CA under another key", KEY_MISSING, "spec.connection.caRef.key")(partial(no_ca, text=private_key_pem))


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


@pytest.mark.parametrize("case", list(row.rows))
def test_named_within_seconds_and_mended_without_a_restart(
    outcomes: dict[str, Outcome], record_property: Record, case: str
) -> None:
    outcomes[case].tell(record_property)
