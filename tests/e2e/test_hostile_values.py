"""Values that would be SQL if anything forgot to quote: refused with a reason, or taken as what they are."""

import itertools
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from devcluster import ControlPlane, PostgresServer
from support import crd
from support.cluster import Namespace, Operator, wait_until
from support.hostile import (
    ADMINS,
    CONTROL,
    HOSTILE,
    MARK,
    connection,
    handled,
    make_admin,
    open_everything,
    post_secret,
    write_secret,
)
from support.sql_log import PREFIX, outside_quotes, statements
from support.storages import Storages


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    settings = {"log_statement": "all", "log_line_prefix": PREFIX, "max_connections": "200"}
    with PostgresServer(16, settings=settings) as running:
        running.execute("CREATE TABLE canary (id int)")
        yield running


@pytest.fixture(autouse=True)
def nothing_strays(server: PostgresServer, namespace: Namespace) -> Iterator[None]:
    """After each test: no role, database or table that nobody asked for, and no value outside quotes in the log."""
    before = _names(server)
    server.mark_log()
    yield
    storages = namespace.request("GET", namespace.path("cipherstorages"))["items"]
    databases = {each["status"]["database"] for each in storages if each.get("status", {}).get("database")}
    roles = {each["status"]["user"].removesuffix("_b") for each in storages if each.get("status", {}).get("user")}
    # The storage of an earlier test may end while a run of it still gives it a second login.
    roles |= {name.removesuffix("_owner") for name in before if name.endswith("_owner")}
    allowed = databases | {f"{role}{end}" for role in roles for end in ("", "_b", "_owner")}
    assert _names(server) - before - allowed - ADMINS == set()
    assert server.execute("SELECT to_regclass('canary') IS NOT NULL") == [(True,)]
    query = (
        "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'v', 'm') "
        "AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
    )
    for database in databases & {name for (name,) in server.execute("SELECT datname FROM pg_database")}:
        assert {name for (name,) in server.execute(query, database=database)} <= CIPHER_TABLES, database
    logged = statements(server.log_text())
    assert logged
    for statement in logged:
        assert MARK not in outside_quotes(statement), statement


CIPHER_TABLES = {"cipher_store", "cipher_lists", "cipher_list_metadata"}


def _names(server: PostgresServer) -> set[str]:
    return {
        name for (name,) in server.execute("SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles")
    }


def test_database_names_from_the_secret(namespace: Namespace, server: PostgresServer) -> None:
    for number, value in enumerate(HOSTILE.values()):
        secret = write_secret(namespace, server, url=number % 2 == 0, database=value)
        namespace.storage(f"s{number}", {"connection": connection(secret), "deletionPolicy": "Delete"})
    published = {}
    for number, value in enumerate(HOSTILE.values()):
        namespace.wait_ready(f"s{number}", 120)
        published[f"s{number}"] = namespace.app_secret(f"s{number}")
        assert published[f"s{number}"]["database"] == value
    assert set(HOSTILE.values()) <= _names(server)
    open_everything(published)
    assert any(MARK in statement for statement in statements(server.log_text())), "the check sees the values"

    def gone(name: str) -> bool:
        return namespace.get("cipherstorages", name) is None

    for name in published:
        namespace.delete("cipherstorages", name)
    for name in published:
        wait_until(partial(gone, name), f"{name} is gone", 120)
    assert not [name for name in _names(server) if MARK in name]


@pytest.mark.parametrize("value", ["pwned?", "pwned#", "..", "pwned/../x"])
def test_database_names_that_no_url_can_carry(namespace: Namespace, server: PostgresServer, value: str) -> None:
    namespace.storage("chat", {"connection": connection(write_secret(namespace, server, url=True, database=value))})
    namespace.wait_reason("chat", "InvalidSpec")
    assert value not in _names(server)


def test_administrators_and_their_passwords(namespace: Namespace, server: PostgresServer, operator: Operator) -> None:
    hidden = {value: value.replace(MARK, "hidden") for value in HOSTILE.values()}
    for value, password in hidden.items():
        make_admin(server, value, password)
    server.mark_log()
    for number, (value, password) in enumerate(hidden.items()):
        secret = write_secret(namespace, server, url=number % 2 == 1, user=value, password=password)
        mode = "Shared" if number % 3 == 0 else "Dedicated"
        spec = {"database": {"name": f"{namespace.name}-{number}"}, "user": {"mode": mode}}
        namespace.storage(f"s{number}", {"connection": connection(secret), **spec})
    published = {}
    for number in range(len(hidden)):
        namespace.wait_ready(f"s{number}", 120)
        published[f"s{number}"] = namespace.app_secret(f"s{number}")
    assert [data["username"] for data in published.values()][::3] == list(hidden)[::3]
    open_everything(published)
    public = server.log_text() + operator.log() + json.dumps(namespace.request("GET", namespace.path("cipherstorages")))
    assert "hidden" not in public


def test_passwords_that_the_user_brings(namespace: Namespace, server: PostgresServer, operator: Operator) -> None:
    secret = write_secret(namespace, server, url=True)
    hidden = [value.replace(MARK, "hidden") for value in HOSTILE.values()]
    for number, password in enumerate(hidden):
        post_secret(namespace, f"password-{number}", {"password": password})
        user = {"passwordSecretRef": {"name": f"password-{number}"}}
        database = {"name": f"brought{number}"}
        namespace.storage(f"s{number}", {"connection": connection(secret), "database": database, "user": user})
    published = {}
    for number, password in enumerate(hidden):
        namespace.wait_ready(f"s{number}", 120)
        published[f"s{number}"] = namespace.app_secret(f"s{number}")
        assert published[f"s{number}"]["password"] == password
    open_everything(published)
    public = server.log_text() + operator.log() + json.dumps(namespace.request("GET", namespace.path("cipherstorages")))
    assert "hidden" not in public


def test_a_password_that_cipher_could_not_use_is_refused(namespace: Namespace, server: PostgresServer) -> None:
    namespace.admin_secret(server)
    namespace.secret("password", {"password": "hidden ﬃ🦀"})
    namespace.storage("chat", {"database": {"name": "unused"}, "user": {"passwordSecretRef": {"name": "password"}}})
    namespace.wait_reason("chat", "InvalidSpec")
    assert "hidden" not in namespace.condition("chat")["message"]
    assert "unused" not in _names(server)


REFUSED = {
    **{f"database: {name}": ({"NAME": value}, "InvalidURL") for name, value in CONTROL.items()},
    **{f"user: {name}": ({"USER": value * 5}, "InvalidURL") for name, value in CONTROL.items()},
    **{
        f"host: {name}": ({"HOST": value}, "InvalidURL")
        for name, value in {**HOSTILE, **CONTROL}.items()
        if name != "long"
    },
    **{f"port: {name}": ({"PORT": f"5432{value}"}, "InvalidURL") for name, value in HOSTILE.items()},
    **{f"ssl: {name}": ({"SSL": value}, "InvalidURL") for name, value in HOSTILE.items()},
    "password: NUL": ({"PASSWORD": "hidden\0"}, "InvalidURL"),
    "database: template1": ({"NAME": "template1"}, "InvalidURL"),
}


def test_what_a_secret_may_not_say_is_refused(namespace: Namespace, server: PostgresServer) -> None:
    for number, (parts, _) in enumerate(REFUSED.values()):
        secret = write_secret(namespace, server, url=False, **parts)
        namespace.storage(f"s{number}", {"connection": connection(secret), "user": {"name": f"r{number}"}})
    for number, (case, (parts, reason)) in enumerate(REFUSED.items()):
        try:
            namespace.wait_reason(f"s{number}", reason, 120)
        except AssertionError as error:
            raise AssertionError(f"{case}: {error}") from None
        message = namespace.condition(f"s{number}")["message"]
        assert not [value for value in parts.values() if value in message and value != "template1"], case
    assert not server.connections_authorized(user=server.superuser) - _own_connections(server)


def _own_connections(server: PostgresServer) -> int:
    """Return how many of the logged connections are the test's own: those without the operator's name."""
    lines = [line for line in server.log_text().splitlines() if "connection authorized" in line]
    return len([line for line in lines if "application_name=cipher-operator" not in line])


KEYS = crd.schema("spec.connection.secretRef.keys")["properties"]
FULL: dict[str, Any] = {
    "connection": {
        "secretRef": {"name": "pg-admin", "keys": dict.fromkeys(KEYS, "k")},
        "sslMode": "verify-ca",
        "caRef": {"kind": "Secret", "name": "pg-ca", "key": "ca.crt"},
    },
    "database": {"name": "plain"},
    "schema": "plain",
    "user": {"mode": "Dedicated", "name": "plain", "passwordSecretRef": {"name": "pw", "key": "k"}},
    "extensions": [{"name": "vector"}],
    "app": {"secretName": "app", "host": "h", "caPath": "/ca", "labels": {"x": "y"}, "annotations": {"x": "y"}},
    "interval": "1m",
    "deletionPolicy": "Retain",
    "adoptionPolicy": "Never",
    "adoptFrom": {"instance": "i", "namespace": "n", "name": "m"},
    "managementPolicy": "Manage",
}  # fmt: skip


def _string_fields() -> Iterator[str]:
    for path, node in crd.nodes(crd.schema("spec")):
        if node.get("type") == "string":
            yield path


def _with(path: str, value: str) -> dict[str, Any]:
    """Return FULL with a value at a path of the schema; `.*` is the value of a map's entry."""
    if path == "extensions.[].name":
        return crd.changed(FULL, {"extensions": [{"name": value}]})
    if path == "passwordRotation.interval":
        return crd.changed(FULL, {path: value, "user.passwordSecretRef": None})
    if path.endswith(".*"):
        return crd.changed(FULL, {path.removesuffix(".*"): {"x": value}})
    return crd.changed(FULL, {path: value})


def test_the_schema_lets_none_of_it_into_a_spec_but_annotations(
    cluster: ControlPlane, namespace: Namespace, server: PostgresServer
) -> None:
    storages = Storages(cluster.client(), namespace.name)
    assert storages.try_create(FULL).accepted
    assert storages.try_create(_with("passwordRotation.interval", "24h")).accepted
    accepted = {
        (path, name)
        for path in _string_fields()
        for name, value in HOSTILE.items()
        if storages.try_create(_with(path, value)).accepted
    }
    assert accepted == {("app.annotations.*", name) for name in HOSTILE}
    for path in ("app.labels", "app.annotations"):
        for value in HOSTILE.values():
            assert not storages.try_create(crd.changed(FULL, {path: {value: "x"}})).accepted
    namespace.admin_secret(server)
    for number, value in enumerate(HOSTILE.values()):
        spec = {"app": {"annotations": {"x": value}}, "database": {"name": f"annotated{number}"}}
        namespace.storage(f"s{number}", spec)
    for number, value in enumerate(HOSTILE.values()):
        namespace.wait_ready(f"s{number}", 120)
        secret = namespace.get("secrets", f"s{number}-cipher")
        assert secret is not None
        assert secret["metadata"]["annotations"]["x"] == value
    assert not [each for each in statements(server.log_text()) if MARK in each]


WORDS = {
    # What the patterns let through and SQL has a meaning for, unless it is quoted.
    "database.name": ["a--b", "select", "public", "1", "0x1F", "user", "All", "_--"],
    "schema": ["select", "user", "table", "all", "null", "_", "default", "current_user"],
    "user.name": ["select", "table", "all", "null", "default", "_", "cast", "grant"],
}


def test_words_of_sql_are_names_like_others(namespace: Namespace, server: PostgresServer) -> None:
    namespace.admin_secret(server)
    rows = list(zip(*WORDS.values(), strict=True))
    for number, (database, schema, user) in enumerate(rows):
        namespace.storage(f"s{number}", {"database": {"name": database}, "schema": schema, "user": {"name": user}})
    published = {}
    for number, (database, schema, user) in enumerate(rows):
        namespace.wait_ready(f"s{number}", 120)
        published[f"s{number}"] = data = namespace.app_secret(f"s{number}")
        assert (data["database"], data["username"]) == (database, user)
        query = (
            "SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relname = 'cipher_store'"
        )
        assert server.execute(query, database=database) == [(schema,)]
    open_everything(published)


def test_requests_with_any_value_are_only_noted(namespace: Namespace, server: PostgresServer) -> None:
    namespace.admin_secret(server)
    # Of more than ten requests in a row the operator takes one each 5 s, for each storage by itself.
    names = ["chat-0", "chat-1"]
    for name in names:
        namespace.storage(name, {"database": {"name": f"requested-{name}"}})
    for name in names:
        namespace.wait_ready(name)
    for name, value in zip(itertools.cycle(names), HOSTILE.values(), strict=False):
        namespace.annotate(name, "reconcile-requested-at", value)
        wait_until(partial(handled, namespace, name, value), f"{value!r} is handled")
    assert not [each for each in statements(server.log_text()) if MARK in each]


def test_the_check_of_the_log_sees_what_is_not_quoted() -> None:
    log = (
        "2026-01-01 10:00:00.123 UTC [7] LOG:  statement: SELECT 'pwned''s', \"pwned\"\"x\", E'\\'pwned', $a$pwned$a$\n"
        "\t;DROP TABLE pwned\n2026-01-01 10:00:00.123 UTC [7] LOG:  connection authorized: user=pwned\n"
    )
    (statement,) = statements(log)
    assert outside_quotes(statement).count("pwned") == 2
    assert (
        outside_quotes("DO $$ BEGIN EXECUTE 'pwned'; PERFORM \"pwned\"; END $$")
        == "DO  BEGIN EXECUTE ''; PERFORM ''; END "
    )
