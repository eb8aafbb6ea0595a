"""Functions of a tenant's database that a statement of the operator set off, as an event trigger does."""

import re
from dataclasses import dataclass

import psycopg

_NAME = r'(?:"(?:[^"]|"")+"|[\w$]+)'
# `PL/pgSQL function public.f(text) line 3 at …`, `SQL function "f" statement 1`, and the same in languages whose word
# for it is a cousin. `SQL statement "…"` and `PL/pgSQL assignment "…"` are no functions.
_LINE = re.compile(
    rf'^(?:PL/\w+|SQL)[ -][Ff][ou]n[ckz]\w+ (?:((?:{_NAME}\.)?{_NAME})(\([\w\s,."$\[\]]*\))|["»]([^"«]+)["«])',
    re.MULTILINE,
)
_MAX_READ = 4_000
_MAX_NAME = 160
_NOT_FOUND = frozenset({"42P01", "42883", "42704", "3F000", "42703"})
"""SQLSTATE where a name without its schema is looked for in the operator's search_path and not found."""


@dataclass(frozen=True, slots=True)
class ForeignFunction:
    """`name` as SQL writes it, with its arguments where the server tells them; `schema` None where it does not."""

    name: str
    schema: str | None

    @property
    def happened(self) -> str:
        """Return the beginning of a sentence that goes on with `failed`."""
        return f"The function {self.name} of this database, which the operator's statement set off (an event trigger),"

    def remedy(self, sqlstate: str | None) -> str:
        """Return what to do about it."""
        if sqlstate == "42501":
            return f"Run as its owner: ALTER FUNCTION {self.name} SECURITY DEFINER; or take the event trigger away."
        if sqlstate not in _NOT_FOUND:
            return "Mend the function, or disable its event trigger: ALTER EVENT TRIGGER … DISABLE."
        path = self.schema or "…"
        return f"Run as its owner: ALTER FUNCTION {self.name} SET search_path = {path};"


def foreign_function(error: BaseException) -> ForeignFunction | None:
    """Return the innermost function in which an error of a session was raised; None where it was in none."""
    context = error.diag.context if isinstance(error, psycopg.Error) else None
    found = _LINE.search(context[:_MAX_READ]) if context else None
    if found is None:
        return None
    name, arguments, bare = found[1], found[2], found[3]
    if name is None:
        return _printable(bare, None)
    schema = re.match(rf"({_NAME})\.", name)
    return _printable(name + arguments, schema[1] if schema else None)


def _printable(name: str, schema: str | None) -> ForeignFunction | None:
    if len(name) > _MAX_NAME or not name.isprintable():
        return ForeignFunction("…", None)
    return ForeignFunction(name, schema)
