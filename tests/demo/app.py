"""Cipher's part in the demo: it knows nothing but the app Secret."""

from __future__ import annotations

import base64
import json

import psycopg

from demo import screen
from demo.stage import Stage, StepError

APP_SECRET = "chat-cipher"
TABLES = ("cipher_list_metadata", "cipher_lists", "cipher_store")
INDEXES = ("idx_cipher_lists_created_at", "idx_cipher_lists_key", "idx_cipher_store_updated_at")


def secret(stage: Stage) -> dict[str, str]:
    """Return the app Secret's data as text."""
    raw = stage.kubectl("get", "secret", APP_SECRET, "-o", "json", show=False)
    data: dict[str, str] = json.loads(raw)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def connect(stage: Stage) -> psycopg.Connection[tuple[str, ...]]:
    """Log in with the published URL, as Cipher does."""
    return psycopg.connect(secret(stage)["CIPHER_PG_URL"], connect_timeout=5, autocommit=True)


def write(stage: Stage, key: str) -> None:
    """Log in, write one row, and show who did it."""
    statement = "INSERT INTO cipher_store VALUES (%s, %s, now(), now())"
    with connect(stage) as connection:
        who = connection.execute("SELECT session_user, current_user").fetchone()
        assert who is not None
        connection.execute(statement, (key, '{"role": "user", "content": "remember this"}'))
    screen.output(f"logged in as {who[0]}, at work as {who[1]}; wrote {key}")


def rows(stage: Stage) -> list[str]:
    """Return the keys in cipher_store, in order."""
    with connect(stage) as connection:
        return [row[0] for row in connection.execute("SELECT key FROM cipher_store ORDER BY key")]


def show_relations(stage: Stage) -> None:
    """Show Cipher's tables and indexes as the app sees them; raises StepError when one is missing."""
    query = (
        "SELECT c.relname, CASE c.relkind WHEN 'i' THEN 'index' ELSE 'table' END, pg_get_userbyid(c.relowner)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'public' AND c.relkind IN ('r', 'i') ORDER BY c.relkind DESC, c.relname"
    )
    with connect(stage) as connection:
        found = connection.execute(query).fetchall()
    screen.table([(name, f"{kind}, owner {owner}") for name, kind, owner in found])
    if missing := {*TABLES, *INDEXES} - {name for name, *_ in found}:
        raise StepError(f"missing: {', '.join(sorted(missing))}")
