"""How often a first run speaks to the server, and that what runs alone has the operator's own limits for it."""

import re
from collections.abc import Iterator

import pytest

from devcluster import PostgresServer
from support.provision import desired, plain_admin
from support.sql_log import PREFIX


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(16, settings={"log_line_prefix": PREFIX, "log_statement": "all"}) as running:
        yield running


async def test_a_first_run_is_six_messages(server: PostgresServer) -> None:
    admin = plain_admin(server, "brief")
    server.mark_log()
    await admin.run(desired("brief"))
    messages = re.findall(r"LOG:  statement: (.*)", server.log_text())
    alone = [number for number, message in enumerate(messages) if message.startswith("CREATE DATABASE")]
    # Look, roles, database, grants, and in the database: look, tables.
    assert (len(messages), alone) == (6, [2])
    assert "('statement_timeout', '0'), ('lock_timeout', '5000'), ('transaction_timeout', '0')" in messages[1]


async def test_a_database_that_a_run_before_did_not_come_to_has_them_too(server: PostgresServer) -> None:
    admin, wanted = plain_admin(server, "again"), desired("again")
    await admin.run(wanted)
    server.execute(f'DROP DATABASE "{wanted.database}"')
    server.mark_log()
    await admin.run(wanted)
    messages = re.findall(r"LOG:  statement: (.*)", server.log_text())
    made = next(number for number, message in enumerate(messages) if message.startswith("CREATE DATABASE"))
    assert "('statement_timeout', '0')" in messages[made - 1]
