"""The catalog query's facts: what they say, as whom, and while everything is locked."""

import re
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from cipher_operator.core.observed import Observed
from cipher_operator.core.plan.fitness import judged_by_proof
from cipher_operator.postgres.catalog import catalog_query
from cipher_operator.postgres.inspect import observe
from devcluster import PostgresServer
from support.fitness import MAJORS
from support.provision import APP_PASSWORD, Provisioner, admin_connection, desired, plain_admin


@pytest.fixture(scope="module", params=MAJORS, ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with PostgresServer(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def admin(server: PostgresServer) -> Provisioner:
    return plain_admin(server, "cloud_admin")


EVERYTHING = (
    "CREATE TABLE people (id text PRIMARY KEY)",
    "ALTER TABLE cipher_store ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    "CREATE POLICY all_rows ON cipher_store USING (true)",
    "CREATE FUNCTION others() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
    "CREATE TRIGGER audit BEFORE INSERT ON cipher_store FOR EACH ROW EXECUTE FUNCTION others()",
    "CREATE RULE also AS ON DELETE TO cipher_store DO ALSO NOTHING",
    "ALTER TABLE cipher_store ADD CONSTRAINT sane CHECK (length(value) < 1000000)",
    "ALTER TABLE cipher_store ADD CONSTRAINT whose FOREIGN KEY (key) REFERENCES people",
    "CREATE TABLE notes (k text CONSTRAINT about REFERENCES cipher_store)",
    "CREATE UNIQUE INDEX once ON cipher_store (md5(value)) WHERE key <> ''",
    "CREATE TABLE heir () INHERITS (cipher_store)",
    "CREATE TABLE heir_of_both () INHERITS (heir, cipher_store)",
    "CREATE TABLE heir_of_heir () INHERITS (heir, heir_of_both)",
    "CREATE PUBLICATION some_of_it FOR TABLE cipher_store",
    "DROP TABLE cipher_lists",
    "CREATE TABLE cipher_lists (key text NOT NULL, value text NOT NULL, position integer NOT NULL, "
    "created_at timestamptz NOT NULL, PRIMARY KEY (key, position)) PARTITION BY HASH (key)",
    "CREATE UNLOGGED TABLE part_0 PARTITION OF cipher_lists FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
    "CREATE TABLE part_1 PARTITION OF cipher_lists FOR VALUES WITH (MODULUS 2, REMAINDER 1) PARTITION BY LIST (key)",
    "CREATE UNLOGGED TABLE part_1_0 PARTITION OF part_1 DEFAULT",
)


async def seen_by(provisioner: Provisioner, wanted: object) -> Observed:
    async with provisioner.connect(wanted.database) as session:  # type: ignore[attr-defined]
        return await observe(session, wanted)  # type: ignore[arg-type]


async def test_facts_are_the_same_for_all_and_while_tables_are_locked(
    server: PostgresServer, admin: Provisioner
) -> None:
    wanted = desired("locked")
    await admin.provision(wanted)
    plain = await seen_by(admin, wanted)
    app = Provisioner(admin_connection(server, wanted.user, APP_PASSWORD.reveal()))
    with psycopg.connect(server.admin_url(wanted.database), autocommit=True) as other:
        for statement in EVERYTHING:
            other.execute(statement.encode())
        server.execute(f"ALTER ROLE {admin.admin.user} SET lock_timeout = '500ms'")
        with other.transaction():
            for table in ("cipher_store", "cipher_lists", "cipher_list_metadata", "people", "notes", "heir"):
                other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
            by_admin, by_app = await seen_by(admin, wanted), await seen_by(app, wanted)
    assert by_admin.local is not None
    assert by_app.local is not None
    store, lists = by_admin.local.relations["cipher_store"], by_admin.local.relations["cipher_lists"]
    assert by_app.local.relations["cipher_store"].others == store.others
    assert store.others.constraints == (("sane", "c"), ("whose", "f"))
    assert store.others.references == (("about", "notes"),)
    assert (store.others.triggers, store.others.policies) == (("audit",), ("all_rows",))
    assert store.others.rules == (("also", "4"),)
    assert (store.others.children, store.others.publications) == (("heir", "heir_of_both"), (("some_of_it", True),))
    assert store.row_security
    assert (store.indexes["once"].unique, store.indexes["once"].partial, store.indexes["once"].columns) == (
        True,
        True,
        (None,),
    )
    assert (lists.kind, lists.gap, lists.unlogged_parts) == ("p", False, ("part_0", "part_1_0"))
    assert judged_by_proof(plain, wanted.user) != judged_by_proof(by_admin, wanted.user)
    server.execute(f"ALTER ROLE {admin.admin.user} RESET lock_timeout")


async def test_many_partitions_make_no_plan_that_reads_the_whole_catalog(
    server: PostgresServer, admin: Provisioner
) -> None:
    wanted = desired("parted")
    await admin.provision(wanted)
    with psycopg.connect(server.admin_url(wanted.database), autocommit=True) as other:
        other.execute("DROP TABLE cipher_lists; CREATE TABLE cipher_lists (key text) PARTITION BY LIST (key)")
        other.execute(
            "DO $$ BEGIN FOR i IN 1..1000 LOOP "
            "EXECUTE format('CREATE TABLE part_%s PARTITION OF cipher_lists FOR VALUES IN (%L)', i, i); "
            "END LOOP; END $$"
        )
        for catalog in (b"pg_class", b"pg_inherits"):
            other.execute(b"VACUUM ANALYZE " + catalog)
        rows = other.execute(sql.SQL("EXPLAIN ") + catalog_query(wanted)).fetchall()
        compiled = other.execute("SELECT boot_val::float FROM pg_settings WHERE name = 'jit_above_cost'").fetchall()
    plan = "\n".join(row[0] for row in rows)
    cost = re.search(r"cost=[\d.]+\.\.([\d.]+)", plan)
    assert cost is not None
    assert float(cost[1]) < compiled[0][0]
    assert "Seq Scan on pg_class" not in plan


async def test_publications_are_read_once_for_all_tables(server: PostgresServer, admin: Provisioner) -> None:
    wanted = desired("published")
    await admin.provision(wanted)
    with psycopg.connect(server.admin_url(wanted.database), autocommit=True) as other:
        for number in range(3):
            other.execute(f"CREATE PUBLICATION all_{number} FOR ALL TABLES".encode())
        rows = other.execute(sql.SQL("EXPLAIN (ANALYZE, TIMING OFF) ") + catalog_query(wanted)).fetchall()
    reads = [row[0] for row in rows if re.search(r" on pg_publication( |$)", row[0])]
    assert [re.findall(r"loops=(\d+)", read) for read in reads] == [["1"]]


async def test_what_a_storage_is_without_others(admin: Provisioner) -> None:
    wanted = desired("alone")
    await admin.provision(wanted)
    first, second = await seen_by(admin, wanted), await seen_by(admin, wanted)
    assert first.database is not None
    assert first.database.encoding == "UTF8"
    assert first.local is not None
    for relation in first.local.relations.values():
        assert relation.others == type(relation.others)(stamps=relation.others.stamps)
        assert not (relation.unlogged or relation.gap or relation.partition or relation.row_security)
    assert judged_by_proof(first, wanted.user) == judged_by_proof(second, wanted.user)
    assert (await seen_by(admin, replace(wanted, database="postgres", schema="nowhere"))).settings == {}


async def test_from_another_database_nothing_is_asked_of_what_is_inside(server: PostgresServer) -> None:
    logged = plain_admin(server, "logged_admin")
    server.execute("ALTER ROLE logged_admin SET log_statement = 'all'")
    server.mark_log()
    wanted = desired("outside")
    await logged.run(wanted)
    await logged.remove(replace(wanted, established=True))
    statements = re.split(r"\n(?=\d{4}-\d\d-\d\d )", server.log_text())
    looks = [("@postgres " in each, "'relations'" in each) for each in statements if "'server', jsonb_build" in each]
    assert set(looks) == {(True, False), (False, True)}


async def test_a_restart_is_to_be_seen(server: PostgresServer, admin: Provisioner) -> None:
    wanted = desired("restarted", database="postgres")
    before = (await seen_by(admin, wanted)).server
    assert (await seen_by(admin, wanted)).server.started == before.started
    server.restart()
    after = (await seen_by(admin, wanted)).server
    assert after.started > before.started > 1_700_000_000
    assert after.product.startswith(f"PostgreSQL {server.installation.major}")


async def test_where_an_attribute_is_that_the_admin_lacks(server: PostgresServer) -> None:
    server.execute("CREATE ROLE dba CREATEROLE CREATEDB")
    server.execute("CREATE ROLE builder CREATEDB IN ROLE dba")
    alice = plain_admin(server, "alice", "IN ROLE builder")
    admin = (await seen_by(alice, desired("group", database="postgres"))).server.admin
    assert (admin.createrole, admin.createrole_through) == (False, ("dba",))
    assert (admin.createdb, admin.createdb_through) == (False, ("builder", "dba"))
    bob = plain_admin(server, "bob", "CREATEROLE IN ROLE dba")
    admin = (await seen_by(bob, desired("group", database="postgres"))).server.admin
    assert (admin.createrole, admin.createrole_through, admin.createdb_through) == (True, (), ("dba",))
