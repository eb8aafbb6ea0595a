"""What Cipher does with its storage, in its own SQL and with bound parameters, and committed as it commits."""

import itertools
import json
import random
from datetime import UTC, datetime
from typing import Any

import psycopg

START = (
    "CREATE TABLE IF NOT EXISTS cipher_store (key TEXT PRIMARY KEY, value TEXT NOT NULL, "
    "created_at TIMESTAMP WITH TIME ZONE NOT NULL, updated_at TIMESTAMP WITH TIME ZONE NOT NULL)",
    "CREATE TABLE IF NOT EXISTS cipher_lists (key TEXT NOT NULL, value TEXT NOT NULL, position INTEGER NOT NULL, "
    "created_at TIMESTAMP WITH TIME ZONE NOT NULL, PRIMARY KEY (key, position))",
    "CREATE TABLE IF NOT EXISTS cipher_list_metadata (key TEXT PRIMARY KEY, count INTEGER NOT NULL DEFAULT 0, "
    "created_at TIMESTAMP WITH TIME ZONE NOT NULL, updated_at TIMESTAMP WITH TIME ZONE NOT NULL)",
    "CREATE INDEX IF NOT EXISTS idx_cipher_store_updated_at ON cipher_store(updated_at)",
    "CREATE INDEX IF NOT EXISTS idx_cipher_lists_key ON cipher_lists(key)",
    "CREATE INDEX IF NOT EXISTS idx_cipher_lists_created_at ON cipher_lists(created_at)",
)
SET = (
    "INSERT INTO cipher_store (key, value, created_at, updated_at) VALUES (%(key)s, %(value)s, %(now)s, %(now)s) "
    "ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = EXCLUDED.updated_at"
)
APPEND = (
    "INSERT INTO cipher_lists (key, value, position, created_at) VALUES (%(key)s, %(value)s, "
    "COALESCE((SELECT MAX(position) + 1 FROM cipher_lists WHERE key = %(key)s), 0), %(now)s)"
)
COUNT = (
    "INSERT INTO cipher_list_metadata (key, count, created_at, updated_at) VALUES (%(key)s, "
    "(SELECT COUNT(*) FROM cipher_lists WHERE key = %(key)s), %(now)s, %(now)s) ON CONFLICT (key) DO UPDATE SET "
    "count = (SELECT COUNT(*) FROM cipher_lists WHERE key = %(key)s), updated_at = EXCLUDED.updated_at"
)
SHORT = ["hello", "Grüße", "日本語", "שלום", "e\u0301\u0323", "👩‍👩‍👧‍👦", "𝄞", "\ufeff\u200b", "'\"\\\n\t%_"]
LONG = "".join(random.Random(7).choices([chr(code) for code in range(0x1F300, 0x1F600)], k=5_000))
"""Of four bytes a character, which nothing makes shorter."""

_lives = itertools.count(1)
"""A life that was broken off may have left rows."""


class NotKept(Exception):
    """What was read is not what was written."""


def work_as_cipher(app: psycopg.Connection[Any]) -> None:
    """Start, and write and read everything that Cipher does, in an autocommit session of the published login.

    Raises psycopg.Error or NotKept. What was written is deleted at the end.
    """
    for statement in START:
        app.execute(statement.encode())
    _store(app)
    _lists(app)


def _store(app: psycopg.Connection[Any]) -> None:
    life = f"cipher:sessions:{next(_lives)}:"
    texts = {f"{life}{number}": text for number, text in enumerate([*SHORT, LONG, LONG])}
    for given in (dict.fromkeys(texts, "before"), texts):
        for key, text in given.items():
            app.execute(SET, {"key": key, "value": _json(text), "now": datetime.now(UTC)})
    for key, text in texts.items():
        _same(app, "SELECT value FROM cipher_store WHERE key = %s", [key], [(_json(text),)])
    found = "SELECT key FROM cipher_store WHERE key LIKE %s ORDER BY key"
    listed = app.execute(found, [f"{life}%"]).fetchall()
    if {key for (key,) in listed} != set(texts):
        raise NotKept(f"listed {len(listed)} keys of {len(texts)}")
    for key in texts:
        with app.transaction():
            app.execute("DELETE FROM cipher_store WHERE key = %s", [key])
            app.execute("DELETE FROM cipher_lists WHERE key = %s", [key])
    _same(app, found, [f"{life}%"], [])


def _lists(app: psycopg.Connection[Any]) -> None:
    key, texts = f"messages:{next(_lives)}", [*SHORT, LONG, LONG]
    for text in texts:
        with app.transaction():
            given = {"key": key, "value": _json(text), "now": datetime.now(UTC)}
            app.execute(APPEND, given)
            app.execute(COUNT, given)
    _same(
        app,
        "SELECT value FROM cipher_lists WHERE key = %s ORDER BY position LIMIT %s OFFSET %s",
        [key, 100, 0],
        [(_json(text),) for text in texts],
    )
    _same(app, "SELECT count FROM cipher_list_metadata WHERE key = %s", [key], [(len(texts),)])
    app.execute("DELETE FROM cipher_lists WHERE key = %s", [key])
    _same(app, "SELECT count(*) FROM cipher_lists WHERE key = %s", [key], [(0,)])
    app.execute("DELETE FROM cipher_list_metadata WHERE key = %s", [key])


def _same(app: psycopg.Connection[Any], query: str, given: list[Any], wanted: list[tuple[Any, ...]]) -> None:
    if app.execute(query.encode(), given).fetchall() != wanted:
        raise NotKept(query)


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
