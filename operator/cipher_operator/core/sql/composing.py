"""SQL from templates, through psycopg.sql alone: the only way by which a name reaches a statement."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from string import Formatter

from psycopg import sql
from psycopg.abc import AdaptContext

from cipher_operator.core.connection.password import Password

_SCHEMA = re.compile(r'(?:"(?:[^"]|"")*"|[^,])+')
"""One item of a list in a setting: a comma within quotes ends none."""


def compose(template: str, **names: str | sql.Composable) -> sql.Composed:
    """Return the template with strings as quoted identifiers and Composables as they are.

    What comes back is flat, with neighbours of plain SQL as one: a plan is gone through several times in a run.
    """
    merged: list[sql.Composable] = []
    text: list[str] = []
    for part in _filled(template, names):
        if isinstance(part, str):
            text.append(part)
            continue
        merged += [sql.SQL("".join(text)), part]
        text.clear()
    return sql.Composed([*merged, sql.SQL("".join(text))])


def leaves(parts: Iterable[sql.Composable]) -> Iterator[sql.Composable]:
    """Return what a statement is made of, in order, however deep it lies."""
    for part in parts:
        if type(part) is sql.Composed:
            yield from leaves(part)
        else:
            yield part


def identifiers(names: Iterable[str]) -> sql.Composed:
    """Return the names quoted, with commas between them."""
    return sql.Composed([sql.SQL(", ".join(map(quoted, names)))])


@lru_cache(maxsize=2048)
def quoted(name: str) -> str:
    """Return a name as SQL, quoted. Sessions speak UTF-8, where that needs no connection. Raises ValueError for NUL."""
    # libpq ends a name at NUL and quotes what stands before it: another name, and a valid one.
    if "\0" in name:
        raise ValueError("a name holds NUL")
    return sql.Identifier(name).as_string(None)


def number(value: int) -> sql.SQL:
    """Return a whole number as SQL."""
    return sql.SQL(str(int(value)))


def _filled(template: str, names: Mapping[str, str | sql.Composable]) -> Iterator[str | sql.Composable]:
    """Return the template in pieces: plain SQL as text, all else as it is."""
    for before, name in _pieces(template):
        yield before
        if name is None:
            continue
        value = names[name]
        if isinstance(value, str):
            yield quoted(value)
        else:
            yield from (leaf.as_string(None) if type(leaf) is sql.SQL else leaf for leaf in leaves((value,)))


@lru_cache(maxsize=256)
def _pieces(template: str) -> tuple[tuple[str, str | None], ...]:
    """Return the plain SQL of a template, and the name that follows each piece."""
    return tuple((before, name) for before, name, _, _ in Formatter().parse(template))


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
