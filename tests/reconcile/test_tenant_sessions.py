"""What a tenant does with his ordinary login on the shared server: none of it keeps another's storage waiting."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest

from cipher_operator.api.names import ADVISORY_LOCK_PREFIX, default_user_name
from cipher_operator.postgres import indexes
from support.runs import NAMESPACE
from support.tenants import Tenants

EVIL = "evil"
INDEX = "idx_cipher_store_updated_at"


def login(tenants: Tenants, name: str, database: str | None = None, namespace: str = EVIL) -> "psycopg.Connection[Any]":
    """Log in as this storage's app, in its own database or another that lets every login in."""
    data = tenants.api.data(f"{name}-cipher", namespace=namespace)
    assert data is not None
    return psycopg.connect(data["uri"], dbname=database or data["database"], autocommit=True)


async def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something is so; a test that goes on says what is not."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        await asyncio.sleep(0.05)


LOCKS = {
    "of his session": "SELECT pg_advisory_lock(hashtextextended(%s, 0))",
    "shared": "SELECT pg_advisory_lock_shared(hashtextextended(%s, 0))",
}


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
@pytest.mark.parametrize("what", ["creation", "deletion"])
async def test_the_lock_of_anothers_storage_in_a_database_that_is_open_to_all(
    tenants: Tenants, lock: str, what: str
) -> None:
    tenants.platform(limits={"deletionPolicies": ["Retain", "Delete"]})
    await tenants.ready_tenant("mallory", EVIL)
    if what == "deletion":
        await tenants.ready_tenant(deletionPolicy="Delete")
    owner = f"{default_user_name(NAMESPACE, 'chat')}_owner"
    with login(tenants, "mallory", "postgres") as holder:
        holder.execute(lock, (ADVISORY_LOCK_PREFIX + owner,))
        if what == "creation":
            await tenants.ready_tenant()
        else:
            tenants.api.delete("cipherstorages", "chat")
            await tenants.look()
            assert tenants.api.read("cipherstorages", "chat") is None
            assert tenants.sql(f"SELECT FROM pg_roles WHERE rolname = '{owner}'") == []


@contextmanager
def an_index_that_cannot_be_built(tenants: Tenants, name: str, namespace: str = EVIL) -> Iterator[None]:
    """Leave an index invalid, and a transaction open that whoever builds it waits for."""
    with login(tenants, name, namespace=namespace) as builder, login(tenants, name, namespace=namespace) as idle:
        builder.execute(f"DROP INDEX {INDEX}")
        idle.execute("BEGIN")
        idle.execute("LOCK TABLE cipher_store IN ROW EXCLUSIVE MODE")
        builder.execute("SET statement_timeout = '300ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            builder.execute(f"CREATE INDEX CONCURRENTLY {INDEX} ON cipher_store (updated_at)")
        yield


async def test_builds_of_one_tenant_leave_the_slots_to_others(tenants: Tenants) -> None:
    tenants.platform(maxConnections=3)
    names = ["m1", "m2", "m3", "m4"]
    for name in names:
        await tenants.ready_tenant(name, EVIL)
    with ExitStack() as held:
        for name in names:
            held.enter_context(an_index_that_cannot_be_built(tenants, name))
        for name in names:
            assert await tenants.look(name, EVIL) == ("False", "BuildingIndex")
        assert tenants.lanes.counts().held == 1, "a slot, and not one for each"
        await tenants.ready_tenant()
    await until(lambda: len(set(tenants.started)) == len(names))
    for name in names * 4:
        await tenants.look(name, EVIL)
        await until(lambda: tenants.lanes.counts().held == 0, 5.0)
    assert [tenants.told(name, EVIL) for name in names] == [("True", "Ready")] * 4


async def test_builds_of_two_tenants_do_not_keep_both_slots(tenants: Tenants) -> None:
    tenants.platform(maxConnections=2)
    for namespace in (EVIL, "evil-too"):
        await tenants.ready_tenant("m1", namespace)
    with ExitStack() as held:
        for namespace in (EVIL, "evil-too"):
            held.enter_context(an_index_that_cannot_be_built(tenants, "m1", namespace))
        for namespace in (EVIL, "evil-too"):
            assert await tenants.look("m1", namespace) == ("False", "BuildingIndex")
        assert tenants.lanes.counts().held == 1
        await tenants.ready_tenant()


async def test_a_build_that_waits_gives_the_only_slot_back(tenants: Tenants, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "ONLY_SLOT_LOCK_MS", 1_500)
    tenants.platform(maxConnections=1)
    await tenants.ready_tenant("m1", EVIL)
    with an_index_that_cannot_be_built(tenants, "m1"):
        assert await tenants.look("m1", EVIL) == ("False", "BuildingIndex")
        assert tenants.lanes.counts().held == 1
        await until(lambda: tenants.lanes.counts().held == 0)
        await tenants.ready_tenant()


TRIES = """CREATE FUNCTION try() RETURNS void LANGUAGE plpgsql AS $$
DECLARE way text;
BEGIN
  FOREACH way IN ARRAY ARRAY['RESET ROLE', 'SET ROLE postgres', 'SET SESSION AUTHORIZATION DEFAULT',
                             'ALTER ROLE ' || current_user || ' SUPERUSER'] LOOP
    BEGIN EXECUTE way; EXCEPTION WHEN OTHERS THEN NULL; END;
  END LOOP;
  INSERT INTO public.seen SELECT session_user, current_user, rolsuper FROM pg_roles WHERE rolname = current_user;
END$$;
CREATE FUNCTION told(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
$$BEGIN PERFORM public.try(); RETURN left($1, 5); END$$;
CREATE TABLE seen (session name, role name, super bool);
GRANT INSERT ON seen TO PUBLIC;
INSERT INTO cipher_store VALUES ('k', 'v', now(), now())"""
CODE = {
    "an index's expression": ("CREATE INDEX mine ON cipher_store (told(value))", True),
    "a generated column": ("ALTER TABLE cipher_store ADD own text GENERATED ALWAYS AS (told(value)) STORED", False),
    "a constraint": ("ALTER TABLE cipher_store ADD CHECK (told(value) <> '?')", False),
    "a statistic": ("CREATE STATISTICS mine ON told(value), key FROM cipher_store", False),
}


@pytest.mark.parametrize(("statement", "runs"), CODE.values(), ids=CODE)
async def test_code_on_his_tables_is_never_run_with_the_administrators_rights(
    tenants: Tenants, statement: str, runs: bool
) -> None:
    """What the operator mends rewrites the table, in a superuser's session: PostgreSQL itself is the owner then."""
    tenants.platform()
    await tenants.ready_tenant("mallory", EVIL)
    with login(tenants, "mallory") as app:
        app.execute(TRIES)
        app.execute(statement)
        app.execute("TRUNCATE seen")
        app.execute("ALTER TABLE cipher_store ALTER value DROP NOT NULL, ALTER updated_at DROP NOT NULL")
        app.execute("ALTER TABLE cipher_store SET UNLOGGED")
        app.execute("TRUNCATE seen")
        app.execute(f"DROP INDEX {INDEX}; DROP TABLE cipher_lists")
        database, owner = app.info.dbname, f"{default_user_name(EVIL, 'mallory')}_owner"
    assert await tenants.look("mallory", EVIL) == ("True", "Ready")
    (logged,) = tenants.sql("SELECT relpersistence FROM pg_class WHERE relname = 'cipher_store'", database=database)[0]
    assert logged == "p", "it was mended"
    seen = tenants.sql("SELECT session, role, super FROM seen WHERE session = 'postgres'", database=database)
    assert set(seen) == ({("postgres", owner, False)} if runs else set())


async def test_a_silent_door_of_one_tenant_keeps_no_slot_of_the_server(tenants: Tenants) -> None:
    """`spec.app.host` names whatever he likes: what takes connections and says nothing, at several addresses."""
    tenants.platform(maxConnections=1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        tenants.tenant("mallory", EVIL, app={"host": "localhost", "port": silent.getsockname()[1]})
        tenants.tenant()
        looking = asyncio.create_task(tenants.look("mallory", EVIL))
        taken, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(silent), 30)
        with taken:
            assert not looking.done()
            assert await tenants.look() == ("True", "Ready"), "beside it, with the one slot that there is"
            assert await looking == ("True", "Ready")
    assert "could not be tested from here" in tenants.text("mallory", EVIL)
    assert tenants.lanes.counts().held == 0
