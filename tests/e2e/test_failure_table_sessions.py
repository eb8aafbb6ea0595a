"""The failure table, inside a session: privileges, locks, limits, and sessions that break off."""

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest

from cipher_operator.api.failures import ConditionType
from cipher_operator.api.reasons import FailureClass, Reason
from devcluster import PostgresServer
from support.cluster import wait_until
from support.failure_table import Record, Scene, Table
from support.injected_errors import ErrorProxy, Injected
from support.played_rows import Outcome

ACCESS, DATABASE, SCHEMA = ConditionType.ACCESS_GRANTED, ConditionType.DATABASE_READY, ConditionType.SCHEMA_APPLIED
PRIVILEGE, LOCKED, LOST, UNKNOWN = (
    Reason.INSUFFICIENT_PRIVILEGE,
    Reason.LOCK_TIMEOUT,
    Reason.DISCONNECTED,
    Reason.UNKNOWN,
)

row = Table()


@pytest.fixture(scope="module")
def operator_flags() -> tuple[str, ...]:
    return ("--interval", "1h", "--connect-timeout", "2s")


# --- what the administrator may not do: the SQL in the message helps ---


def lacking(scene: Scene, attributes: str, expected: str, grant: str | None = None) -> Generator[None]:
    """`grant` is what the administrator has on a database of others; None where there is no database yet."""
    scene.on(scene.servers("shared"), attributes)
    if grant is not None:
        scene.sql(f"CREATE DATABASE {scene.database}")
        scene.sql(grant.format(admin=scene.admin, database=scene.database) or "SELECT 1")
    scene.secret()
    scene.create()
    yield
    taken = scene.remedies("postgres" if grant is None else scene.database)
    assert taken[0] == expected.format(admin=scene.admin, database=scene.database)


for case, words, stage, attributes, expected, grant in (
    ("may not create roles", "CREATEROLE", ACCESS, "CREATEDB", 'ALTER ROLE "{admin}" CREATEROLE', None),
    ("may not create databases", "CREATEDB", DATABASE, "CREATEROLE", 'ALTER ROLE "{admin}" CREATEDB', None),
    ("may not grant on a database of others", "GRANT ALL", ACCESS, "CREATEROLE",
     'GRANT ALL ON DATABASE "{database}" TO "{admin}" WITH GRANT OPTION', ""),
    ("may not create in the schema", "GRANT USAGE, CREATE", ACCESS, "CREATEROLE",
     'GRANT USAGE, CREATE ON SCHEMA "public" TO "{admin}" WITH GRANT OPTION',
     "GRANT ALL ON DATABASE {database} TO {admin} WITH GRANT OPTION"),
):  # fmt: skip
    row(case, PRIVILEGE, words, stage=stage)(partial(lacking, attributes=attributes, expected=expected, grant=grant))


# --- locks and limits ---


@contextmanager
def locked(scene: Scene) -> Generator[psycopg.Connection[tuple[object, ...]]]:
    """Have an index missing and its table locked by somebody else: the repair waits."""
    scene.ready()
    other = psycopg.connect(scene.server.admin_url(scene.database))
    try:
        other.execute("DROP INDEX idx_cipher_lists_key")
        other.commit()
        other.execute("LOCK TABLE cipher_lists")
        scene.ask()
        yield other
    finally:
        other.close()


def waiting(scene: Scene) -> int:
    """Return the process id of the operator's session that waits for the lock."""
    found: list[int] = []
    query = (
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'cipher-operator/%' AND wait_event_type = 'Lock' "
        f"AND datname = '{scene.database}'"
    )

    def seen() -> bool:
        found[:] = [int(line[0]) for line in scene.sql(query)]
        return bool(found)

    wait_until(seen, "the operator waits for the lock")
    return found[0]


@row("table locked", LOCKED, "Another session", stage=SCHEMA, sqlstate="55P03")
def table_locked(scene: Scene) -> Generator[None]:
    scene.alone()
    with locked(scene) as other:
        yield
        other.rollback()
        yield


def while_it_waits(scene: Scene, function: str) -> Generator[None]:
    scene.alone()
    with locked(scene) as other:
        scene.sql(f"SELECT {function}({waiting(scene)})")
        yield
        other.rollback()
        yield


row("statement cancelled", LOST, "cancelled", stage=SCHEMA, sqlstate="57014")(
    partial(while_it_waits, function="pg_cancel_backend")
)
row("session terminated", LOST, "ended the connection", stage=SCHEMA, sqlstate="57P01")(
    partial(while_it_waits, function="pg_terminate_backend")
)


@row("statement timeout", LOCKED, "server busy", sqlstate="57014")
def statement_timeout(scene: Scene) -> Generator[None]:
    scene.alone()
    scene.ready()
    scene.sql(f"ALTER ROLE {scene.admin} SET statement_timeout = '300ms'")
    with psycopg.connect(scene.server.admin_url(scene.database)) as other:
        # What the operator looks at first: its question waits, and nothing else does.
        other.execute("LOCK TABLE pg_catalog.pg_default_acl")
        scene.ask()
        yield
        other.rollback()
        yield


@row("idle session", LOST, "idle", sqlstate="57P05")
def idle_session(scene: Scene) -> Generator[None]:
    scene.alone()
    proxy = scene.proxy()
    scene.ready(port=proxy.port)
    scene.sql(f"ALTER ROLE {scene.admin} SET idle_session_timeout = '50ms'")
    # The question after it shall not reach a busy server before its time is over: then nothing of this would arrive.
    proxy.latency = 0.3
    scene.ask()
    yield
    scene.sql(f"ALTER ROLE {scene.admin} RESET idle_session_timeout")
    proxy.latency = 0


@row("out of locks", UNKNOWN, "max_locks_per_transaction", sqlstate="53200")
def out_of_locks(scene: Scene) -> Generator[None]:
    server = scene.alone("breakable")
    scene.ready()
    # Locks of a session outlive the statement that fails in the end.
    with psycopg.connect(server.admin_url(), autocommit=True) as greedy:
        with pytest.raises(psycopg.errors.OutOfMemory):
            greedy.execute("SELECT pg_advisory_lock(n) FROM generate_series(1, 1000000) n")
        scene.ask()
        yield
        greedy.execute("SELECT pg_advisory_unlock_all()")
        yield


# --- a disk that is full ---


@row("disk full", Reason.DISK_FULL, "disk space", stage=DATABASE, sqlstate="53100")
def disk_full(scene: Scene) -> Generator[None]:
    # The settings of roles stand in a catalogue that is empty on a new server. On /dev/full it cannot grow.
    server = scene.alone()
    scene.secret()
    file = server.data_path / server.execute("SELECT pg_relation_filepath('pg_db_role_setting')")[0][0]
    kept = file.with_name("kept")
    file.rename(kept)
    file.symlink_to("/dev/full")
    try:
        scene.create()
        yield
    finally:
        kept.replace(file)


# --- sessions that break off ---


@row("server crashes", LOST, "connection")
def crash(scene: Scene) -> Generator[None]:
    server = scene.alone("breakable")
    with locked(scene):
        waiting(scene)
        server.stop("immediate")
        yield
        server.start()
        yield


@row("another backend crashes", LOST, "connection")
def backend_crash(scene: Scene) -> Generator[None]:
    scene.alone("breakable")
    with locked(scene) as other:
        waiting(scene)
        os.kill(other.info.backend_pid, signal.SIGKILL)
        yield
        # The server starts again by itself.
        yield


# --- what no server could be made to say here, said by a stand-in in a real session ---


def injected(scene: Scene, error: Injected, asks: bool) -> Generator[None]:
    server: PostgresServer = scene.server
    with ErrorProxy(server) as proxy:
        proxy.error = error
        scene.secret(port=proxy.port)
        scene.create()
        yield
        proxy.error = None
        if asks:
            scene.ask()
        yield


OBSERVE, CREATE = b"jsonb_build_object", b"CREATE ROLE"
for case, reason, words, stage, error in (
    ("idle in transaction", LOST, "idle", DATABASE, Injected("25P03", "terminating connection", CREATE, fatal=True)),
    ("crash, as told", LOST, "crash", DATABASE, Injected("57P02", "terminating connection", CREATE, fatal=True)),
    ("read-only in mid-run", Reason.READ_ONLY_SERVER, "writer endpoint", DATABASE,
     Injected("25006", "cannot execute CREATE ROLE in a read-only transaction", CREATE)),
    ("out of memory", UNKNOWN, "more memory", DATABASE, Injected("53200", "out of memory", CREATE)),
    ("deadlocks without end", LOCKED, "deadlock", DATABASE, Injected("40P01", "deadlock detected", CREATE)),
    ("others are always faster", UNKNOWN, "same objects", DATABASE,
     Injected("XX000", "tuple concurrently updated", CREATE)),
    ("statement too complex", UNKNOWN, "server's log", ConditionType.CONNECTED,
     Injected("54001", "stack depth limit exceeded", OBSERVE)),
    ("internal error", UNKNOWN, "server's log", DATABASE, Injected("XX000", "cache lookup failed", CREATE)),
    ("reserved name", Reason.INVALID_SPEC, "another name", DATABASE, Injected("42939", "reserved", CREATE)),
    ("parameter that a pooler refuses", Reason.ACCESS_DENIED, "pooler", ConditionType.CONNECTED,
     Injected("08P01", "unsupported startup parameter: options", None, fatal=True)),
):  # fmt: skip
    asks = reason.failure_class is not FailureClass.TRANSIENT
    row(f"stand-in: {case}", reason, words, stage=stage, sqlstate=error.code)(partial(injected, error=error, asks=asks))


@pytest.mark.parametrize("case", list(row.rows))
def test_named_within_seconds_and_mended_without_a_restart(
    outcomes: dict[str, Outcome], record_property: Record, case: str
) -> None:
    outcomes[case].tell(record_property)
