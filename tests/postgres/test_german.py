"""Whole runs against servers that speak German: the reasons are those of an English one, from SQLSTATEs alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace

import psycopg
import pytest
from psycopg import sql

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.connection.password import Password
from cipher_operator.core.marker import CLOSING
from cipher_operator.postgres.errors import Attempt, classify
from cipher_operator.postgres.session import Session
from devcluster.postgres_data import hand_over
from devcluster.tls import CertificateAuthority
from support.admins import changed, footprint
from support.german import NATIVE, SPOKEN, German, speaking
from support.provision import CIPHER_START, OPEN, Provisioner, Storage, desired, plain_admin
from support.sessions import error_of

HBA = """
host all german_rejected 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
"""
_names = iter(range(10_000))


@pytest.fixture(scope="module", params=SPOKEN, ids=str)
def german(request: pytest.FixtureRequest) -> Iterator[German]:
    with speaking(request.param, hba=HBA) as running:
        yield running


def new_admin(german: German, name: str | None = None, attributes: str = "CREATEROLE CREATEDB") -> Provisioner:
    """Make an admin of its own for one test and return its way in."""
    direct = plain_admin(german.server, name or f"german_{next(_names)}", attributes)
    return Provisioner(replace(direct.admin, port=german.port))


async def test_a_storage_lives_on_a_german_server(german: German) -> None:
    admin, wanted = new_admin(german), desired(f"g{next(_names)}")
    before = footprint(german.server, "postgres")
    await admin.provision(wanted)
    with admin.app(wanted) as app:
        for statement in CIPHER_START:
            app.execute(statement)
    second = await admin.run(replace(wanted, established=True))
    assert (second.statements, second.executed) == (0, ())
    await admin.remove(wanted)
    assert changed(before, footprint(german.server, "postgres")) == {}


@dataclass(frozen=True)
class Case:
    """What is wrong: statements ({login} and {db} stand for quoted names) as the superuser, and what to expect."""

    reason: Reason
    statements: tuple[str, ...] = ()
    password: str | None = None
    login: str | None = None
    attributes: str = "CREATEROLE CREATEDB"
    database: bool = True
    said: str = ""


CASES = {
    "wrong password": Case(Reason.AUTHENTICATION_FAILED, password="wrong", said="(SQLSTATE 28P01)"),
    "NOLOGIN": Case(Reason.ACCESS_DENIED, ("ALTER ROLE {login} NOLOGIN",), said="(SQLSTATE 28000)"),
    "hba reject": Case(Reason.ACCESS_DENIED, login="german_rejected", said="(SQLSTATE 28000)"),
    "no database": Case(Reason.DATABASE_MISSING, database=False, said="CREATE DATABASE"),
    "no CONNECT": Case(
        Reason.INSUFFICIENT_PRIVILEGE,
        ("ALTER DATABASE {db} OWNER TO postgres", "REVOKE CONNECT ON DATABASE {db} FROM PUBLIC"),
        said="(SQLSTATE 42501)",
    ),
    "too many connections": Case(
        Reason.TOO_MANY_CONNECTIONS, ("ALTER ROLE {login} CONNECTION LIMIT 0",), said="(SQLSTATE 53300)"
    ),
    "database closed": Case(
        Reason.SERVER_NOT_READY, ("ALTER DATABASE {db} ALLOW_CONNECTIONS false",), said="ALLOW_CONNECTIONS true"
    ),
    "read-only": Case(
        Reason.READ_ONLY_SERVER,
        ("ALTER DATABASE {db} SET default_transaction_read_only = on",),
        said="default_transaction_read_only",
    ),
    "may make no role": Case(Reason.INSUFFICIENT_PRIVILEGE, attributes="CREATEDB", said="CREATEROLE"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_what_is_wrong_has_its_reason(german: German, case: Case) -> None:
    admin = new_admin(german, case.login, case.attributes)
    wanted = desired(f"w{next(_names)}", create_database=False)
    names = {"login": f'"{admin.admin.user}"', "db": f'"{wanted.database}"'}
    if case.database:
        german.server.execute("CREATE DATABASE {db} OWNER {login}".format(**names))
    for statement in case.statements:
        german.server.execute(statement.format(**names))
    if case.password is not None:
        admin.admin = replace(admin.admin, password=Password(case.password))
    for _ in range(2):
        with pytest.raises(Failure) as caught:
            await admin.run(wanted)
        assert caught.value.reason is case.reason
        assert case.said in caught.value.message
        assert "127.0.0.1" not in caught.value.message


@asynccontextmanager
async def stopping(german: German) -> AsyncIterator[None]:
    """Keep the server in a smart shutdown, in which it lets nobody in."""
    held = await Session.open(new_admin(german).admin, "postgres", OPEN)
    ending = asyncio.create_task(asyncio.to_thread(german.server.stop, "smart"))
    try:
        async with asyncio.timeout(20):
            while "stopping" not in (german.server.data_path / "postmaster.pid").read_text():
                await asyncio.sleep(0.02)
        yield
    finally:
        await held.close()
        await ending


@asynccontextmanager
async def starting(german: German) -> AsyncIterator[None]:
    """Keep the server in recovery, as a standby that serves nobody."""
    server = german.server
    server.stop()
    server.settings["hot_standby"] = "off"
    standby = server.data_path / "standby.signal"
    standby.touch()
    hand_over(standby)
    server.start()
    yield


@pytest.mark.parametrize("state", [starting, stopping], ids=["starting up", "shutting down"])
@pytest.mark.parametrize("how", SPOKEN, ids=str)
async def test_a_server_that_is_not_ready(
    how: str | int, state: Callable[[German], AbstractAsyncContextManager[None]]
) -> None:
    with speaking(how) as german:
        admin = new_admin(german)
        async with state(german):
            with pytest.raises(Failure) as caught:
                await admin.run(desired("down"))
            assert (caught.value.reason, caught.value.sqlstate) == (Reason.SERVER_NOT_READY, "57P03")


@pytest.mark.parametrize(
    ("message", "reason", "sqlstate", "said"),
    [
        ("SET default_transaction_read_only = on; CREATE TABLE nothing ()", Reason.READ_ONLY_SERVER, "25006", "writer"),
        ("SET statement_timeout = 50; SELECT pg_sleep(20)", Reason.LOCK_TIMEOUT, "57014", "busy"),
        ("CREATE ROLE german_nobody SUPERUSER", Reason.INSUFFICIENT_PRIVILEGE, "42501", "Grant it"),
        (
            "SELECT pg_advisory_xact_lock(n) FROM generate_series(1, 1000000) n",
            Reason.UNKNOWN,
            "53200",
            "max_locks_per_transaction",
        ),
    ],
    ids=["read-only", "statement timeout", "no privilege", "no room for locks"],
)
async def test_in_a_session(german: German, message: str, reason: Reason, sqlstate: str, said: str) -> None:
    async with await Session.open(new_admin(german).admin, "postgres", OPEN) as session:
        with pytest.raises(Exception) as caught:
            for statement in message.split("; "):
                await session.execute(sql.SQL(statement))
    failure = classify(caught.value, Attempt("postgres", "admin"))
    assert (failure.reason, failure.sqlstate) == (reason, sqlstate)
    assert said in failure.message


async def test_files_that_are_kept_from_the_server(german: German) -> None:
    """As they are by a disk that is mounted read-only after an error, or a volume that belongs to somebody else."""
    wanted = desired(f"f{next(_names)}", create_database=False)
    german.server.execute(f"CREATE DATABASE {wanted.database}")
    ((path,),) = german.server.execute(f"SELECT 'base/' || oid FROM pg_database WHERE datname = '{wanted.database}'")
    folder, said = german.server.data_path / path, []
    admin = AdminConnection(
        german.host, german.port, german.server.superuser, Password(german.server.password), None, SSLMode.DISABLE
    )
    try:
        async with await Session.open(admin, wanted.database, OPEN) as session:
            folder.chmod(0o500)
            said.append(classify(await error_of(session, "CREATE TABLE nothing ()"), Attempt(wanted.database, "admin")))
        folder.chmod(0)
        with pytest.raises(Failure) as caught:
            await Session.open(admin, wanted.database, OPEN)
        said.append(caught.value)
    finally:
        folder.chmod(0o700)
    for failure in said:
        assert (failure.reason, failure.sqlstate) == (Reason.UNKNOWN, "42501")
        assert "keeps the server from its own files" in failure.message


async def test_a_deletion_that_was_interrupted_goes_on(german: German) -> None:
    """The database is closed then: what the server says of that is all that tells it from one that is starting."""
    admin, wanted = new_admin(german), desired(f"i{next(_names)}")
    before = footprint(german.server, "postgres")
    await admin.run(wanted)
    close(german, wanted)
    assert await admin.remove(wanted)
    assert changed(before, footprint(german.server, "postgres")) == {}


async def test_a_session_that_nobody_but_a_superuser_may_end_delays_a_deletion(german: German) -> None:
    admin, wanted = new_admin(german), desired(f"s{next(_names)}")
    await admin.run(wanted)
    with psycopg.connect(german.server.admin_url(wanted.database)):
        with pytest.raises(Failure) as waiting:
            await admin.remove(wanted)
        assert waiting.value.reason is Reason.LOCK_TIMEOUT
        assert "may not end is connected" in waiting.value.message
    async with asyncio.timeout(20):
        while True:
            try:
                await admin.remove(wanted)
                return
            except Failure as failure:
                # The superuser's session is still on its way out.
                assert failure.reason is Reason.LOCK_TIMEOUT


def close(german: German, wanted: Storage) -> None:
    """Leave the storage as a removal does that ended after it had looked inside."""
    ((comment,),) = german.server.execute(
        "SELECT description FROM pg_shdescription WHERE objoid = %s::regrole", [f'"{wanted.owner}"']
    )
    closing = comment.replace('"created":[', f'"created":["{CLOSING}",')
    assert closing != comment
    german.server.execute(f"COMMENT ON ROLE \"{wanted.owner}\" IS '{closing}'")
    german.server.execute(f'ALTER DATABASE "{wanted.database}" ALLOW_CONNECTIONS false')


async def test_allow_falls_back_to_tls(certificate_authority: CertificateAuthority) -> None:
    """On a real German server alone: behind the translating proxy the server sees no TLS, so it asks for none."""
    hba = "hostssl all all 127.0.0.1/32 scram-sha-256\n"
    with speaking(NATIVE, hba=hba, tls=certificate_authority.server()) as german:
        admin = replace(new_admin(german).admin, ssl_mode=SSLMode.ALLOW)
        async with await Session.open(admin, "postgres", OPEN) as session:
            assert session.ssl_in_use
        with pytest.raises(Failure) as caught:
            await Session.open(replace(admin, password=Password("wrong")), "postgres", OPEN)
        assert caught.value.reason is Reason.AUTHENTICATION_FAILED
