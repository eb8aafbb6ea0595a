"""Values that would be SQL if anything forgot to quote them, and the ways by which they reach the operator."""

import itertools
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from cipher_operator.core.connection.url import quote
from devcluster import PostgresServer
from support import node_pg
from support.cluster import Namespace

MARK = "pwned"
HOSTILE = {
    "quote": "pwned'; DROP TABLE canary; --",
    "double quote": 'pwned"; CREATE ROLE pwned1 SUPERUSER; --',
    "both quotes": "pwned'\"''\"\"",
    "closing bracket": "pwned'); DROP TABLE canary;--",
    "backslash": "pwned\\'; DROP TABLE canary; --\\",
    "dollar quotes": "pwned$$; DROP TABLE canary; $$",
    "dollar tag": "$pwned$; DROP TABLE canary; $pwned$",
    "percent": "pwned%s%(x)s%%I%1$s",
    "braces": "pwned{}{0}{user}{database_sql}",
    "comment": "pwned/*--*/",
    "unicode": "pwned'日本\"üﬃ",
    "spaces": " pwned ",
    "URL": "pwned@host:1/x&y=z+;",
    "shell": "pwned$(reboot)`id`|&",
}
CONTROL = {
    "new line": "pwned\nDROP TABLE canary",
    "NUL": "pwned\0",
    "right to left": "pwned\u202e",
    "long": "pwned" * 13,
}

_numbers = itertools.count(1)


def write_secret(namespace: Namespace, server: PostgresServer, *, url: bool, **parts: str) -> str:
    """Write a connection Secret of its own, as a URL or as individual parameters, and return its name."""
    name = f"admin-{next(_numbers)}"
    user, password = parts.get("user", server.superuser), parts.get("password", server.password)
    database = parts.get("database", "")
    if url:
        endpoint = f"{server.host}:{server.port}/{quote(database)}"
        login = f"{quote(user)}:{quote(password)}"
        post_secret(namespace, name, {"CIPHER_PG_URL": f"postgresql://{login}@{endpoint}?sslmode=disable"})
        return name
    data = {"HOST": server.host, "PORT": str(server.port), "NAME": database, "USER": user, "PASSWORD": password}
    named = {"SSL": "false"} | data | {key: value for key, value in parts.items() if key.isupper()}
    post_secret(namespace, name, {f"STORAGE_DATABASE_{key}": value for key, value in named.items()})
    return name


def post_secret(namespace: Namespace, name: str, data: Mapping[str, str]) -> None:
    """Create a Secret with one request: there are many of them."""
    namespace.request("POST", namespace.path("secrets"), {"metadata": {"name": name}, "stringData": dict(data)})


def connection(secret: str) -> dict[str, Any]:
    return {"secretRef": {"name": secret}}


def open_everything(published: Mapping[str, Mapping[str, str]]) -> None:
    """Log in with every published URL, as libpq and as both node-postgres."""
    for data in published.values():
        with psycopg.connect(data["uri"]) as opened:
            assert opened.info.dbname == data["database"]
            assert opened.info.user == data["username"]
    for result in node_pg.open_all({name: data["CIPHER_PG_URL"] for name, data in published.items()}).values():
        assert result.get("database") in {data["database"] for data in published.values()}, result


ADMINS: set[str] = set()
"""Roles that the tests themselves made."""


def make_admin(server: PostgresServer, name: str, password: str, attributes: str = "SUPERUSER") -> None:
    statement = sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}")
    composed = statement.format(sql.Identifier(name), sql.SQL(attributes), sql.Literal(password))
    server.execute(composed.as_string(None))
    ADMINS.add(name)


def handled(namespace: Namespace, name: str, value: str) -> bool:
    status = (namespace.get("cipherstorages", name) or {})["status"]
    return bool(status.get("handledRequests") == {"reconcile": value})
