"""Indexes of large tables: built beside the runs, which go on meanwhile."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from cipher_operator.core.plan import relations
from cipher_operator.postgres.errors import classify
from cipher_operator.reconcile import builds
from support.runs import Runs

INDEX = "idx_cipher_store_updated_at"


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relations, "LARGE_PAGES", 1)


async def with_a_large_table(runs: Runs) -> None:
    await runs.ready()
    row = "SELECT 'k' || n, repeat('x', 500), now(), now() FROM generate_series(1, 500) n"
    runs.sql(f"INSERT INTO cipher_store {row}; ANALYZE cipher_store", runs.database)
    runs.sql(f"DROP INDEX {INDEX}", runs.database)


@contextmanager
def a_writer_that_takes_its_time(runs: Runs) -> Iterator[None]:
    """A transaction that a concurrent build waits for."""
    with psycopg.connect(runs.server.admin_url(runs.database, sslmode="disable")) as writer:
        writer.execute("UPDATE cipher_store SET value = 'y' WHERE key = 'k1'")
        yield
        writer.rollback()


def valid(runs: Runs) -> bool:
    found = runs.sql(f"SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('{INDEX}')", runs.database)
    return found == [(True,)]


async def until_it_ended(runs: Runs) -> None:
    for _ in range(400):
        if runs.started:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the build has ended and asks for another run")


async def test_the_status_says_so_and_other_drift_is_healed_meanwhile(runs: Runs) -> None:
    await with_a_large_table(runs)
    with a_writer_that_takes_its_time(runs):
        await runs.run()
        assert runs.says() == ("False", "BuildingIndex")
        assert runs.condition(type_="Reconciling")["reason"] == "BuildingIndex"
        assert runs.condition(type_="SecretPublished")["status"] == "True", "pods go on with what they have"
        runs.sql("DROP TABLE cipher_lists", runs.database)
        await asyncio.wait_for(runs.run(), 20)
        assert runs.sql("SELECT to_regclass('cipher_lists') IS NOT NULL", runs.database) == [(True,)]
        assert runs.says() == ("False", "BuildingIndex")
        assert not valid(runs)
    await until_it_ended(runs)
    await runs.run()
    assert runs.says() == ("True", "Ready")
    assert valid(runs)
    assert runs.lanes.counts().held == 0


@pytest.mark.parametrize("wish", ["deletion", "suspend", "observe", "no CipherServer"])
async def test_a_build_keeps_nobody_from_what_is_wished(runs: Runs, wish: str) -> None:
    await with_a_large_table(runs)
    with a_writer_that_takes_its_time(runs):
        await runs.run()
        assert runs.says() == ("False", "BuildingIndex")
        if wish == "suspend":
            runs.spec(suspend=True)
        elif wish == "observe":
            runs.spec(managementPolicy="Observe")
        elif wish == "no CipherServer":
            runs.spec(connection={"secretRef": None, "serverRef": {"name": "none"}})
        else:
            runs.api.delete("cipherstorages", "chat")
        following = await asyncio.wait_for(runs.run(), 20)
        assert following.gone is (wish == "deletion")
        for _ in range(100):
            if runs.lanes.counts().held == 0:
                break
            await asyncio.sleep(0.05)
        assert runs.lanes.counts().held == 0, "the build is ended and its slot given back"


async def test_a_build_on_the_server_of_before_is_ended(runs: Runs) -> None:
    await with_a_large_table(runs)
    before = "127.0.0.1", runs.server.port
    with a_writer_that_takes_its_time(runs):
        await runs.run()
        assert runs.lanes._of(before).held == 1
        url = runs.server.admin_url(sslmode="disable").replace("127.0.0.1", "localhost")
        runs.api.secret("pg-admin", {"CIPHER_PG_URL": url})
        await asyncio.wait_for(runs.run(), 20)
        for _ in range(100):
            if not runs.lanes._of(before).held:
                break
            await asyncio.sleep(0.05)
        assert runs.lanes._of(before).held == 0


async def test_a_limit_of_the_administrators_role_does_not_end_the_build(runs: Runs) -> None:
    admin = f"admin_{runs.database}"
    runs.sql(f"CREATE ROLE {admin} LOGIN SUPERUSER PASSWORD 'admin-pw'")
    runs.admin_secret(user=admin, password="admin-pw")
    await with_a_large_table(runs)
    runs.sql(f"ALTER ROLE {admin} SET statement_timeout = '200ms'")
    with a_writer_that_takes_its_time(runs):
        await runs.run()
        assert runs.says() == ("False", "BuildingIndex")
        await asyncio.sleep(1.0)
        assert runs.started == [], "it goes on for longer than the role's own statements may"
    await until_it_ended(runs)
    await runs.run()
    assert runs.says() == ("True", "Ready")
    assert valid(runs)


async def test_what_an_interrupted_build_left_is_built_anew(runs: Runs) -> None:
    await with_a_large_table(runs)
    with a_writer_that_takes_its_time(runs):
        await runs.run()
        await runs.reconciler.close()
    again = runs.make()
    runs.reconciler = again
    runs.started.clear()
    await runs.run()
    await until_it_ended(runs)
    await runs.run()
    assert runs.says() == ("True", "Ready")
    assert valid(runs)


async def test_what_a_build_itself_uses_up_is_not_used_up_again_at_once(runs: Runs) -> None:
    admin = f"admin_{runs.database}"
    runs.sql(f"CREATE ROLE {admin} LOGIN SUPERUSER PASSWORD 'admin-pw'")
    runs.admin_secret(user=admin, password="admin-pw")
    await with_a_large_table(runs)
    rows = "SELECT 'm' || n, '', now(), now() - n * interval '1 s' FROM generate_series(1, 60000) n"
    runs.sql(f"INSERT INTO cipher_store {rows}", runs.database)
    runs.sql(f"ALTER ROLE {admin} SET maintenance_work_mem = '1MB'")
    runs.sql(f"ALTER ROLE {admin} SET temp_file_limit = 0")
    runs.server.mark_log()

    async def built() -> int:
        """Run ten times, a minute apart, and return how many builds were begun."""
        for _ in range(10):
            runs.started.clear()
            await runs.run()
            if runs.condition()["reason"] == "BuildingIndex":
                await until_it_ended(runs)
                await runs.run()
            assert runs.says() == ("False", "Unknown")
            assert f'ALTER ROLE "{admin}" SET temp_file_limit' in runs.message(), runs.message()
            assert "reconcile-requested-at" in runs.message()
            assert runs.condition(type_="SecretPublished")["status"] == "True", "pods go on with what they have"
            runs.seconds += 50
        return runs.server.log_text().count("statement: CREATE INDEX CONCURRENTLY")

    assert await built() == 1
    runs.ask("reconcile", "now")
    assert await built() == 2, "who asks has it tried at once"
    assert await built() == 3, "and it goes on by itself"
    runs.sql(f"ALTER DATABASE {runs.database} ALLOW_CONNECTIONS false")
    runs.ask("reconcile", "in vain")
    await runs.run()
    assert runs.says() == ("False", "ServerNotReady"), runs.message()
    runs.sql(f"ALTER DATABASE {runs.database} ALLOW_CONNECTIONS true")
    assert await built() == 4, "also where the run that was asked for came to no build"
    runs.sql(f"ALTER ROLE {admin} RESET temp_file_limit")
    runs.ask("reconcile", "mended")
    runs.started.clear()
    await runs.run()
    await until_it_ended(runs)
    await runs.run()
    assert runs.says() == ("True", "Ready")
    assert valid(runs)


USES_UP = {
    "disk": ("53100", "could not extend file: No space left on device"),
    "disk quota": ("XX000", "could not extend file: Disk quota exceeded"),
    "open files": ("53000", "could not open file: Too many open files"),
    "memory": ("53200", "out of memory"),
}


@pytest.mark.parametrize(("code", "text"), USES_UP.values(), ids=USES_UP)
async def test_what_uses_up_the_server_rests(runs: Runs, monkeypatch: pytest.MonkeyPatch, code: str, text: str) -> None:
    begun = []

    async def fails(*_: object, **how: object) -> None:
        begun.append(how)
        raise classify(psycopg.errors.lookup(code)(text))

    await with_a_large_table(runs)
    monkeypatch.setattr(builds, "build_indexes", fails)
    for _ in range(4):
        runs.started.clear()
        await runs.run()
        await asyncio.sleep(0)
        runs.seconds += 60
    assert "tried again after 15 min" in runs.message(), runs.message()
    assert len(begun) == 1
