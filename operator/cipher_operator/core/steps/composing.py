"""SQL from templates, through psycopg.sql alone: the only way by which a name reaches a statement."""

from collections.abc import Iterable

from psycopg import sql


def compose(template: str, **names: str | sql.Composable) -> sql.Composed:
    """Return the template with strings as quoted identifiers and Composables as they are."""
    composed = {key: _identifier(value) if isinstance(value, str) else value for key, value in names.items()}
    return sql.SQL(template).format(**composed)


def identifiers(names: Iterable[str]) -> sql.Composed:
    """Return the names quoted, with commas between them."""
    return sql.SQL(", ").join(map(_identifier, names))


def quoted(name: str) -> str:
    """Return a name as SQL for people to run: a remedy in a message."""
    return _identifier(name).as_string(None)


def number(value: int) -> sql.SQL:
    """Return a whole number as SQL."""
    return sql.SQL(str(int(value)))


def _identifier(name: str) -> sql.Identifier:
    # libpq ends a name at NUL and quotes what stands before it: another name, and a valid one.
    if "\0" in name:
        raise ValueError("a name holds NUL")
    return sql.Identifier(name)
