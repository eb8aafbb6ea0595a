"""SQL from templates, through psycopg.sql alone: the only way by which a name reaches a statement."""

from collections.abc import Iterable

from psycopg import sql


def compose(template: str, **names: str | sql.Composable) -> sql.Composed:
    """Return the template with strings as quoted identifiers and Composables as they are."""
    composed = {key: sql.Identifier(value) if isinstance(value, str) else value for key, value in names.items()}
    return sql.SQL(template).format(**composed)


def identifiers(names: Iterable[str]) -> sql.Composed:
    """Return the names quoted, with commas between them."""
    return sql.SQL(", ").join(map(sql.Identifier, names))


def quoted(name: str) -> str:
    """Return a name as SQL for people to run: a remedy in a message."""
    return sql.Identifier(name).as_string(None)


def number(value: int) -> sql.SQL:
    """Return a whole number as SQL."""
    return sql.SQL(str(int(value)))
