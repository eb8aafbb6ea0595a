"""Provisioning on real servers: first run, second run, drift, lost data, ownership, fencing, hostile tenants."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import FailureClass, Reason
from cipher_operator.core.connection.password import Password
from cipher_operator.core.marker import Identity, parse_marker
from cipher_operator.core.orders import Credential
from cipher_operator.core.plan.plan import plan, settle
from cipher_operator.core.sql.step import Kind
from cipher_operator.postgres.apply import apply
from cipher_operator.postgres.inspect import observe
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from support.majors import majors
from support.provision import (
    APP_PASSWORD,
    CIPHER_START,
    Provisioner,
    Storage,
    desired,
    plain_admin,
    seen,
    snapshot,
    superuser,
)


@pytest.fixture(scope="module", params=majors(), ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with PostgresServer(request.param, settings={"log_statement": "all"}) as running:
        yield running


@pytest.fixture(scope="module")
def one() -> Iterator[PostgresServer]:
    """One server for what does not differ between majors."""
    with PostgresServer(16, settings={"log_statement": "all"}) as running:
        yield running


@pytest.fixture(scope="module", params=["superuser", "createrole"])
def admin(request: pytest.FixtureRequest, server: PostgresServer) -> Provisioner:
    return superuser(server) if request.param == "superuser" else plain_admin(server, "cloud_admin")


_names = iter(range(10_000))


def fresh(prefix: str = "s", **changes: object):  # type: ignore[no-untyped-def]
    return desired(f"{prefix}{next(_names)}", **changes)


async def test_first_run_provisions_and_second_run_writes_nothing(server: PostgresServer, admin: Provisioner) -> None:
    wanted = fresh()
    admin.opened.clear()
    first = await admin.run(wanted)
    assert first.statements > 0
    assert len(admin.opened) == 2
    await admin.prove(wanted)
    with admin.app(wanted) as app:
        for statement in CIPHER_START:
            app.execute(statement)
    before = snapshot(server, wanted.database)
    admin.opened.clear()
    second = await admin.run(replace(wanted, established=True))
    assert (second.statements, second.executed, len(admin.opened)) == (0, (), 1)
    assert snapshot(server, wanted.database) == before
    owner = server.execute("SELECT datdba::regrole::text FROM pg_database WHERE datname = %s", [wanted.database])
    assert owner == [(admin.admin.user,)]


async def test_an_app_table_and_index_by_either_login_belong_to_the_owner_role(
    server: PostgresServer, admin: Provisioner
) -> None:
    wanted = fresh()
    await admin.run(wanted)
    new = Password("second-pw")
    rotated = replace(
        wanted,
        established=True,
        credential=Credential(wanted.logins[1], new, change=True),
    )
    await admin.run(rotated)
    await admin.prove(rotated, new)
    await admin.prove(wanted)  # the old login stays valid until the next change
    with admin.app(rotated, new) as app:
        app.execute("CREATE TABLE extra (id int)")
    with admin.app(wanted) as app:
        app.execute("CREATE INDEX extra_id ON extra (id)")
    owner = server.execute(
        "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'extra'", database=wanted.database
    )
    assert owner == [(wanted.owner,)]


async def test_an_existing_database_keeps_its_grants_and_owner(server: PostgresServer, admin: Provisioner) -> None:
    wanted = fresh()
    server.execute(f'CREATE DATABASE "{wanted.database}" OWNER "{admin.admin.user}"')
    before = server.execute("SELECT datacl FROM pg_database WHERE datname = %s", [wanted.database])
    assert before == [(None,)]
    admin.opened.clear()
    run = await admin.run(wanted)
    assert len(admin.opened) == 2
    assert not any("REVOKE" in line for line in run.executed)
    await admin.prove(wanted)
    marker = parse_marker(seen(run).roles[wanted.owner].comment)
    assert marker is not None
    assert "database" not in marker.created


async def test_a_schema_of_its_own(server: PostgresServer, admin: Provisioner) -> None:
    wanted = fresh(schema="cipher")
    await admin.run(wanted)
    await admin.prove(wanted)
    with admin.app(wanted) as app:
        for statement in CIPHER_START:
            app.execute(statement)
    again = await admin.run(replace(wanted, established=True))
    assert again.executed == ()


DRIFT = {
    "table dropped": "DROP TABLE {schema}.cipher_lists",
    "index dropped": "DROP INDEX {schema}.idx_cipher_store_updated_at",
    "metadata table dropped": "DROP TABLE {schema}.cipher_list_metadata",
    "database grant revoked": 'REVOKE ALL ON DATABASE "{db}" FROM "{owner}"',
    "PUBLIC let in": 'GRANT CONNECT ON DATABASE "{db}" TO PUBLIC',
    "PUBLIC's temporary tables": 'GRANT TEMPORARY ON DATABASE "{db}" TO PUBLIC',
    "schema grant revoked": 'REVOKE CREATE ON SCHEMA {schema} FROM "{owner}"',
    "NOLOGIN": 'ALTER ROLE "{user}" NOLOGIN',
    "connection limit": 'ALTER ROLE "{user}" CONNECTION LIMIT 3',
    "password expired": "ALTER ROLE \"{user}\" VALID UNTIL '2001-01-01'",
    "membership lost": 'REVOKE "{owner}" FROM "{user}" {granted_by}',
    "read-only login": 'ALTER ROLE "{user}" SET default_transaction_read_only = on',
    "read-only login in this database": 'ALTER ROLE "{user}" IN DATABASE "{db}" SET default_transaction_read_only = on',
    "acting role reset": 'ALTER ROLE "{user}" RESET role',
    "search_path changed": 'ALTER ROLE "{user}" IN DATABASE "{db}" SET search_path = elsewhere',
    "acting role shadowed": 'ALTER ROLE "{user}" IN DATABASE "{db}" SET role = \'none\'',
    "table owner changed": 'ALTER TABLE {schema}.cipher_store OWNER TO "{admin}"',
    "owner's own privileges taken away": 'REVOKE SELECT, INSERT ON {schema}.cipher_store FROM "{owner}"',
    "owner role can log in": "ALTER ROLE \"{owner}\" LOGIN PASSWORD 'back-door'",
    "admin's table not granted": "CREATE TABLE IF NOT EXISTS {schema}.by_admin (id int); "
    'REVOKE ALL ON {schema}.by_admin FROM "{owner}"; ALTER TABLE {schema}.by_admin OWNER TO "{admin}"',
    "default privileges gone": 'ALTER DEFAULT PRIVILEGES FOR ROLE "{admin}" IN SCHEMA {schema} '
    'REVOKE ALL ON TABLES FROM "{owner}"',
}


def inject(server: PostgresServer, admin: Provisioner, wanted, name: str) -> None:  # type: ignore[no-untyped-def]
    granted_by = f'GRANTED BY "{admin.admin.user}"' if server.installation.major >= 16 else ""
    statement = DRIFT[name].format(
        schema=wanted.schema,
        db=wanted.database,
        owner=wanted.owner,
        user=wanted.user,
        admin=admin.admin.user,
        granted_by=granted_by,
    )
    for part in statement.split("; "):
        server.execute(part, database=wanted.database)


_whole: dict[tuple[int, str], Storage] = {}
"""By server and administrator: a storage that a drift was healed in, for the next one."""


@pytest.mark.parametrize("drift", list(DRIFT))
async def test_drift_is_healed_in_one_run(server: PostgresServer, admin: Provisioner, drift: str) -> None:
    whose = (server.port, admin.admin.user)
    if (wanted := _whole.pop(whose, None)) is None:
        wanted = fresh()
        await admin.run(wanted)
    inject(server, admin, wanted, drift)
    established = replace(wanted, established=True)
    healed = await admin.run(established)
    # Before 15, PUBLIC may create in `public`: what the owner role lost there it still has.
    harmless = drift == "schema grant revoked" and server.installation.major < 15
    assert bool(healed.executed) is not harmless, "the drift was not seen"
    await admin.prove(wanted)
    assert (await admin.run(established)).executed == ()
    if not harmless:
        _whole[whose] = wanted


@pytest.mark.parametrize("shared", [False, True], ids=["Dedicated", "Shared"])
async def test_a_schema_whose_owner_lost_its_privileges_is_healed(
    server: PostgresServer, admin: Provisioner, shared: bool
) -> None:
    wanted = fresh(schema="cipher")
    if shared:
        wanted = replace(wanted, user=admin.admin.user, shared=True, credential=None)
    await admin.run(wanted)
    server.execute(f'REVOKE ALL ON SCHEMA cipher FROM "{wanted.owner}"', database=wanted.database)
    established = replace(wanted, established=True)
    healed = await admin.run(established)
    with admin.app(wanted) as app:
        app.execute("SELECT count(*) FROM cipher.cipher_store")
    assert healed.executed or admin.admin.user == server.superuser, "a superuser needs no privilege"
    assert (await admin.run(established)).executed == ()


async def test_planning_after_applying_is_empty_for_any_mixture_of_drift(one: PostgresServer) -> None:
    admin = plain_admin(one, "mixture_admin")
    wanted = fresh()
    await admin.run(wanted)
    established = replace(wanted, established=True)
    loop = asyncio.get_running_loop()

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.sampled_from(sorted(DRIFT)), unique=True))
    def law(drifts: list[str]) -> None:
        async def check() -> None:
            for drift in drifts:
                # Two injections may contradict each other, such as dropping what another alters.
                with contextlib.suppress(psycopg.Error):
                    inject(one, admin, wanted, drift)
            await admin.run(established)
            assert (await admin.run(established)).executed == ()

        asyncio.run_coroutine_threadsafe(check(), loop).result()

    await asyncio.to_thread(law)


LOST = {
    "database dropped": ('DROP DATABASE "{db}"', "postgres"),
    "marker removed": ('COMMENT ON ROLE "{owner}" IS NULL', "postgres"),
    "all tables dropped": ("DROP TABLE cipher_store, cipher_lists, cipher_list_metadata", "{db}"),
}


@pytest.mark.parametrize("case", list(LOST))
async def test_lost_data_is_said_and_nothing_written(one: PostgresServer, case: str) -> None:
    admin, wanted = superuser(one), fresh()
    await admin.run(wanted)
    statement, database = LOST[case]
    names = {"db": wanted.database, "owner": wanted.owner}
    one.execute(statement.format(**names), database=database.format(**names))
    place = "postgres" if case == "database dropped" else wanted.database
    before = snapshot(one, place)
    with pytest.raises(Failure) as lost:
        await admin.run(replace(wanted, established=True))
    assert lost.value.reason is Reason.DATABASE_LOST
    assert "recreate-requested-at" in lost.value.message
    assert snapshot(one, place) == before
    wanted = replace(wanted, established=True, recreate=True)
    if case == "marker removed":
        # An unmarked role is nobody's: asking for new data does not make it ours.
        with pytest.raises(Failure, match="IfUnowned"):
            await admin.run(wanted)
        assert "`spec.adoptionPolicy: IfUnowned`" in lost.value.message
        wanted = replace(wanted, adopt_unowned=True)
    await admin.run(wanted)
    await admin.prove(wanted)


async def test_a_database_that_is_dropped_between_two_looks_is_looked_for_again(one: PostgresServer) -> None:
    wanted = fresh()
    one.execute(f'CREATE DATABASE "{wanted.database}"')

    class Meanwhile(Provisioner):
        @contextlib.asynccontextmanager
        async def connect(self, database: str) -> AsyncIterator[Session]:
            if database == wanted.database:
                one.execute(f'DROP DATABASE IF EXISTS "{database}"')
            async with super().connect(database) as session:
                yield session

    admin = superuser(one)
    with pytest.raises(Failure, match="was dropped while") as raced:
        await Meanwhile(admin.admin).run(wanted)
    assert raced.value.failure_class is FailureClass.TRANSIENT
    assert (await admin.run(wanted)).statements > 0


async def test_an_empty_server_behind_the_same_name_is_lost_data(one: PostgresServer) -> None:
    wanted = fresh(established=True)
    one.execute(f'CREATE DATABASE "{wanted.database}"')
    before = snapshot(one, wanted.database)
    with pytest.raises(Failure) as lost:
        await superuser(one).run(wanted)
    assert lost.value.reason is Reason.DATABASE_LOST
    assert snapshot(one, wanted.database) == before


async def test_an_unmarked_login_of_that_name_is_not_seized(one: PostgresServer) -> None:
    wanted = fresh()
    one.execute(f'CREATE ROLE "{wanted.user}" LOGIN')
    before = snapshot(one)
    with pytest.raises(Failure) as refused:
        await superuser(one).run(wanted)
    assert refused.value.reason is Reason.ALREADY_EXISTS
    assert "spec.user.name" in refused.value.message
    assert snapshot(one) == before


async def test_an_unmarked_owner_role_is_not_seized(one: PostgresServer) -> None:
    wanted = fresh()
    one.execute(f'CREATE ROLE "{wanted.owner}"')
    with pytest.raises(Failure) as refused:
        await superuser(one).run(wanted)
    assert refused.value.reason is Reason.ALREADY_EXISTS


async def test_two_storages_on_one_database_and_schema_conflict_without_a_write(one: PostgresServer) -> None:
    admin, first = superuser(one), fresh()
    await admin.run(first)
    second = fresh(database=first.database)
    before = snapshot(one, first.database)
    with pytest.raises(Failure) as conflict:
        await admin.run(second)
    assert conflict.value.reason is Reason.CONFLICT
    assert "team/" in conflict.value.message
    assert snapshot(one, first.database) == before


async def test_two_storages_share_a_database_in_schemas_of_their_own(one: PostgresServer) -> None:
    admin, first = superuser(one), fresh()
    await admin.run(first)
    second = fresh(database=first.database, schema="second")
    await admin.run(second)
    await admin.prove(second)
    assert (await admin.run(replace(first, established=True))).executed == ()


async def test_another_storage_with_the_same_login_conflicts(one: PostgresServer) -> None:
    admin, first = superuser(one), fresh()
    await admin.run(first)
    before = snapshot(one, first.database)
    name, uid = first.identity.name, first.identity.uid
    for identity, anew in (
        (Identity("instance-2", "team", name, uid), True),
        (Identity("instance-2", "other", name, uid), False),
        (Identity("instance-1", "other", name, "x"), False),
    ):
        with pytest.raises(Failure) as conflict:
            await admin.run(replace(first, identity=identity))
        assert conflict.value.reason is Reason.CONFLICT
        # The same Git in a new cluster: one setting of the operator, and not a field of every storage.
        assert ("`--instance-id instance-1`" in conflict.value.message) is anew, conflict.value.message
    assert snapshot(one, first.database) == before


async def test_a_recreated_storage_finds_its_data_and_leaves_the_old_login_valid(one: PostgresServer) -> None:
    admin, first = superuser(one), fresh()
    await admin.run(first)
    new = Password("new-life")
    again = replace(
        first,
        identity=replace(first.identity, uid="uid-2"),
        credential=Credential(None, new, change=True),
    )
    run = await admin.run(again)
    assert run.orders.login == first.logins[1]
    await admin.prove(again.following(run), new)
    await admin.prove(first)
    marker = seen(run).roles[first.owner].marker
    assert marker is not None
    assert (marker.identity.uid, marker.rev) == ("uid-2", 2)
    later = replace(again.following(run), established=True, published=first.logins[1])
    noted = seen(await admin.run(later)).roles[first.owner].marker
    assert noted is not None
    assert noted.published == "login_b"
    assert (await admin.run(later)).executed == ()


async def test_a_password_lost_in_a_crash_is_made_anew_for_the_same_login(one: PostgresServer) -> None:
    admin, first = superuser(one), fresh()
    await admin.run(first)
    for number in range(3):
        lost = Credential(None, Password(f"lost-{number}"), change=True)
        run = await admin.run(replace(first, credential=lost))
        assert run.orders.login == first.logins[1]
    await admin.prove(first)


async def test_a_marker_of_another_place_claims_nothing_here(one: PostgresServer) -> None:
    admin, mine, other = superuser(one), fresh(), fresh()
    await admin.run(mine)
    await admin.run(other)
    before = snapshot(one, other.database)
    with pytest.raises(Failure) as conflict:
        await admin.run(replace(mine, database=other.database))
    assert conflict.value.reason is Reason.CONFLICT
    assert snapshot(one, other.database) == before
    one.execute('CREATE DATABASE "theirs"')
    await admin.run(replace(mine, database="theirs"))
    with pytest.raises(Failure) as blocked:
        await admin.remove(replace(mine, database="theirs"))
    assert blocked.value.reason is Reason.DELETION_BLOCKED
    assert f"database {mine.database}" in blocked.value.message, "what the role still owns elsewhere is named"
    assert one.execute("SELECT count(*) FROM pg_database WHERE datname = 'theirs'") == [(1,)]


async def test_a_database_that_nobody_looked_into_is_not_dropped(one: PostgresServer) -> None:
    admin, wanted = superuser(one), fresh()
    await admin.run(wanted)
    one.execute("CREATE TABLE precious (id int)", database=wanted.database)
    one.execute(f'ALTER DATABASE "{wanted.database}" WITH ALLOW_CONNECTIONS false')
    with pytest.raises(Failure) as unseen:
        await admin.remove(wanted)
    assert unseen.value.reason is Reason.SERVER_NOT_READY
    one.execute(f'ALTER DATABASE "{wanted.database}" WITH ALLOW_CONNECTIONS true')
    assert one.execute("SELECT 1 FROM precious", database=wanted.database) == []


async def test_a_claim_survives_a_failure_behind_the_creation(one: PostgresServer) -> None:
    admin, wanted = superuser(one), fresh()
    async with admin.connect("postgres") as session:
        first = plan(wanted, wanted.orders, await observe(session, wanted))
        await apply(session, first, wanted)
    run = await admin.run(wanted)
    marker = seen(run).roles[wanted.owner].marker
    assert marker is not None
    assert "database" in marker.created


async def test_public_access_to_our_tables_is_told(one: PostgresServer) -> None:
    admin, wanted = superuser(one), fresh()
    await admin.run(wanted)
    one.execute("GRANT SELECT ON cipher_store TO PUBLIC", database=wanted.database)
    run = await admin.run(replace(wanted, established=True))
    assert run.executed == ()
    assert run.warnings == ("table 'cipher_store' is open to PUBLIC: REVOKE that grant",)


async def test_shared_mode_takes_no_unmarked_table_without_being_asked(one: PostgresServer) -> None:
    name = f"shared_{next(_names)}"
    admin = plain_admin(one, name, "NOCREATEROLE NOCREATEDB")
    wanted = fresh(user=name, shared=True, credential=None, create_database=False)
    one.execute(f'CREATE DATABASE "{wanted.database}" OWNER "{name}"')
    with admin.app(wanted) as app:
        for statement in CIPHER_START:
            app.execute(statement)
    before = snapshot(one, wanted.database)
    with pytest.raises(Failure) as refused:
        await admin.run(wanted)
    assert refused.value.reason is Reason.ALREADY_EXISTS
    assert snapshot(one, wanted.database) == before
    await admin.run(replace(wanted, adopt_unowned=True))
    await admin.remove(wanted)
    assert one.execute("SELECT value FROM cipher_store", database=wanted.database) == [("hello",)]


@pytest.mark.parametrize("what", ["database", "schema"])
async def test_the_sql_in_a_missing_grant_mends_it(one: PostgresServer, what: str) -> None:
    admin = plain_admin(one, f"granted_{next(_names)}", "CREATEROLE CREATEDB")
    wanted = fresh()
    one.execute(f'CREATE DATABASE "{wanted.database}"')
    if what == "schema":
        one.execute(f'ALTER DATABASE "{wanted.database}" OWNER TO "{admin.admin.user}"')
        one.execute("ALTER SCHEMA public OWNER TO postgres", database=wanted.database)
    for _ in range(2):
        try:
            await admin.run(wanted)
        except Failure as failure:
            assert failure.reason is Reason.INSUFFICIENT_PRIVILEGE
            statement = failure.message.split("run: ")[1].split(" (as its owner")[0]
            one.execute(statement, database=wanted.database)
    await admin.run(wanted)
    await admin.prove(wanted)


async def test_a_table_of_another_shape_is_spelled_out_and_left_alone(one: PostgresServer) -> None:
    admin, wanted = superuser(one), fresh()
    await admin.run(wanted)
    one.execute("ALTER TABLE cipher_store ALTER COLUMN value TYPE varchar(10)", database=wanted.database)
    with pytest.raises(Failure) as conflict:
        await admin.run(replace(wanted, established=True))
    assert conflict.value.reason is Reason.SCHEMA_CONFLICT
    assert "column 'value' is character varying(10), must be text" in conflict.value.message


async def test_a_unique_index_of_that_name_would_refuse_what_cipher_writes(one: PostgresServer) -> None:
    admin, wanted = superuser(one), fresh()
    await admin.run(wanted)
    one.execute("DROP INDEX idx_cipher_lists_key", database=wanted.database)
    one.execute("CREATE UNIQUE INDEX idx_cipher_lists_key ON cipher_lists (key)", database=wanted.database)
    with pytest.raises(Failure) as conflict:
        await admin.run(replace(wanted, established=True))
    assert conflict.value.reason is Reason.SCHEMA_CONFLICT
    assert "must be a plain btree on (key)" in conflict.value.message


async def test_extra_columns_tables_and_grants_are_left_alone(one: PostgresServer) -> None:
    admin, wanted = superuser(one), fresh()
    await admin.run(wanted)
    for statement in (
        "ALTER TABLE cipher_store ADD COLUMN note text",
        "CREATE TABLE reports (id int)",
        "GRANT SELECT ON cipher_store TO pg_monitor",
        f'ALTER TABLE reports OWNER TO "{wanted.owner}"',
    ):
        one.execute(statement, database=wanted.database)
    assert (await admin.run(replace(wanted, established=True))).executed == ()


async def test_shared_mode_for_an_admin_who_may_not_create_roles(server: PostgresServer) -> None:
    name = f"heroku_{next(_names)}"
    admin = plain_admin(server, name, "NOCREATEROLE NOCREATEDB")
    wanted = fresh(user=name, shared=True, credential=None, create_database=False)
    server.execute(f'CREATE DATABASE "{wanted.database}" OWNER "{name}"')
    before = server.execute("SELECT rolname FROM pg_roles ORDER BY 1")
    await admin.run(wanted)
    with admin.app(wanted) as app:
        for statement in CIPHER_START:
            app.execute(statement)
    assert (await admin.run(replace(wanted, established=True))).executed == ()
    assert server.execute("SELECT rolname FROM pg_roles ORDER BY 1") == before
    with pytest.raises(Failure) as conflict:
        await admin.run(replace(wanted, identity=replace(wanted.identity, name="other")))
    assert conflict.value.reason is Reason.CONFLICT
    assert await admin.remove(wanted)
    assert server.execute("SELECT 1 FROM pg_class WHERE relname = 'cipher_store'", database=wanted.database) == []


@pytest.mark.parametrize("again", ["nobody", "the app"])
async def test_the_shared_mode_outlives_the_table_with_its_marker(one: PostgresServer, again: str) -> None:
    name = f"heroku_{next(_names)}"
    admin = plain_admin(one, name, "NOCREATEROLE NOCREATEDB")
    wanted = fresh(user=name, shared=True, credential=None, create_database=False)
    one.execute(f'CREATE DATABASE "{wanted.database}" OWNER "{name}"')
    await admin.run(wanted)
    one.execute("DROP TABLE cipher_store", database=wanted.database)
    if again == "the app":
        with admin.app(wanted) as app:
            for statement in CIPHER_START:
                app.execute(statement)
    established = replace(wanted, established=True)
    assert (await admin.run(established)).executed
    assert (await admin.run(established)).executed == ()
    with pytest.raises(Failure) as other:
        await admin.run(replace(established, identity=replace(wanted.identity, name="other")))
    assert other.value.reason is Reason.CONFLICT


async def test_dedicated_mode_without_createrole_names_the_sql_that_mends_it(server: PostgresServer) -> None:
    name = f"weak_{next(_names)}"
    admin = plain_admin(server, name, "NOCREATEROLE CREATEDB")
    wanted = fresh()
    with pytest.raises(Failure) as lacking:
        await admin.run(wanted)
    assert lacking.value.reason is Reason.INSUFFICIENT_PRIVILEGE
    assert f'ALTER ROLE "{name}" CREATEROLE' in lacking.value.message
    server.execute(f'ALTER ROLE "{name}" CREATEROLE')
    await admin.run(wanted)
    await admin.prove(wanted)


async def test_a_missing_database_that_shall_not_be_created_is_named_with_its_remedy(one: PostgresServer) -> None:
    wanted = fresh(create_database=False)
    before = snapshot(one)
    with pytest.raises(Failure) as missing:
        await superuser(one).run(wanted)
    assert missing.value.reason is Reason.DATABASE_MISSING
    assert f'CREATE DATABASE "{wanted.database}"' in missing.value.message
    assert snapshot(one) == before


@pytest.mark.parametrize("schema", ["public", "cipher"])
async def test_that_remedy_runs_as_it_stands_for_an_administrator_of_few_rights(
    one: PostgresServer, schema: str
) -> None:
    wanted = fresh(create_database=False, schema=schema)
    admin = plain_admin(one, f"few_{next(_names)}", "CREATEROLE NOCREATEDB")
    with pytest.raises(Failure) as missing:
        await admin.run(wanted)
    here, _, inside = missing.value.message.partition(" run: ")[2].partition(", and in it: ")
    for statement in here.split("; "):
        one.execute(statement)
    if inside:
        one.execute(inside, database=wanted.database)
    await admin.run(wanted)
    await admin.prove(wanted)


async def test_observe_mode_plans_and_writes_nothing(one: PostgresServer) -> None:
    admin, wanted = superuser(one), fresh()
    before = snapshot(one)
    run = await admin.run(wanted, write=False)
    assert any("CREATE DATABASE" in line for line in run.pending)
    assert "SCRAM" not in " ".join(run.pending)
    assert snapshot(one) == before


async def test_a_thawed_former_leader_changes_nothing(one: PostgresServer) -> None:
    admin, wanted = superuser(one), fresh()
    await admin.run(wanted)
    stale = replace(wanted, established=True, credential=Credential(wanted.user, Password("x"), True))
    async with admin.connect(wanted.database) as session:
        old_plan = plan(stale, stale.orders, await observe(session, stale))
        newer = replace(stale, credential=Credential(wanted.logins[1], Password("y"), True))
        await admin.run(newer)
        before = snapshot(one, wanted.database)
        with pytest.raises(psycopg.errors.DivisionByZero):
            await apply(session, old_plan, stale)
    assert snapshot(one, wanted.database) == before
    await admin.prove(wanted)


@pytest.mark.parametrize("database_exists", [False, True], ids=["from nothing", "in an existing database"])
async def test_concurrent_runs_of_one_storage_converge(
    server: PostgresServer, admin: Provisioner, database_exists: bool
) -> None:
    for _ in range(3):
        wanted = fresh()
        if database_exists:
            server.execute(f'CREATE DATABASE "{wanted.database}" OWNER "{admin.admin.user}"')
        reports = await asyncio.gather(*(admin.report(wanted) for _ in range(4)))
        # One of them wrote the marker first; who sees another's gives way, to begin anew with what is true then.
        stopped = [report.failure for report in reports if report.failure is not None]
        assert len(stopped) < len(reports)
        assert all("marker changed" in failure.message for failure in stopped), stopped
        final = await admin.run(replace(wanted, established=True))
        assert final.executed == ()
        marker = seen(final).roles[wanted.owner].marker
        assert marker is not None
        assert ("database" in marker.created) is not database_exists
        await admin.prove(wanted)


HOSTILE = (
    "CREATE FUNCTION public.hashtextextended(text, int) RETURNS bigint LANGUAGE plpgsql AS "
    "$$BEGIN EXECUTE 'ALTER ROLE ' || quote_ident({login}) || ' SUPERUSER'; RETURN 1; END$$",
    "CREATE FUNCTION public.shobj_description(oid, text) RETURNS text LANGUAGE sql AS $$SELECT 'forged'$$",
    "CREATE FUNCTION public.grab(internal_state jsonb, k name, v jsonb) RETURNS jsonb LANGUAGE plpgsql AS "
    "$$BEGIN EXECUTE 'ALTER ROLE ' || quote_ident({login}) || ' SUPERUSER'; RETURN '{{}}'; END$$",
    "CREATE AGGREGATE public.jsonb_object_agg(name, jsonb) (SFUNC = public.grab, STYPE = jsonb)",
    "CREATE FUNCTION public.eq(name, name) RETURNS boolean LANGUAGE plpgsql AS "
    "$$BEGIN EXECUTE 'ALTER ROLE ' || quote_ident({login}) || ' SUPERUSER'; RETURN true; END$$",
    "CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = name, FUNCTION = public.eq)",
    "CREATE FUNCTION public.pg_get_userbyid(oid) RETURNS name LANGUAGE sql AS $$SELECT 'postgres'::name$$",
    "CREATE TYPE public.jsonb AS (a int)",
    "CREATE VIEW public.pg_roles AS SELECT 1 AS oid",
    """COMMENT ON TABLE public.cipher_store IS
       '{{"v":1,"instance":"instance-2","ns":"evil","name":"x","uid":"y","created":[],"rev":1}}'""",
    "ALTER DATABASE {db} SET role = {login}",
    "ALTER DATABASE {db} SET search_path = public, pg_catalog",
    "ALTER ROLE {login} SET search_path = public, pg_catalog",
    "ALTER ROLE {login} SUPERUSER",
    "ALTER ROLE {login} SET role = 'postgres'",
    "COMMENT ON ROLE {owner} IS 'mine'",
    "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC",
)


async def test_a_hostile_tenant_gains_nothing(server: PostgresServer, admin: Provisioner) -> None:
    wanted = fresh()
    await admin.run(wanted)
    accepted = 0
    with admin.app(wanted) as app:
        for statement in HOSTILE:
            names = {"login": f"'{wanted.user}'", "db": f'"{wanted.database}"', "owner": f'"{wanted.owner}"'}
            if statement.startswith(("ALTER", "COMMENT")):
                names["login"] = f'"{wanted.user}"'
            try:
                app.execute(statement.format(**names))
                accepted += 1
            except psycopg.Error:
                continue
    assert accepted >= 8, "the attack must really stand in the database"
    attributes = "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname ~ %s ORDER BY 1"
    before = server.execute(attributes, [f"^{wanted.user}"])
    server.execute("DROP TABLE public.cipher_lists", database=wanted.database)
    run = await admin.run(replace(wanted, established=True))
    assert run.executed
    assert server.execute(attributes, [f"^{wanted.user}"]) == before
    assert not any(row[1] for row in before)
    assert (await admin.run(replace(wanted, established=True))).executed == ()
    await admin.prove(wanted)


async def test_no_plain_password_reaches_the_server_log(server: PostgresServer, admin: Provisioner) -> None:
    secret = Password("Plain-Text-Must-Not-Be-Logged")
    wanted = fresh()
    verified = replace(wanted, credential=Credential(wanted.user, secret))
    await admin.run(verified)
    await admin.prove(verified, secret)
    log = server.log_text()
    assert f'CREATE ROLE "{wanted.user}"' in log, "the log must show statements"
    assert secret.reveal() not in log
    assert APP_PASSWORD.reveal() not in log


async def test_delete_removes_what_was_created_and_nothing_else(server: PostgresServer, admin: Provisioner) -> None:
    before = snapshot(server)
    wanted = fresh()
    await admin.run(wanted)
    with admin.app(wanted) as app:
        app.execute("CREATE TABLE own_table (id int)")
        await admin.remove(wanted)
        with pytest.raises(psycopg.Error):
            app.execute("SELECT 1")
    assert snapshot(server) == before


async def test_delete_in_an_existing_database_leaves_it(server: PostgresServer, admin: Provisioner) -> None:
    wanted = fresh(schema="cipher")
    server.execute(f'CREATE DATABASE "{wanted.database}" OWNER "{admin.admin.user}"')
    server.execute("CREATE TABLE public.reports (id int)", database=wanted.database)
    before = snapshot(server, wanted.database)
    await admin.run(wanted)
    await admin.remove(wanted)
    after = snapshot(server, wanted.database)
    assert [row[0] for row in after[-1]] == [row[0] for row in before[-1]]
    assert after[0] == before[0]


async def test_foreign_relations_block_the_deletion(one: PostgresServer) -> None:
    admin, wanted = superuser(one), fresh()
    await admin.run(wanted)
    one.execute("CREATE TABLE public.reports (id int)", database=wanted.database)
    before = snapshot(one, wanted.database)
    with pytest.raises(Failure) as blocked:
        await admin.remove(wanted)
    assert blocked.value.reason is Reason.DELETION_BLOCKED
    assert "public.reports" in blocked.value.message
    assert snapshot(one, wanted.database) == before
    one.execute("DROP TABLE public.reports", database=wanted.database)
    await admin.remove(wanted)
    await admin.remove(wanted)  # again: nothing is ours any more


async def test_delete_without_our_marker_touches_nothing(one: PostgresServer) -> None:
    admin, wanted = superuser(one), fresh()
    await admin.run(wanted)
    one.execute(f'COMMENT ON ROLE "{wanted.owner}" IS NULL')
    before = snapshot(one, wanted.database)
    await admin.remove(wanted)
    assert snapshot(one, wanted.database) == before


async def test_two_storages_racing_for_one_database_never_both_claim_it(one: PostgresServer) -> None:
    admin = superuser(one)
    for _ in range(4):
        first = fresh()
        second = fresh(database=first.database, schema="second")
        await asyncio.gather(admin.run(first), admin.run(second))
        claims = []
        for wanted in (first, second):
            run = await admin.run(replace(wanted, established=True))
            assert run.executed == ()
            marker = seen(run).roles[wanted.owner].marker
            assert marker is not None
            claims.append("database" in marker.created)
        assert sorted(claims) == [False, True]


async def test_an_interrupted_first_run_does_not_claim_a_database_that_others_made(one: PostgresServer) -> None:
    admin, wanted = superuser(one), fresh()
    await interrupted_before(Kind.CREATE_DATABASE, admin, wanted)
    one.execute(f'CREATE DATABASE "{wanted.database}"')
    run = await admin.run(wanted)
    marker = seen(run).roles[wanted.owner].marker
    assert marker is not None
    assert "database" not in marker.created
    await admin.prove(wanted)


async def test_a_deletion_after_an_interrupted_first_run_leaves_the_database_that_others_made(
    one: PostgresServer,
) -> None:
    admin, wanted = superuser(one), fresh()
    await interrupted_before(Kind.CREATE_DATABASE, admin, wanted)
    one.execute(f'CREATE DATABASE "{wanted.database}"')
    await admin.remove(wanted)
    assert one.execute("SELECT 1 FROM pg_database WHERE datname = %s", [wanted.database]) == [(1,)]
    assert one.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [wanted.owner]) == []


async def test_a_database_that_an_interrupted_first_run_made_is_ours(
    server: PostgresServer, admin: Provisioner
) -> None:
    wanted, deleted = fresh(), fresh()
    for each in (wanted, deleted):
        await interrupted_before(Kind.LIFT_LIMIT, admin, each)
    wanted = replace(wanted, identity=replace(wanted.identity, uid="made again"))
    run = await admin.run(wanted)
    marker = seen(run).roles[wanted.owner].marker
    assert marker is not None and "database" in marker.created
    database = seen(run).database
    assert database is not None
    assert (database.public, database.connection_limit) == (frozenset(), -1)
    for each in (wanted, deleted):
        await admin.remove(each)
        assert server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [each.database]) == []


async def interrupted_before(step: Kind, admin: Provisioner, wanted: Storage) -> None:
    """Run the plan of a first run up to a step, as a crash would."""
    async with admin.connect("postgres") as session:
        observed = await observe(session, wanted)
        first = plan(wanted, settle(wanted, wanted.orders, observed), observed)
        kinds = [each.kind for each in first.steps]
        await apply(session, replace(first, steps=first.steps[: kinds.index(step)]), wanted, observe=False)
