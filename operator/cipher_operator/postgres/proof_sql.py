"""What the proof of a login sends: a life of Cipher in one transaction, each statement with the rows it must give."""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from cipher_operator.core import cipher_sql
from cipher_operator.core.schema import INDEX_NAMES, TABLE_NAMES
from cipher_operator.postgres.catalog_started import STARTED

STATEMENT_MS, LOCK_MS, START_LOCK_MS = 10_000, 3_000, 500
"""At most, where the login's own limits are not shorter. CREATE INDEX waits for its lock less long: writers wait
behind it."""
PREFIX = "cipher-operator:login-test:"
"""Of the keys that are written: nobody else's begin so."""

_FILL = base64.b64encode(hashlib.shake_256(b"cipher").digest(4_500)).decode()
SAMPLE = json.dumps("e\u0301 👩‍👩‍👧‍👦 𝄞 日本語 שלום '\"%_ \n" + _FILL, ensure_ascii=False)
"""JSON, as everything that Cipher stores: 6 kB that cannot be compressed. An index that would have to hold it
refuses it by its name; of more than a page it does not say which it is."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement; `gives` are the rows that it must return, None where that says nothing; from `table`."""

    text: sql.Composable
    gives: tuple[tuple[Any, ...], ...] | None = None
    table: str = ""


def look(schema: str) -> sql.Composed:
    """Return BEGIN and the query for (database, acting role, current schema, tables that lead elsewhere, whether the
    acting role owns those in the schema, indexes that are there, start of the server): one row, no lock.

    The transaction stays open behind it, as Cipher's own do between two statements: what takes none says so.
    """
    return _LOOK.format(
        schema=sql.Literal(schema),
        tables=sql.Literal(list(TABLE_NAMES)),
        indexes=sql.Literal(list(INDEX_NAMES)),
        started=STARTED,
    )


def settings_of_session(names: Iterable[str]) -> sql.Composed:
    """Return the query for the values of settings that the session began with, and for what is set for its role and
    database: (for a role, in a database, settings). Within a limit of its own: the session's may be too short."""
    return _SETTINGS.format(names=sql.Literal(sorted(names)))


def life_of_cipher(key: str, indexes: Iterable[str]) -> list[Statement]:
    """Return what Cipher does from its start on, around one key, in the transaction that is open, and its ROLLBACK.

    `indexes` are those that are there: IF NOT EXISTS would build the others, perhaps for long. Its start is taken back
    before the first row: CREATE INDEX locks a table against writers, and two proofs would wait for each other.
    """
    second, long = f"{key}:2", sql.SQL("COALESCE(({get}), '')").format(get=_fill(cipher_sql.GET, key))
    return [
        Statement(_limits(LOCK_MS)),
        Statement(sql.SQL("SAVEPOINT cipher_start")),
        Statement(_limits(START_LOCK_MS)),
        *(Statement(_fill(text, key)) for text in cipher_sql.CREATE_TABLES),
        *(Statement(_fill(cipher_sql.CREATE_INDEXES[name], key)) for name in indexes),
        Statement(sql.SQL("ROLLBACK TO SAVEPOINT cipher_start")),
        Statement(_fill(cipher_sql.SET, key, sql.Literal('""'))),
        Statement(_fill(cipher_sql.SET, key, sql.Literal(SAMPLE))),
        # Two of everything, alike in all but the key: what wants a column to be unique says so.
        Statement(_fill(cipher_sql.SET, second, long)),
        _gives(_fill(cipher_sql.GET, key), "cipher_store", (SAMPLE,)),
        _gives(sql.SQL("SELECT ({}) = {}").format(_fill(cipher_sql.GET, second), long), "cipher_store", (True,)),
        # Cipher lists by prefix alone; in a large table that takes longer than a proof may.
        _gives(_fill(f"{cipher_sql.LIST} AND key = {{key}}", key), "cipher_store", (key,)),
        *2 * [Statement(_fill(cipher_sql.APPEND, key, long)), Statement(_fill(cipher_sql.COUNT, key))],
        _gives(
            sql.SQL("SELECT r.value = {} FROM ({}) r").format(long, _fill(cipher_sql.RANGE, key)),
            "cipher_lists",
            *2 * [(True,)],
        ),
        _gives(_fill("SELECT count FROM cipher_list_metadata WHERE key = {key}", key), "cipher_list_metadata", (2,)),
        # What else waits for COMMIT, which never comes.
        Statement(_NOW),
        *(Statement(_fill(cipher_sql.DELETE, each)) for each in (key, second)),
        Statement(_fill(cipher_sql.DELETE_LIST, key)),
        _gives(_fill(cipher_sql.GET, key), "cipher_store"),
        _gives(_fill(cipher_sql.RANGE, key), "cipher_lists"),
        Statement(_NOW),
        Statement(sql.SQL("ROLLBACK")),
    ]


def _limits(lock_ms: int) -> sql.Composed:
    return _LIMITS.format(statement=sql.Literal(STATEMENT_MS), lock=sql.Literal(lock_ms))


def _gives(text: sql.Composable, table: str, *rows: tuple[Any, ...]) -> Statement:
    return Statement(text, rows, table)


def _fill(template: str, key: str, value: sql.Composable | None = None) -> sql.Composed:
    return sql.SQL(template).format(
        key=sql.Literal(key), value=value or sql.SQL(""), prefix=sql.Literal(PREFIX.replace("_", r"\_") + "%")
    )


_NOW = sql.SQL("SET CONSTRAINTS ALL IMMEDIATE")
_LIMITS = sql.SQL("""SELECT pg_catalog.set_config(s.name, CASE WHEN s.setting::int BETWEEN 1 AND w.most THEN s.setting
  ELSE w.most::text END, true)
FROM (VALUES ('statement_timeout', {statement}), ('lock_timeout', {lock})) w(name, most)
JOIN pg_catalog.pg_settings s ON s.name = w.name""")

_LOOK = sql.SQL("""BEGIN; SELECT current_database()::text, current_user::text, pg_catalog.current_schema()::text,
  ARRAY(SELECT w.name FROM pg_catalog.unnest({tables}::text[]) w(name)
    LEFT JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(w.name)
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IS DISTINCT FROM {schema}),
  COALESCE((SELECT pg_catalog.bool_and(pg_catalog.pg_has_role(c.relowner, 'USAGE')) FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = {schema} AND c.relname = ANY ({tables}::name[])), true),
  ARRAY(SELECT w.name FROM pg_catalog.unnest({indexes}::text[]) w(name)
    WHERE pg_catalog.to_regclass(w.name) IS NOT NULL), {started}""")

_SETTINGS = sql.SQL("""BEGIN; SET LOCAL statement_timeout = 5000;
SELECT (SELECT pg_catalog.jsonb_object_agg(s.name, s.reset_val) FROM pg_catalog.pg_settings s
    WHERE s.name = ANY ({names}::text[])),
  (SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(d.setrole <> 0, d.setdatabase <> 0,
     d.setconfig)), '[]') FROM pg_catalog.pg_db_role_setting d
   WHERE d.setrole IN (0, (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = session_user))
     AND d.setdatabase IN (0, (SELECT b.oid FROM pg_catalog.pg_database b WHERE b.datname = current_database())))""")
