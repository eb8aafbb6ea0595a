"""Ready is never true while Cipher cannot work: settings of logins, databases, all roles and the server; Shared too."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from devcluster import PostgresServer
from support.fitness import (
    MAJORS,
    Break,
    Healed,
    Refused,
    Servers,
    Warned,
    Works,
    damage,
    judge,
    look,
    majors_of,
    one_at_a_time,
)
from support.provision import desired, plain_admin, snapshot

DENIED = Reason.ACCESS_DENIED
LOGIN, HERE, DATABASE = 'ALTER ROLE "{user}"', 'ALTER ROLE "{user}" IN DATABASE "{db}"', 'ALTER DATABASE "{db}"'

UNLIMITED = 'ALTER ROLE "{admin}" SET statement_timeout = 0'
"""For the operator itself, where a limit is so short that a busy machine ends its first words too."""


def on_login(setting: str, value: str) -> tuple[str, ...]:
    return (f"{LOGIN} SET {setting} = {value}", f"{HERE} SET {setting} = {value}")


DEDICATED = {
    # Limits: on a login of ours they are drift where they break Cipher, and others' business where not.
    "login-statement-timeout": Break(on_login("statement_timeout", "1"), Healed("RESET"), MAJORS),
    "login-lock-timeout": Break(on_login("lock_timeout", "'2ms'"), Healed("RESET")),
    "login-idle-in-transaction": Break(on_login("idle_in_transaction_session_timeout", "1"), Healed("RESET")),
    "login-idle-session": Break(on_login("idle_session_timeout", "'10min'"), Healed("RESET"), (15, 16, 18)),
    "login-transaction-timeout": Break(on_login("transaction_timeout", "1"), Healed("RESET"), (18,)),
    "login-exit-on-error": Break(on_login("exit_on_error", "on"), Healed("RESET")),
    "login-read-only": Break(on_login("default_transaction_read_only", "on"), Healed("RESET"), MAJORS),
    "database-tells-clients-all-that-it-does": Break(
        tuple(
            f"{DATABASE} SET {name} = {value}"
            for name, value in (
                ("client_min_messages", "log"),
                ("debug_print_parse", "on"),
                ("debug_print_rewritten", "on"),
                ("debug_print_plan", "on"),
            )
        ),
        Works(),
        (13, 18),
    ),
    "login-writes-where-the-database-does-not": Break(
        (
            f"{DATABASE} SET default_transaction_read_only = on",
            f"{LOGIN} SET default_transaction_read_only = off",
            'ALTER ROLE "{admin}" SET default_transaction_read_only = off',
        ),
        Works(),
    ),
    "login-limits-of-a-person": Break(
        (
            f"{LOGIN} SET statement_timeout = '30s'",
            f"{LOGIN} SET lock_timeout = 2000",
            f"{LOGIN} SET work_mem = '64MB'",
            f"{LOGIN} SET idle_in_transaction_session_timeout = '0.5min'",
        ),
        Works(),
    ),
    "login-short-statement-timeout": Break(
        (f"{LOGIN} SET statement_timeout = '2s'",),
        Warned(("`statement_timeout = 2s` of login '", f"{LOGIN} RESET statement_timeout")),
    ),
    "database-statement-timeout": Break(
        (f"{DATABASE} SET statement_timeout = '40ms'",),
        Refused(
            DENIED, ("`statement_timeout = 40ms` of database '", f"{DATABASE} RESET statement_timeout"), cautious=True
        ),
        MAJORS,
    ),
    "database-transaction-timeout": Break(
        (f"{DATABASE} SET transaction_timeout = 1", 'ALTER ROLE "{admin}" SET transaction_timeout = 0'),
        Refused(DENIED, ("`transaction_timeout = 1` of database '",)),
        (18,),
    ),
    "database-transaction-timeout-that-ends-the-operator-too": Break(
        (f"{DATABASE} SET transaction_timeout = 1",),
        Refused(Reason.LOCK_TIMEOUT, ("`transaction_timeout`", "SET transaction_timeout = 0"), cautious=True),
        (18,),
    ),
    "database-limit-that-the-login-lifts": Break(
        (f"{DATABASE} SET statement_timeout = '40ms'", f"{LOGIN} SET statement_timeout = '1min'"), Works()
    ),
    "database-idle-session": Break(
        (f"{DATABASE} SET idle_session_timeout = '10min'",),
        Warned(("`idle_session_timeout = 10min` of database '", "idle connections")),
        (15, 18),
    ),
    "database-read-only": Break(
        (
            f"{DATABASE} SET default_transaction_read_only = on",
            'ALTER ROLE "{admin}" SET default_transaction_read_only = off',
        ),
        Refused(
            Reason.READ_ONLY_SERVER,
            ("`default_transaction_read_only = on` of database '", f"{DATABASE} RESET default_transaction_read_only"),
        ),
    ),
    "database-read-only-for-the-operator-too": Break(
        (f"{DATABASE} SET default_transaction_read_only = on",),
        Refused(
            Reason.READ_ONLY_SERVER,
            ("`default_transaction_read_only = on` of database '", f"{DATABASE} RESET default_transaction_read_only"),
        ),
        (13, 18),
    ),
    "database-search-path": Break((f"{DATABASE} SET search_path = elsewhere",), Works()),
    "database-role": Break((f"{DATABASE} SET role = pg_monitor",), Works()),
    "login-role-of-another": Break((f"{LOGIN} SET role = pg_monitor",), Healed("SET role")),
    "all-roles-statement-timeout": Break(
        ("ALTER ROLE ALL SET statement_timeout = 1", UNLIMITED),
        Refused(DENIED, ("`statement_timeout = 1` of all roles", "ALTER ROLE ALL RESET statement_timeout")),
        undo=("ALTER ROLE ALL RESET statement_timeout",),
    ),
    "server-idle-session": Break(
        ("ALTER SYSTEM SET idle_session_timeout = '10min'", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)"),
        Warned(("`idle_session_timeout = 10min` of the server", f"{LOGIN} SET idle_session_timeout = 0")),
        (16, 18),
        ("ALTER SYSTEM RESET idle_session_timeout", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)"),
    ),
    "server-statement-timeout": Break(
        (UNLIMITED, "ALTER SYSTEM SET statement_timeout = 1", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)"),
        Refused(DENIED, ("`statement_timeout = 1` of the server", f"{LOGIN} SET statement_timeout = 0")),
        (13, 16),
        ("ALTER SYSTEM RESET statement_timeout", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)"),
    ),
    "server-idle-in-transaction": Break(
        (
            "ALTER SYSTEM SET idle_in_transaction_session_timeout = 1",
            "SELECT pg_reload_conf()",
            "SELECT pg_sleep(0.3)",
        ),
        Refused(
            DENIED,
            (
                "`idle_in_transaction_session_timeout = 1ms` of the server",
                f"{LOGIN} SET idle_in_transaction_session_timeout = 0",
            ),
            cautious=True,
        ),
        MAJORS,
        ("ALTER SYSTEM RESET idle_in_transaction_session_timeout", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)"),
    ),
    "server-serializable": Break(
        (
            "ALTER SYSTEM SET default_transaction_isolation = serializable",
            "SELECT pg_reload_conf()",
            "SELECT pg_sleep(0.3)",
        ),
        Warned(
            (
                "`default_transaction_isolation = serializable` of the server",
                f"{LOGIN} SET default_transaction_isolation = 'read committed'",
            )
        ),
        (13, 18),
        ("ALTER SYSTEM RESET default_transaction_isolation", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)"),
    ),
    "server-read-only": Break(
        (
            'ALTER ROLE "{admin}" SET default_transaction_read_only = off',
            "ALTER SYSTEM SET default_transaction_read_only = on",
            "SELECT pg_reload_conf()",
            "SELECT pg_sleep(0.3)",
        ),
        Refused(
            Reason.READ_ONLY_SERVER,
            (
                "`default_transaction_read_only = on` of the server",
                f"{LOGIN} SET default_transaction_read_only = off",
            ),
        ),
        (13, 18),
        ("ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)"),
    ),
    # How rows are kept and seen.
    "login-asynchronous-commit": Break(
        (f"{LOGIN} SET synchronous_commit = off",), Warned(("`synchronous_commit = off`", "server crashes"))
    ),
    "database-serializable": Break(
        (f"{DATABASE} SET default_transaction_isolation = serializable",),
        Warned(("`default_transaction_isolation = serializable`", "two pods")),
    ),
    # What looks dangerous and is not.
    "login-row-security-off": Break((f"{LOGIN} SET row_security = off",), Works()),
    "login-client-encoding": Break((f"{LOGIN} SET client_encoding = latin1",), Works()),
    "login-backslashes": Break((f"{LOGIN} SET standard_conforming_strings = off",), Works(), (13, 16, 18)),
    "login-replica": Break((f"{LOGIN} SET session_replication_role = replica",), Works()),
    "login-tablespace-gone": Break((f"{LOGIN} SET default_tablespace = gone",), Works()),
    "login-access-method-gone": Break((f"{LOGIN} SET default_table_access_method = gone",), Works()),
    "login-other-dates": Break(
        (f"{LOGIN} SET datestyle = 'German, DMY'", f"{LOGIN} SET timezone = 'Asia/Kolkata'"), Works()
    ),
    "login-null-transformed": Break((f"{LOGIN} SET transform_null_equals = on",), Works()),
    # Libraries.
    "login-library-gone": Break(
        (f"{LOGIN} SET local_preload_libraries = gone",),
        Refused(
            DENIED, ("published login", "lacks a library", "could not access", f"{LOGIN} RESET local_preload_libraries")
        ),
        MAJORS,
    ),
    **{
        f"{whose}-{setting}-of-{place}": Break(
            (f"{sets} SET {setting} = gone",),
            Refused(
                DENIED,
                (f"{whose} login", "pg_db_role_setting", f"-c {setting}=", f"{sets} RESET {setting}"),
                cautious="admin" in sets,
            ),
        )
        for whose, place, sets, setting in (
            ("published", "role", LOGIN, "session_preload_libraries"),
            ("admin", "role", 'ALTER ROLE "{admin}"', "session_preload_libraries"),
            ("admin", "database", DATABASE, "local_preload_libraries"),
        )
    },
    "database-library-gone": Break(
        (f"{DATABASE} SET session_preload_libraries = gone",),
        Refused(DENIED, ("admin login", "lacks a library", f"{DATABASE} RESET session_preload_libraries")),
        (13, 18),
        (),
    ),
    # Connections.
    "database-without-connections": Break(
        (f"{DATABASE} CONNECTION LIMIT 0",),
        Refused(Reason.TOO_MANY_CONNECTIONS, (f"{DATABASE} CONNECTION LIMIT -1",)),
    ),
    "database-with-few-connections": Break((f"{DATABASE} CONNECTION LIMIT 3",), Warned(("CONNECTION LIMIT 3",))),
}

SHARED = {
    "search-path": Break(
        ('CREATE SCHEMA app AUTHORIZATION "{user}"', f"{LOGIN} SET search_path = app"),
        Refused(
            DENIED, ("schema 'app'", "`search_path = app` of login '", f"{LOGIN} RESET search_path"), cautious=True
        ),
        MAJORS,
    ),
    "search-path-of-the-database": Break(
        ('CREATE SCHEMA app AUTHORIZATION "{user}"', f"{DATABASE} SET search_path = app, public"),
        Refused(DENIED, ("of database '", f"{DATABASE} RESET search_path"), cautious=True),
    ),
    "search-path-to-nowhere": Break(
        (f"{HERE} SET search_path = nowhere",),
        Refused(DENIED, ("finds no schema", f"{HERE} RESET search_path")),
        (13, 16),
    ),
    "search-path-to-the-same": Break((f"{LOGIN} SET search_path = nowhere, public",), Works()),
    "schema-of-the-login's-name": Break(
        ('CREATE SCHEMA "{user}" AUTHORIZATION "{user}"',),
        Refused(DENIED, ("must work in 'public'", f'{HERE} SET search_path = "public"'), cautious=True),
    ),
    "role": Break(
        ("CREATE ROLE staff_{user}", 'GRANT staff_{user} TO "{user}"', f"{LOGIN} SET role = 'staff_{{user}}'"),
        Refused(DENIED, ("acts as role 'staff_", f"{LOGIN} RESET role")),
        (13, 16),
    ),
    "statement-timeout": Break(
        (f"{LOGIN} SET statement_timeout = '40ms'",),
        Refused(DENIED, ("`statement_timeout = 40ms` of login '", f"{LOGIN} RESET statement_timeout"), cautious=True),
    ),
    "read-only": Break(
        (f"{LOGIN} SET default_transaction_read_only = on",),
        Refused(Reason.READ_ONLY_SERVER, ("default_transaction_read_only",)),
    ),
    "password-that-ends": Break((f"{LOGIN} VALID UNTIL '2099-01-01'",), Warned(("VALID UNTIL",)), (13, 16)),
    "idle-session": Break(
        (f"{LOGIN} SET idle_session_timeout = '1min'",),
        Warned(("`idle_session_timeout = 1min` of login '", f"{LOGIN} RESET idle_session_timeout")),
    ),
    "trigger": Break(
        (
            "CREATE FUNCTION others() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
            "CREATE TRIGGER audit BEFORE INSERT ON cipher_store FOR EACH ROW EXECUTE FUNCTION others()",
        ),
        Refused(Reason.SCHEMA_CONFLICT, ("'cipher_store' does not come back",)),
    ),
    "unlogged-table": Break(("ALTER TABLE cipher_lists SET UNLOGGED",), Healed("SET LOGGED")),
}

_names = iter(range(10_000))


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    yield from one_at_a_time()


@pytest.mark.parametrize(("major", "name"), majors_of(DEDICATED))
async def test_settings_of_others(servers: Servers, major: int, name: str) -> None:
    server, row = servers.get(major), DEDICATED[name]
    admin = plain_admin(server, f"settings_admin_{next(_names)}")
    wanted = desired(f"s{next(_names)}")
    await admin.provision(wanted)
    damage(server, admin, wanted, row.sql)
    try:
        await judge(admin, wanted, row.then)
    finally:
        damage(server, admin, wanted, row.undo)


@pytest.mark.parametrize(("major", "name"), majors_of(SHARED))
async def test_a_shared_login_is_proven_as_it_is(servers: Servers, major: int, name: str) -> None:
    server, row = servers.get(major), SHARED[name]
    user = f"shared{next(_names)}"
    admin = plain_admin(server, user, "")
    wanted = desired(f"sh{next(_names)}", user=user, shared=True, credential=None, create_database=False)
    server.execute(f'CREATE DATABASE "{wanted.database}" OWNER {user}')
    await admin.run(wanted)
    assert (seen := await look(admin, wanted)).failure is None, seen.failure
    damage(server, admin, wanted, row.sql)
    await judge(admin, wanted, row.then)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP", "WIN1252"])
@pytest.mark.parametrize("shared", [False, True], ids=["Dedicated", "Shared"])
async def test_a_database_in_another_encoding_is_refused_before_anything_is_made(
    servers: Servers, encoding: str, shared: bool
) -> None:
    server = servers.get(16)
    user = f"encoding{next(_names)}"
    admin = plain_admin(server, user)
    wanted = desired(f"e{next(_names)}", create_database=False)
    if shared:
        wanted = replace(wanted, user=user, shared=True, credential=None)
    create_in(server, wanted.database, encoding, user)
    before = snapshot(server, wanted.database)
    with pytest.raises(Failure) as refused:
        await admin.run(wanted)
    assert refused.value.reason is Reason.SCHEMA_CONFLICT
    assert refused.value.stage is ConditionType.DATABASE_READY
    assert f"encoding {encoding}" in refused.value.message
    assert "UTF8" in refused.value.message
    assert snapshot(server, wanted.database) == before


async def test_a_database_restored_into_another_encoding_is_not_ready(servers: Servers) -> None:
    server = servers.get(16)
    admin, wanted = plain_admin(server, f"encoding{next(_names)}"), desired(f"e{next(_names)}")
    await admin.provision(wanted)
    server.execute(f'ALTER DATABASE "{wanted.database}" RENAME TO "{wanted.database}_before"')
    create_in(server, wanted.database, "SQL_ASCII", admin.admin.user)
    assert (seen := await look(admin, wanted)).failure is not None
    assert "encoding SQL_ASCII" in seen.failure.message


def create_in(server: PostgresServer, database: str, encoding: str, owner: str) -> None:
    server.execute(
        f"CREATE DATABASE \"{database}\" OWNER {owner} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' "
        "TEMPLATE template0"
    )
