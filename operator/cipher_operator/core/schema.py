"""Cipher's tables and indexes as data: exactly what `@byterover/cipher` makes at its start."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `type` as PostgreSQL's format_type() prints it."""

    name: str
    type: str
    not_null: bool = True
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its primary key."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """A plain btree index."""

    name: str
    table: str
    columns: tuple[str, ...]


_TEXT, _TIME, _INTEGER = "text", "timestamp with time zone", "integer"

TABLES: tuple[Table, ...] = (
    Table(
        "cipher_store",
        (Column("key", _TEXT), Column("value", _TEXT), Column("created_at", _TIME), Column("updated_at", _TIME)),
        ("key",),
    ),
    Table(
        "cipher_lists",
        (Column("key", _TEXT), Column("value", _TEXT), Column("position", _INTEGER), Column("created_at", _TIME)),
        ("key", "position"),
    ),
    Table(
        "cipher_list_metadata",
        (
            Column("key", _TEXT),
            Column("count", _INTEGER, default="0"),
            Column("created_at", _TIME),
            Column("updated_at", _TIME),
        ),
        ("key",),
    ),
)

INDEXES: tuple[Index, ...] = (
    Index("idx_cipher_store_updated_at", "cipher_store", ("updated_at",)),
    Index("idx_cipher_lists_key", "cipher_lists", ("key",)),
    Index("idx_cipher_lists_created_at", "cipher_lists", ("created_at",)),
)

TABLE_NAMES: tuple[str, ...] = tuple(table.name for table in TABLES)
INDEX_NAMES: tuple[str, ...] = tuple(index.name for index in INDEXES)
UPSERTED = frozenset({"cipher_store", "cipher_list_metadata"})
"""Tables whose rows Cipher writes with ON CONFLICT."""
MARKER_TABLE = "cipher_store"
"""In Shared mode, the table that always carries the marker; the others have copies."""
EXTENSION_SCHEMA = "cipher_extensions"
"""Where extensions are made: the tenant must not be able to write there."""
