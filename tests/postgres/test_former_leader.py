"""A leader of the same instance that was paused and goes on where it was: it changes nothing of what came after it."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import FailureClass, Reason
from cipher_operator.core.connection.password import Password
from cipher_operator.core.desired import other_login
from cipher_operator.core.orders import Credential
from devcluster import PostgresServer
from support.provision import Provisioner, Storage, desired, plain_admin, seen, snapshot, superuser
from support.sleepers import Sleeper

_names = iter(range(10_000))
FORMER, LATER, ROTATED = Password("of-the-former-leader"), Password("of-the-later-leader"), Password("rotated")


WORLDS = {"pg14-noinherit": 14, "pg16-createrole": 16, "pg18-superuser": 18}


@pytest.fixture(scope="module", params=WORLDS)
def world(request: pytest.FixtureRequest) -> Iterator[tuple[PostgresServer, str]]:
    with PostgresServer(WORLDS[request.param]) as running:
        yield running, request.param.split("-")[1]


@pytest.fixture(scope="module")
def server(world: tuple[PostgresServer, str]) -> PostgresServer:
    return world[0]


@pytest.fixture(scope="module")
def admin(world: tuple[PostgresServer, str]) -> Provisioner:
    server, kind = world
    if kind == "superuser":
        return superuser(server)
    return plain_admin(server, f"{kind}_admin", "CREATEROLE CREATEDB" + (" NOINHERIT" if kind == "noinherit" else ""))


def fresh(**changes: Any) -> Storage:
    return desired(f"leader{next(_names)}", **changes)


def rotating(wanted: Storage, password: Password) -> Storage:
    """Return the storage on its way to the other login, this one being published."""
    credential = Credential(other_login(wanted.user, wanted.login), password, change=True)
    return replace(wanted, established=True, published=wanted.login, credential=credential)


async def woken(former: Sleeper, work: asyncio.Task[Any]) -> Failure | None:
    """Wake the former leader and return why it stopped; None where it had nothing more to do."""
    former.awake.set()
    failure: Failure | None = (await work).failure
    return failure


def assert_it_gave_way(failure: Failure | None) -> None:
    assert failure is not None
    assert (failure.reason, failure.failure_class) == (Reason.UNKNOWN, FailureClass.TRANSIENT), failure.message
    assert "marker changed while the operator worked" in failure.message
    assert "next run" in failure.message


async def test_a_rotation_that_slept_after_its_look_sets_no_password(
    server: PostgresServer, admin: Provisioner
) -> None:
    wanted = fresh()
    await admin.run(wanted)
    former = Sleeper(admin.admin, before=1)
    work = asyncio.create_task(former.report(rotating(wanted, FORMER)))
    await former.asleep.wait()
    later = rotating(wanted, LATER)
    await admin.run(later)
    before = snapshot(server, wanted.database)
    assert_it_gave_way(await woken(former, work))
    assert snapshot(server, wanted.database) == before
    await admin.prove(later, LATER)
    await admin.prove(wanted)


FIRST_RUN = range(1, 8)
"""Messages of a first run behind its first look: roles, database, its grants, a look inside, and what stands there.
Whoever sleeps before that look has seen nothing that could bind it, but the Lease."""


@pytest.mark.parametrize("number", FIRST_RUN)
@pytest.mark.parametrize("then", ["the first password again", "a rotation"])
async def test_a_first_run_that_slept_leaves_what_came_after_it(
    server: PostgresServer, admin: Provisioner, number: int, then: str
) -> None:
    wanted = fresh(credential=Credential(None, FORMER, change=True))
    former = Sleeper(admin.admin, before=number)
    work = asyncio.create_task(former.report(wanted))
    asleep = asyncio.create_task(former.asleep.wait())
    await asyncio.wait({work, asleep}, return_when=asyncio.FIRST_COMPLETED)
    if not former.asleep.is_set():
        asleep.cancel()
        assert (await work).failure is None
        assert number >= 5, "a first run takes that many messages"
        return
    run = await admin.run(replace(wanted, credential=Credential(None, LATER, change=True)))
    later, password = wanted.following(run), LATER
    if then == "a rotation":
        later, password = rotating(later, ROTATED), ROTATED
        await admin.run(later)
    before = snapshot(server, wanted.database)
    failure = await woken(former, work)
    assert snapshot(server, wanted.database) == before
    if failure is not None:
        assert failure.failure_class is FailureClass.TRANSIENT, failure.message
    await admin.prove(later, password)
    rest = replace(later, established=True, credential=Credential(later.login, password))
    assert (await admin.run(rest)).executed == ()


async def test_what_a_run_saw_binds_the_one_that_sets_a_password_again(admin: Provisioner) -> None:
    wanted = fresh()
    former = await admin.run(wanted)
    later = rotating(wanted, LATER)
    rev = seen(await admin.run(later)).roles[wanted.owner].comment
    orders = replace(former.orders, credential=Credential(wanted.logins[1], FORMER, change=True), established=True)
    again = await admin.report(
        replace(wanted, credential=orders.credential, established=True, standing=orders.standing)
    )
    assert_it_gave_way(again.failure)
    assert again.executed == ()
    assert seen(again).roles[wanted.owner].comment == rev
    await admin.prove(later, LATER)


@pytest.mark.parametrize("place", ["a database of its own", "an existing database"])
@pytest.mark.parametrize("number", range(9))
async def test_a_deletion_that_slept_drops_nothing_that_came_after_it(
    server: PostgresServer, admin: Provisioner, number: int, place: str
) -> None:
    wanted = fresh()
    if place == "an existing database":
        server.execute(f'CREATE DATABASE "{wanted.database}" OWNER "{admin.admin.user}"')
    await admin.run(wanted)
    established = replace(wanted, established=True)
    former = Sleeper(admin.admin, before=number)
    work = asyncio.create_task(former.removal(established))
    asleep = asyncio.create_task(former.asleep.wait())
    await asyncio.wait({work, asleep}, return_when=asyncio.FIRST_COMPLETED)
    if not former.asleep.is_set():
        asleep.cancel()
        assert (await work).failure is None
        assert number >= 3, "a deletion takes that many messages"
        return
    await admin.remove(established)
    again = replace(wanted, identity=replace(wanted.identity, uid="made again"))
    await admin.run(again)
    with admin.app(again) as app:
        app.execute("INSERT INTO cipher_store VALUES ('k', 'of the new storage', now(), now())")
        before = snapshot(server, wanted.database)
        failure = await woken(former, work)
        if failure is not None:
            assert failure.failure_class is FailureClass.TRANSIENT, failure.message
        assert snapshot(server, wanted.database) == before
        assert app.execute("SELECT value FROM cipher_store").fetchall() == [("of the new storage",)]
    await admin.prove(again)
