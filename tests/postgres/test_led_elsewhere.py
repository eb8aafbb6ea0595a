"""The address leads to another server between two sessions of one run (a failover, a name with several addresses), or
to a standby that is behind: what was looked at on one server is not done on the other, and nothing is said to be gone
that the standby has not heard of."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import FailureClass, Reason
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from support.members import Members
from support.provision import Provisioner, Storage, desired, snapshot, superuser

OTHERS = "CREATE TABLE others (id int); INSERT INTO others VALUES (1)"

_numbers = itertools.count()


@dataclass
class Led(Provisioner):
    """The first sessions go to these servers, one each, and all later ones to the last of them."""

    servers: tuple[PostgresServer, ...] = field(default=())

    @asynccontextmanager
    async def connect(self, database: str) -> AsyncIterator[Session]:
        server = self.servers[min(len(self.opened), len(self.servers) - 1)]
        self.opened.append(database)
        async with superuser(server).connect(database) as session:
            yield session


def led(*servers: PostgresServer) -> Led:
    return Led(superuser(servers[0]).admin, servers=servers)


@pytest.fixture(scope="module", params=[13, 16], ids=lambda major: f"pg{major}")
def primary(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with PostgresServer(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def members(primary: PostgresServer) -> Iterator[Members]:
    with primary.standby() as standby:
        yield Members(primary, standby)


@pytest.fixture
def copy(primary: PostgresServer) -> Iterator[PostgresServer]:
    """A standby of its own, to be promoted."""
    with primary.standby() as standby:
        yield standby


def fresh(**changes: object) -> Storage:
    return desired(f"led{next(_numbers)}", **changes)


async def promoted(primary: PostgresServer, standby: PostgresServer) -> None:
    await Members(primary, standby).level()
    standby.execute("SELECT pg_promote()")


def rows_of_others(server: PostgresServer, database: str) -> int:
    return int(server.execute("SELECT count(*) FROM others", database=database)[0][0])


async def test_a_database_that_nobody_looked_into_on_that_server_is_not_dropped(
    primary: PostgresServer, copy: PostgresServer
) -> None:
    """Its owner has moved the table away on the one, and the other has not heard of that."""
    wanted = fresh()
    await superuser(primary).run(wanted)
    wanted = replace(wanted, established=True)
    primary.execute(OTHERS, database=wanted.database)
    await promoted(primary, copy)
    primary.execute("DROP TABLE others", database=wanted.database)
    removal = await led(primary, copy).removal(wanted)
    assert rows_of_others(copy, wanted.database) == 1
    assert removal.failure is not None
    assert removal.failure.failure_class is FailureClass.TRANSIENT, removal.failure.message
    assert "another server" in removal.failure.message
    again = (await led(copy).removal(wanted)).failure
    assert again is not None
    assert again.reason is Reason.DELETION_BLOCKED, "the next try sees what is there"
    await superuser(primary).remove(wanted)


# how the storage is made, whether the database was there before
KINDS = {"dedicated": (False, False), "in a database of others": (False, True), "shared": (True, True)}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_deletion_at_a_standby_that_has_not_heard_of_the_storage_waits(members: Members, kind: str) -> None:
    shared, there = KINDS[kind]
    way_in = {"user": members.primary.superuser, "shared": True, "credential": None} if shared else {}
    wanted = fresh(**way_in)
    if there:
        members.primary.execute(f'CREATE DATABASE "{wanted.database}"')
        await members.level()
    async with members.paused():
        await superuser(members.primary).run(wanted)
        wanted = replace(wanted, established=True)
        removal = await led(members.standby).removal(wanted)
    assert removal.lines == ()
    assert removal.failure is not None, f"it ended with nothing dropped: {removal.kept}"
    assert removal.failure.reason is Reason.READ_ONLY_SERVER
    await members.level()
    assert await superuser(members.primary).remove(wanted), "all of it is still there to be dropped"


async def test_a_standby_that_has_not_heard_of_the_database_does_not_say_that_it_is_lost(members: Members) -> None:
    wanted = fresh()
    async with members.paused():
        await superuser(members.primary).run(wanted)
        wanted = replace(wanted, established=True)
        report = await led(members.standby).report(wanted)
    assert report.failure is not None
    assert report.failure.reason is Reason.READ_ONLY_SERVER, report.failure.message
    await members.level()
    assert (await superuser(members.primary).run(wanted)).executed == ()


async def test_a_server_that_takes_writes_still_says_that_it_is_lost(primary: PostgresServer) -> None:
    with pytest.raises(Failure) as lost:
        await superuser(primary).run(fresh(established=True))
    assert lost.value.reason is Reason.DATABASE_LOST


# what a run begins with, and on which of the two servers
BEGUN = {"made anew": False, "of a storage that was Ready": True}


@pytest.mark.parametrize("established", BEGUN.values(), ids=BEGUN)
async def test_a_run_that_is_led_elsewhere_behind_its_first_session_changes_nothing_of_others_there(
    primary: PostgresServer, copy: PostgresServer, established: bool
) -> None:
    """The other server has a database of that name, which is somebody else's."""
    wanted = fresh()
    await promoted(primary, copy)
    copy.execute(f'CREATE DATABASE "{wanted.database}"')
    copy.execute(f"{OTHERS}; CREATE TABLE cipher_store (key text)", database=wanted.database)
    if established:
        await superuser(primary).run(wanted)
        wanted = replace(wanted, established=True, recreate=True)
        primary.execute(f'DROP DATABASE "{wanted.database}"')
    before = snapshot(copy, wanted.database)
    report = await led(primary, copy).report(wanted)
    assert report.failure is not None
    assert "another server answers" in report.failure.message, report.failure.message
    assert snapshot(copy, wanted.database) == before
    assert rows_of_others(copy, wanted.database) == 1


@pytest.mark.parametrize("deletion", [False, True], ids=["made", "deleted"])
async def test_a_database_that_one_of_two_servers_lacks_is_not_said_to_be_a_poolers_matter_alone(
    members: Members, deletion: bool
) -> None:
    wanted = fresh()
    async with members.paused():
        await superuser(members.primary).run(wanted)
        if deletion:
            failure = (await led(members.standby, members.primary).removal(wanted)).failure
        else:
            failure = (await led(members.primary, members.standby, members.primary).report(wanted)).failure
    assert failure is not None
    assert failure.reason is Reason.DATABASE_MISSING
    assert "or another server behind the same host name" in failure.message, failure.message
    assert "`spec.database.create" not in failure.message, "it is there"
