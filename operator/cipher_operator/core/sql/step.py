"""One step of a plan, and the closed set of their kinds."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum, auto

from psycopg import sql

from cipher_operator.api.failures import ConditionType
from cipher_operator.core.sql.composing import compose


class Kind(StrEnum):
    """What a step does. Each has one function, in `steps` or `removals`."""

    CREATE_OWNER = auto()
    WRITE_MARKER = auto()
    RELEASE_TABLES = auto()
    JOIN_ROLE = auto()
    CREATE_LOGIN = auto()
    SET_PASSWORD = auto()
    DISABLE_LOGIN = auto()
    INHERIT_ROLES = auto()
    ALTER_LOGIN = auto()
    SET_ACTING_ROLE = auto()
    RESET_SETTING = auto()
    SET_SEARCH_PATH = auto()
    CREATE_DATABASE = auto()
    LIFT_LIMIT = auto()
    GRANT_DATABASE = auto()
    REVOKE_PUBLIC = auto()
    CREATE_SCHEMA = auto()
    GRANT_SCHEMA = auto()
    GRANT_RELATIONS = auto()
    GRANT_FUTURE = auto()
    CREATE_TABLE = auto()
    CREATE_INDEX = auto()
    BUILD_INDEX = auto()
    SET_TABLE_OWNER = auto()
    WRITE_TABLE_MARKER = auto()
    MEND_TABLE = auto()
    CREATE_EXTENSION_SCHEMA = auto()
    CREATE_EXTENSION = auto()
    GRANT_USAGE = auto()
    DROP_EXTENSION = auto()
    CLOSE_DATABASE = auto()
    END_SESSIONS = auto()
    RENAME_DATABASE = auto()
    DROP_DATABASE = auto()
    DROP_TABLE = auto()
    DROP_SCHEMA = auto()
    REVOKE_DATABASE = auto()
    REVOKE_SCHEMA = auto()
    REVOKE_FUTURE = auto()
    DROP_ROLE = auto()


class Change(StrEnum):
    """What brings a table back to what Cipher makes, as SQL."""

    SET_DEFAULT = "SET DEFAULT 0"
    SET_STORAGE = "SET STORAGE EXTENDED"
    SET_NOT_NULL = "SET NOT NULL"
    SET_LOGGED = "SET LOGGED"
    SET_IDENTITY = "REPLICA IDENTITY DEFAULT"


PASSWORDS = frozenset({Kind.CREATE_LOGIN, Kind.SET_PASSWORD})
"""Those that set a password."""
MARKERS = frozenset({Kind.WRITE_MARKER, Kind.WRITE_TABLE_MARKER})
"""Those that write the marker."""


@dataclass(frozen=True, slots=True)
class Step:
    """Statements that belong together. `on` is the name of what they are about.

    They run behind the prefix of `postgres.apply` (role NONE, search_path pg_catalog) unless `alone`, which PostgreSQL
    refuses to run in a transaction: those name everything in full. `acting` is the role that runs them.
    """

    kind: Kind
    stage: ConditionType
    on: str
    statements: tuple[sql.Composed, ...]
    acting: str | None = None
    alone: bool = False
    guard: sql.Composed | None = None
    """Asked right before: where it gives no row, somebody else has done it."""
    apart: bool = False
    """It begins a message: what stands before it must have been committed."""


def statements_of(planned: Iterable[Step]) -> list[sql.Composed]:
    """Return the SQL of the steps in their order, with changes of the acting role between them."""
    statements: list[sql.Composed] = []
    acting: str | None = None
    for step in planned:
        if step.acting != acting:
            acting = step.acting
            statements.append(_act_as(acting))
        statements.extend(step.statements)
    if acting is not None:
        statements.append(_act_as(None))
    return statements


def lines_of(planned: Iterable[Step]) -> tuple[str, ...]:
    """Return the SQL for people, a statement each, passwords as '***'."""
    return tuple(f"{statement.as_string(None)};" for statement in statements_of(planned))


def _act_as(role: str | None) -> sql.Composed:
    return compose("SET LOCAL ROLE {role}", role=role) if role else compose("SET LOCAL ROLE NONE")
