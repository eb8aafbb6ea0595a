"""Role and time limits of statements that no transaction holds: the operator's own, not those of a role or database."""

from psycopg import sql

from cipher_operator.postgres.preamble import LOOKING
from cipher_operator.postgres.session import Session

TIMEOUTS = ("statement_timeout", "lock_timeout", "transaction_timeout")
"""The last since PostgreSQL 17."""

_ROLE = sql.SQL("SELECT set_config('role', 'none', false) WHERE pg_backend_pid() = {pid}; ")
"""An administrator's own `SET role` would run what cannot be told to run as the session's user."""
_SET = sql.SQL(
    "SELECT set_config(w.name, w.value, false) FROM (VALUES {values}) w(name, value) "
    "WHERE pg_backend_pid() = {pid} AND EXISTS (SELECT 1 FROM pg_settings s WHERE s.name = w.name)"
)
_FROM = sql.SQL(
    "SELECT s.name, current_setting(s.name), s.source, session_user, current_database() FROM pg_settings s "
    "WHERE s.name = ANY ({names}) AND s.setting <> '0' ORDER BY s.setting::int LIMIT 1"
)
_SOURCES = {
    "user": ("role '{role}' has (ALTER ROLE … SET)", "ALTER ROLE {role_sql} RESET {name}"),
    "database": ("database '{database}' has (ALTER DATABASE … SET)", "ALTER DATABASE {database_sql} RESET {name}"),
    "database user": (
        "role '{role}' has in database '{database}' (ALTER ROLE … IN DATABASE … SET)",
        "ALTER ROLE {role_sql} IN DATABASE {database_sql} RESET {name}",
    ),
    "global": ("all roles have (ALTER ROLE ALL SET)", "ALTER ROLE {role_sql} SET {name} = 0"),
}
_ELSEWHERE = ("the server's configuration or the pooler sets", "ALTER ROLE {role_sql} SET {name} = 0")


async def own_limits(session: Session, *, lock_ms: int) -> bool:
    """Let statements of this session run as its user, take their time, and wait for a lock for so many milliseconds.

    Return False where the session is a pooler's, and the next message may run in another one: there a setting would
    stay with strangers, so none is made. Raises psycopg.Error.
    """
    return bool((await session.execute(LOOKING + taking_own(session, lock_ms=lock_ms)))[-1])


def taking_own(session: Session, *, lock_ms: int) -> sql.Composed:
    """Return the same as the last words of a message, whose transaction must end well for it to count."""
    values = {"statement_timeout": 0, "lock_timeout": lock_ms, "transaction_timeout": 0}
    pairs = sql.SQL(", ").join(
        sql.SQL("({}, {})").format(sql.Literal(name), sql.Literal(str(value))) for name, value in values.items()
    )
    pid = sql.Literal(session.backend_pid)
    return _ROLE.format(pid=pid) + _SET.format(values=pairs, pid=pid)


async def standing_limit(session: Session) -> tuple[str, str] | None:
    """Return the time limit that statements of this session have, and the SQL that lifts it; None where there is none.

    The first reads "`statement_timeout` = 30s, which role 'x' has (ALTER ROLE … SET)". Raises psycopg.Error.
    """
    # Not behind LOOKING, which sets one itself.
    rows = (await session.execute(_FROM.format(names=sql.Literal(list(TIMEOUTS)))))[-1]
    if not rows:
        return None
    name, value, source, role, database = rows[0]
    whose, remedy = _SOURCES.get(source, _ELSEWHERE)
    names = {
        "name": name,
        "role": role,
        "database": database,
        "role_sql": sql.Identifier(role).as_string(None),
        "database_sql": sql.Identifier(database).as_string(None),
    }
    return f"`{name}` = {value}, which {whose.format(**names)}", remedy.format(**names)
