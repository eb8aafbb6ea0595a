"""What Cipher sends to its database, in its own words: at its start, and for each of its operations.

Names are unqualified, as they are there: where they lead to is what the login's settings decide. `{key}` and `{value}`
stand for its bound parameters, and `now()` for the clock of its own.
"""

CREATE_TABLES: tuple[str, ...] = (
    "CREATE TABLE IF NOT EXISTS cipher_store (key TEXT PRIMARY KEY, value TEXT NOT NULL, "
    "created_at TIMESTAMP WITH TIME ZONE NOT NULL, updated_at TIMESTAMP WITH TIME ZONE NOT NULL)",
    "CREATE TABLE IF NOT EXISTS cipher_lists (key TEXT NOT NULL, value TEXT NOT NULL, position INTEGER NOT NULL, "
    "created_at TIMESTAMP WITH TIME ZONE NOT NULL, PRIMARY KEY (key, position))",
    "CREATE TABLE IF NOT EXISTS cipher_list_metadata (key TEXT PRIMARY KEY, count INTEGER NOT NULL DEFAULT 0, "
    "created_at TIMESTAMP WITH TIME ZONE NOT NULL, updated_at TIMESTAMP WITH TIME ZONE NOT NULL)",
)
CREATE_INDEXES: dict[str, str] = {
    "idx_cipher_store_updated_at": "CREATE INDEX IF NOT EXISTS idx_cipher_store_updated_at ON cipher_store(updated_at)",
    "idx_cipher_lists_key": "CREATE INDEX IF NOT EXISTS idx_cipher_lists_key ON cipher_lists(key)",
    "idx_cipher_lists_created_at": "CREATE INDEX IF NOT EXISTS idx_cipher_lists_created_at ON cipher_lists(created_at)",
}
"""By the name of the index."""

SET = (
    "INSERT INTO cipher_store (key, value, created_at, updated_at) VALUES ({key}, {value}, pg_catalog.now(), "
    "pg_catalog.now()) ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = EXCLUDED.updated_at"
)
LIST = "SELECT key FROM cipher_store WHERE key LIKE {prefix}"
"""Cipher adds ORDER BY key."""
GET = "SELECT value FROM cipher_store WHERE key = {key}"
APPEND = (
    "INSERT INTO cipher_lists (key, value, position, created_at) VALUES ({key}, {value}, "
    "COALESCE((SELECT MAX(position) + 1 FROM cipher_lists WHERE key = {key}), 0), pg_catalog.now())"
)
COUNT = (
    "INSERT INTO cipher_list_metadata (key, count, created_at, updated_at) VALUES ({key}, "
    "(SELECT COUNT(*) FROM cipher_lists WHERE key = {key}), pg_catalog.now(), pg_catalog.now()) "
    "ON CONFLICT (key) DO UPDATE SET count = (SELECT COUNT(*) FROM cipher_lists WHERE key = {key}), "
    "updated_at = EXCLUDED.updated_at"
)
RANGE = "SELECT value FROM cipher_lists WHERE key = {key} ORDER BY position LIMIT 100 OFFSET 0"
DELETE = "DELETE FROM cipher_store WHERE key = {key}"
DELETE_LIST = "DELETE FROM cipher_lists WHERE key = {key}"
