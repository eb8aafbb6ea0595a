"""Names of any text on a real server, far beyond what the CRD lets through: made, kept and dropped as they are."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from cipher_operator.core.orders import Credential
from devcluster import PostgresServer
from support.hostile import HOSTILE, MARK
from support.provision import (
    APP_PASSWORD,
    Provisioner,
    Storage,
    admin_connection,
    desired,
    plain_admin,
    seen,
    snapshot,
    superuser,
)
from support.sql_log import PREFIX, outside_quotes, statements

NAMES = HOSTILE | {
    "new line": "pwned\n; DROP TABLE canary",
    "right to left": "pwned\u202e",
    "E string": "E'pwned\\'",
    "Unicode escape": 'U&"pwned\\0022',
    "reserved": "select",
    "a role that is a word": "current_user",
    "everybody, as a name": "PUBLIC",
    "list": "pwned, public",
    "longest": "u" * 57,
    "longest of three bytes": "日" * 19,
}
_numbers = itertools.count(1)


BACKSLASHES = [name for name, value in NAMES.items() if "\\" in value or "'" in value]


@pytest.fixture(scope="module")
def standard() -> Iterator[PostgresServer]:
    with _server("on") as running:
        yield running


@pytest.fixture(scope="module")
def escaping() -> Iterator[PostgresServer]:
    with _server("off") as running:
        yield running


@contextmanager
def _server(standard_strings: str) -> Iterator[PostgresServer]:
    settings = {"log_statement": "all", "log_line_prefix": PREFIX, "standard_conforming_strings": standard_strings}
    with PostgresServer(16, settings=settings) as running:
        running.execute("CREATE TABLE canary (id int)")
        yield running


def _named(name: str) -> Storage:
    wanted = desired("chat", database=name, schema=name, user=name)
    return replace(wanted, credential=Credential(name, APP_PASSWORD))


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
async def test_one_text_as_database_schema_and_role(standard: PostgresServer, name: str) -> None:
    await _live(standard, plain_admin(standard, f"admin{next(_numbers)}"), name)
    for statement in statements(standard.log_text()):
        assert MARK not in outside_quotes(statement), statement


@pytest.mark.parametrize("name", BACKSLASHES)
async def test_a_server_where_backslashes_escape_in_every_literal(escaping: PostgresServer, name: str) -> None:
    await _live(escaping, superuser(escaping), NAMES[name])


async def _live(server: PostgresServer, admin: Provisioner, name: str) -> None:
    """Provision, use, run again and remove a storage that has one name for everything."""
    before = snapshot(server)
    wanted = _named(name)
    server.mark_log()
    await admin.provision(wanted)
    with admin.app(wanted) as app:
        where = app.execute("SELECT current_database(), current_schema(), session_user, current_user").fetchone()
        assert where == (name, name, name, f"{name}_owner")
        app.execute("INSERT INTO cipher_store VALUES ('k', 'v', now(), now())")
    made = snapshot(server, name)
    again = await admin.run(wanted)
    assert (again.executed, again.pending) == ((), ())
    assert snapshot(server, name) == made
    await admin.remove(wanted)
    assert snapshot(server) == before
    assert server.execute("SELECT to_regclass('canary') IS NOT NULL") == [(True,)]
    assert any("CREATE DATABASE" in each for each in statements(server.log_text())), "the statements are seen"


NO_NAMES = {"a number": "4711", "no role": "-", "two in one": "a.b", "in quotes": '"quoted"', "a word": "session_user"}


@pytest.mark.parametrize("name", NO_NAMES.values(), ids=NO_NAMES.keys())
async def test_an_administrator_whose_name_is_something_else_to_regrole(standard: PostgresServer, name: str) -> None:
    quoted = '"{}"'.format(name.replace('"', '""'))
    standard.execute(f"CREATE ROLE {quoted} LOGIN CREATEROLE CREATEDB PASSWORD 'admin-pw'")
    admin = Provisioner(admin_connection(standard, name, "admin-pw", "postgres"))
    wanted = desired(f"named{next(_numbers)}")
    await admin.provision(wanted)
    assert not (await admin.run(wanted)).executed
    # What the session's role has set for itself says nothing of the others.
    for idle in ("0", None):
        assert seen(await admin.run(wanted)).server.settings.get("idle_session_timeout") == idle
        standard.execute(f"ALTER ROLE {quoted} SET work_mem = '5MB'")


async def test_the_longest_names_are_not_cut(standard: PostgresServer) -> None:
    server, admin = standard, superuser(standard)
    wanted = _named("u" * 57)
    wanted = replace(wanted, database="d" * 63, schema="s" * 63)
    server.mark_log()
    await admin.provision(wanted)
    names = {name for (name,) in server.execute("SELECT rolname FROM pg_roles")}
    assert {"u" * 57, "u" * 57 + "_owner"} <= names
    assert server.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ '^s+$'", database="d" * 63) == [("s" * 63,)]
    await admin.remove(wanted)
    assert "will be truncated" not in server.log_text()
