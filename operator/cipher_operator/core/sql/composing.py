"""SQL from templates, through psycopg.sql alone: the only way by which a name reaches a statement."""

import re
from collections.abc import Iterable

from psycopg import sql
from psycopg.abc import AdaptContext

from cipher_operator.core.connection.password import Password

_SCHEMA = re.compile(r'(?:"(?:[^"]|"")*"|[^,])+')
"""One item of a list in a setting: a comma within quotes ends none."""


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


class PasswordOf(sql.Composable):
    """A login's password in a statement: '***' for people, and equal to another by login and password.

    It is never sent: `postgres.apply` puts what the server is given in its place.
    """

    def __init__(self, login: str, password: Password) -> None:
        super().__init__((login, password))
        self.login, self.password = login, password

    def as_bytes(self, context: AdaptContext | None = None) -> bytes:
        """Return '***'. Raises TypeError where a connection asks, which would set that as the password."""
        if context is not None:
            raise TypeError("a password is replaced before it is sent")
        return b"'***'"


def schemas_in(setting: str) -> tuple[str, ...]:
    """Return the schemas that a setting of search_path names, as the server writes it."""
    parts = (part.strip() for part in _SCHEMA.findall(setting) or ("",))
    return tuple(part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts)
