"""The proof of a login as SQL: what it sends, waits for, builds and leaves, and what each way to fail is called."""

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import FailureClass, Reason
from cipher_operator.core.cipher_sql import CREATE_INDEXES, CREATE_TABLES
from cipher_operator.core.schema import INDEX_NAMES, TABLES
from cipher_operator.postgres.proof_sql import LOCK_MS, SAMPLE, START_LOCK_MS, life_of_cipher, look
from devcluster import PostgresServer
from support import cipher_client
from support.cipher_client import work_as_cipher
from support.injected_errors import ErrorProxy, Injected
from support.provision import Provisioner, Storage, desired, plain_admin


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(16, settings={"log_statement": "all"}) as running:
        yield running


@pytest.fixture(scope="module")
def admin(server: PostgresServer) -> Provisioner:
    return plain_admin(server, "cloud_admin")


_names = iter(range(10_000))


@pytest.fixture
async def wanted(admin: Provisioner) -> Storage:
    storage = desired(f"proof{next(_names)}")
    await admin.provision(storage)
    return storage


def test_its_start_is_what_the_tests_know_cipher_by() -> None:
    assert (*CREATE_TABLES, *CREATE_INDEXES.values()) == cipher_client.START
    assert tuple(CREATE_INDEXES) == INDEX_NAMES
    assert all(table.name in text for table, text in zip(TABLES, CREATE_TABLES, strict=True))


def test_the_sample_has_every_kind_of_text_and_is_not_compressed_away() -> None:
    sizes = {len(char.encode()) for char in SAMPLE}
    assert sizes == {1, 2, 3, 4}
    assert 2_704 < len(SAMPLE.encode()) < 8_160
    assert "e\u0301" in SAMPLE, "combining, and not normalised"


async def test_two_messages_and_everything_taken_back(
    server: PostgresServer, admin: Provisioner, wanted: Storage
) -> None:
    before = server.execute(RELATIONS, database=wanted.database)
    server.mark_log()
    await admin.prove(wanted)
    said = re.findall(rf"{wanted.user}@\S+ LOG:  statement: (.*)", server.log_text())
    assert len(said) == 2, said
    assert server.execute(RELATIONS, database=wanted.database) == before
    for table in TABLES:
        assert server.execute(f"SELECT count(*) FROM {table.name}", database=wanted.database) == [(0,)]
    assert "ERROR" not in server.log_text()


RELATIONS = "SELECT oid, relfilenode, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"


async def test_no_row_is_ever_to_be_seen(admin: Provisioner, wanted: Storage) -> None:
    seen, done = list[Any](), threading.Event()

    def watch() -> None:
        with admin.app(wanted) as app:
            while not done.is_set():
                for table in TABLES:
                    seen.extend(app.execute(f"SELECT key FROM {table.name}".encode()).fetchall())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        for _ in range(10):
            await admin.prove(wanted)
    finally:
        done.set()
        watching.join(30)
    assert seen == []


async def test_many_at_once_beside_a_busy_cipher(admin: Provisioner, wanted: Storage) -> None:
    done, failed = threading.Event(), list[Exception]()

    def work() -> None:
        try:
            with admin.app(wanted) as app:
                while not done.is_set():
                    work_as_cipher(app)
        except Exception as error:
            failed.append(error)

    working = threading.Thread(target=work)
    working.start()
    try:
        for _ in range(5):
            await asyncio.gather(*(admin.prove(wanted) for _ in range(6)))
    finally:
        done.set()
        working.join(30)
    assert failed == []


@pytest.mark.parametrize("mode", ["ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE"])
async def test_a_writer_or_a_build_that_takes_its_time_is_nothing_against_the_login(
    server: PostgresServer, admin: Provisioner, wanted: Storage, mode: str
) -> None:
    with psycopg.connect(server.admin_url(wanted.database)) as holder:
        holder.execute(f"LOCK TABLE cipher_lists IN {mode} MODE".encode())
        await admin.prove(wanted)


async def test_ownership_counts_where_the_lock_is_not_free(
    server: PostgresServer, admin: Provisioner, wanted: Storage
) -> None:
    server.execute("ALTER TABLE cipher_lists OWNER TO postgres", database=wanted.database)
    server.execute(f'GRANT ALL ON cipher_lists TO "{wanted.owner}"', database=wanted.database)
    with psycopg.connect(server.admin_url(wanted.database)) as holder:
        holder.execute("LOCK TABLE cipher_store IN ROW EXCLUSIVE MODE")
        with pytest.raises(Failure) as busy:
            await admin.prove(wanted)
    assert busy.value.reason is Reason.LOCK_TIMEOUT
    with pytest.raises(Failure, match="must be owner of table cipher_lists") as refused:
        await admin.prove(wanted)
    assert refused.value.reason is Reason.ACCESS_DENIED


async def test_a_lock_against_all_is_waited_for_shortly_and_is_no_refusal(
    server: PostgresServer, admin: Provisioner, wanted: Storage
) -> None:
    with psycopg.connect(server.admin_url(wanted.database)) as holder:
        holder.execute("LOCK TABLE cipher_lists IN ACCESS EXCLUSIVE MODE")
        begun = time.monotonic()
        with pytest.raises(Failure) as busy:
            await admin.prove(wanted)
        assert time.monotonic() - begun < (LOCK_MS + START_LOCK_MS) / 1_000 + 2
    assert (busy.value.reason, busy.value.failure_class) == (Reason.LOCK_TIMEOUT, FailureClass.TRANSIENT)
    assert busy.value.stage is ConditionType.ACCESS_GRANTED
    await admin.prove(wanted)


async def test_writers_wait_no_longer_behind_it(server: PostgresServer, admin: Provisioner, wanted: Storage) -> None:
    with psycopg.connect(server.admin_url(wanted.database)) as holder, admin.app(wanted) as app:
        holder.execute("INSERT INTO cipher_lists VALUES ('k', 'v', 1, now())")
        proof = asyncio.create_task(admin.prove(wanted))
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        await asyncio.to_thread(app.execute, "INSERT INTO cipher_lists VALUES ('k', 'v', 2, now())")
        assert time.monotonic() - begun < START_LOCK_MS / 1_000 + 1
        await proof


async def test_a_missing_index_is_not_built(server: PostgresServer, admin: Provisioner, wanted: Storage) -> None:
    server.execute("DROP INDEX idx_cipher_store_updated_at", database=wanted.database)
    server.mark_log()
    await admin.prove(wanted)
    proof = server.log_text()
    assert "idx_cipher_store_updated_at ON" not in proof
    assert "CREATE INDEX IF NOT EXISTS idx_cipher_lists_key ON" in proof


@pytest.mark.parametrize(
    ("own", "within"),
    [("0", "10s"), ("1h", "10s"), ("7s", "7s")],
    ids=["no limit of its own", "a longer one", "a shorter one"],
)
async def test_its_limit_is_the_shorter_of_the_logins_and_the_operators(
    server: PostgresServer, admin: Provisioner, wanted: Storage, own: str, within: str
) -> None:
    server.execute(f"ALTER ROLE {wanted.user} SET statement_timeout = '{own}'")
    with psycopg.connect(server.admin_url(wanted.database), autocommit=True) as other:
        other.execute(
            "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE '% and %', current_setting('statement_timeout'), current_setting('lock_timeout'); END $$"
        )
        other.execute("CREATE TRIGGER tell BEFORE INSERT ON cipher_store FOR EACH ROW EXECUTE FUNCTION tell()")
    with pytest.raises(Failure, match=f"{within} and 3s .in function tell"):
        await admin.prove(wanted)


async def test_a_role_without_the_membership_is_seen(
    server: PostgresServer, admin: Provisioner, wanted: Storage
) -> None:
    server.execute(f'GRANT CONNECT ON DATABASE "{wanted.database}" TO PUBLIC')
    server.execute(f'REVOKE "{wanted.owner}" FROM "{wanted.user}" GRANTED BY "{admin.admin.user}"')
    with pytest.raises(Failure) as refused:
        await admin.prove(wanted)
    assert refused.value.reason is Reason.ACCESS_DENIED
    assert f'GRANT "{wanted.owner}" TO "{wanted.user}"' in refused.value.message


async def test_a_table_that_is_dropped_before_it_is_transient(
    server: PostgresServer, admin: Provisioner, wanted: Storage
) -> None:
    server.execute("DROP TABLE cipher_lists", database=wanted.database)
    with pytest.raises(Failure, match="'cipher_lists'") as gone:
        await admin.prove(wanted)
    assert gone.value.failure_class is FailureClass.TRANSIENT


FAILURES = {
    "disk full": (Injected("53100", "could not extend file", b"cipher_start"), Reason.DISK_FULL),
    "disk quota": (Injected("XX000", "could not extend file: Disk quota exceeded", b"cipher_start"), Reason.DISK_FULL),
    "disk gone read-only": (
        Injected("42501", 'could not extend file "base/5/1": Read-only file system', b"cipher_start"),
        Reason.UNKNOWN,
    ),
    "shutdown": (Injected("57P01", "terminating connection", b"cipher_start", fatal=True), Reason.DISCONNECTED),
    "deadlock": (Injected("40P01", "deadlock detected", b"cipher_start"), Reason.LOCK_TIMEOUT),
    "serialization": (Injected("40001", "could not serialize access", b"cipher_start"), Reason.UNKNOWN),
    "standby": (Injected("25006", "cannot execute INSERT", b"cipher_start"), Reason.READ_ONLY_SERVER),
    "broken": (Injected("XX001", "invalid page in block 0", b"cipher_start"), Reason.UNKNOWN),
    "time": (Injected("57014", "canceling statement due to statement timeout", b"cipher_start"), Reason.LOCK_TIMEOUT),
    "transaction time": (Injected("25P04", "terminating", b"cipher_start", fatal=True), Reason.ACCESS_DENIED),
    "division in a trigger": (Injected("22012", "division by zero", b"cipher_start"), Reason.SCHEMA_CONFLICT),
    "first look": (Injected("53200", "out of memory", b"to_regclass"), Reason.UNKNOWN),
}


@pytest.mark.parametrize("case", list(FAILURES))
async def test_what_a_failure_is_called(server: PostgresServer, admin: Provisioner, wanted: Storage, case: str) -> None:
    error, reason = FAILURES[case]
    with ErrorProxy(server) as proxy:
        proxy.error = error
        there = Provisioner(replace(admin.admin, port=proxy.port))
        with pytest.raises(Failure) as failed:
            await there.prove(wanted)
        assert (failed.value.reason, failed.value.stage) == (reason, ConditionType.ACCESS_GRANTED), failed.value.message
        assert failed.value.sqlstate == error.code
        assert not re.search(rf"127\.0\.0\.1|{proxy.port}|cipher-operator:login-test", failed.value.message)
        proxy.error = None
        await there.prove(wanted)


def test_what_is_written_begins_and_ends_in_one_transaction() -> None:
    texts = [each.text.as_string(None) for each in life_of_cipher("k", INDEX_NAMES)]
    assert look("public").as_string(None).startswith("BEGIN; SELECT ")
    assert texts[-1] == "ROLLBACK"
    assert texts[1] == "SAVEPOINT cipher_start", "nothing is written where the transaction is not open any more"
    assert not any(text.startswith(("COMMIT", "ROLLBACK;", "END")) for text in texts[1:-1])
    undone = texts.index("ROLLBACK TO SAVEPOINT cipher_start")
    assert all("CREATE" in text for text in texts[3:undone])
    assert not any("CREATE" in text for text in texts[undone:])
