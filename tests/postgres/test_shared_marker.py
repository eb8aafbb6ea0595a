"""In mode Shared the marker is on each of Cipher's tables: what was marked before, what moves, what is in its way."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import AdoptFrom
from cipher_operator.core.marker import Marker, parse_marker
from cipher_operator.core.schema import TABLE_NAMES
from devcluster import PostgresServer
from devcluster.longrun import SetupError
from devcluster.postgres_programs import find_dump_programs
from support.dumps import program
from support.majors import majors
from support.provision import CIPHER_START, Provisioner, Storage, desired, plain_admin, told
from support.sql_log import PREFIX

STORE, LISTS, METADATA = TABLE_NAMES
ROW = "INSERT INTO cipher_store VALUES ('k', 'kept', now(), now())"
_names = iter(range(10_000))


@pytest.fixture(scope="module", params=majors(), ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with PostgresServer(request.param, settings={"log_line_prefix": PREFIX, "log_statement": "all"}) as running:
        yield running


@pytest.fixture
def admin(server: PostgresServer) -> Provisioner:
    """A login that may make neither roles nor databases, with a database of its own."""
    name = f"heroku_{next(_names)}"
    admin = plain_admin(server, name, "NOCREATEROLE NOCREATEDB")
    server.execute(f'CREATE DATABASE "db_{name}" OWNER "{name}"')
    return admin


@pytest.fixture
def wanted(admin: Provisioner) -> Storage:
    name = admin.admin.user
    return desired(name, user=name, shared=True, credential=None, database=f"db_{name}", create_database=False)


def markers(server: PostgresServer, wanted: Storage) -> dict[str, Marker | None]:
    comments = "SELECT relname, obj_description(oid, 'pg_class') FROM pg_class WHERE relname = ANY (%s)"
    found = server.execute(comments, [[*TABLE_NAMES]], database=wanted.database)
    return {name: parse_marker(text) for name, text in found}


def all_are(server: PostgresServer, wanted: Storage) -> bool:
    found = [marker.identity for marker in markers(server, wanted).values() if marker is not None]
    return found == [wanted.identity] * len(TABLE_NAMES)


def unmark(server: PostgresServer, wanted: Storage, *tables: str) -> None:
    for table in tables:
        server.execute(f"COMMENT ON TABLE {table} IS NULL", database=wanted.database)


async def ready(admin: Provisioner, wanted: Storage) -> Storage:
    await admin.run(wanted)
    return replace(wanted, established=True)


async def test_all_tables_are_marked_in_the_message_that_makes_them(
    server: PostgresServer, admin: Provisioner, wanted: Storage
) -> None:
    server.mark_log()
    established = await ready(admin, wanted)
    messages = re.findall(r"LOG:  statement: (.*)", server.log_text())
    # Look from outside; in the database: look, tables with their markers.
    assert len(messages) == 3
    assert all_are(server, wanted)
    assert (await admin.run(established)).executed == ()


async def test_what_the_version_before_marked_goes_on_and_gets_the_others(
    server: PostgresServer, admin: Provisioner, wanted: Storage
) -> None:
    established = await ready(admin, wanted)
    unmark(server, wanted, LISTS, METADATA)
    report = await admin.run(established)
    assert [line.partition(" IS ")[0] for line in report.executed] == [
        f'COMMENT ON TABLE "public"."{name}"' for name in (LISTS, METADATA)
    ]
    assert report.warnings == ()
    assert all_are(server, wanted)
    assert (await admin.run(established)).executed == ()


async def test_a_table_that_is_being_vacuumed_keeps_nothing_from_being_ready(
    server: PostgresServer, admin: Provisioner, wanted: Storage
) -> None:
    established = await ready(admin, wanted)
    unmark(server, wanted, LISTS, METADATA)
    with psycopg.connect(server.admin_url(wanted.database)) as vacuum:
        # What VACUUM and CREATE INDEX CONCURRENTLY take, and COMMENT too.
        vacuum.execute("LOCK TABLE cipher_lists IN SHARE UPDATE EXCLUSIVE MODE")
        report = told(await admin.report(established))
    (warning,) = report.warnings
    assert "table 'cipher_lists' has no copy of the ownership marker yet" in warning
    assert markers(server, wanted)[METADATA] is not None, "the other has it"
    assert (await admin.run(established)).warnings == ()
    assert all_are(server, wanted)


@pytest.mark.parametrize("table", TABLE_NAMES)
@pytest.mark.parametrize("again", ["nobody", "the app"])
async def test_any_table_may_be_dropped_and_made_anew(
    server: PostgresServer, admin: Provisioner, wanted: Storage, table: str, again: str
) -> None:
    established = await ready(admin, wanted)
    server.execute(f"DROP TABLE {table}", database=wanted.database)
    if again == "the app":
        with admin.app(wanted) as app:
            for statement in CIPHER_START:
                app.execute(statement)
    assert (await admin.run(established)).executed
    assert all_are(server, wanted)
    assert (await admin.run(established)).executed == ()


async def test_a_rename_moves_all_markers_at_once(server: PostgresServer, admin: Provisioner, wanted: Storage) -> None:
    await ready(admin, wanted)
    former = wanted.identity
    heir = replace(wanted, identity=replace(former, name="heir", uid="uid-heir"))
    heir = replace(heir, adopt_from=AdoptFrom(former.instance, former.namespace, former.name))
    await admin.run(heir)
    assert all_are(server, heir)
    with pytest.raises(Failure) as refused:
        await admin.run(replace(wanted, established=True))
    assert refused.value.reason is Reason.CONFLICT
    assert await admin.remove(wanted) == (), "a deletion of the former drops nothing"
    assert len(await admin.remove(heir)) == len(TABLE_NAMES)


@pytest.mark.parametrize("half", [(STORE,), (LISTS, METADATA)], ids=["the first", "the copies"])
async def test_a_rename_that_moved_half_of_them_goes_on(
    server: PostgresServer, admin: Provisioner, wanted: Storage, half: tuple[str, ...]
) -> None:
    await ready(admin, wanted)
    former = wanted.identity
    heir = replace(wanted, identity=replace(former, name="heir", uid="uid-heir"))
    ours = markers(server, wanted)[STORE]
    assert ours is not None
    for table in half:
        text = replace(ours, identity=heir.identity).text()
        server.execute(f"COMMENT ON TABLE {table} IS '{text}'", database=wanted.database)
    with pytest.raises(Failure) as refused:
        await admin.run(heir)
    assert refused.value.reason is Reason.CONFLICT
    for either in (wanted, heir):
        assert await admin.remove(either) == (), "nobody knows whose they are"
    await admin.run(replace(heir, adopt_from=AdoptFrom(former.instance, former.namespace, former.name)))
    assert all_are(server, heir)


@pytest.mark.parametrize("comments", [True, False], ids=["with comments", "--no-comments"])
async def test_a_dump_takes_the_markers_along_with_its_comments(
    server: PostgresServer, admin: Provisioner, wanted: Storage, tmp_path: Path, comments: bool
) -> None:
    try:
        find_dump_programs()
    except SetupError as error:
        pytest.skip(str(error))
    established = await ready(admin, wanted)
    server.execute(ROW, database=wanted.database)
    archive = str(tmp_path / "cipher.dump")
    program(server, "pg_dump", "-Fc", "-f", archive, *([] if comments else ["--no-comments"]), wanted.database)
    server.execute(f'DROP DATABASE "{wanted.database}" WITH (FORCE)')
    server.execute(f'CREATE DATABASE "{wanted.database}" OWNER "{wanted.user}"')
    options = ("--no-owner", "--no-privileges", "--role", wanted.user)
    program(server, "pg_restore", *options, "-d", wanted.database, archive, check=False)
    if not comments:
        with pytest.raises(Failure) as lost:
            await admin.run(established)
        assert lost.value.reason is Reason.DATABASE_LOST
        assert "without the comments" in lost.value.message
        assert set(markers(server, wanted).values()) == {None}, "nothing was written"
        await admin.run(replace(established, recreate=True, adopt_unowned=True))
    assert (await admin.run(established)).executed == ()
    assert all_are(server, wanted)
    assert server.execute("SELECT value FROM cipher_store", database=wanted.database) == [("kept",)]
