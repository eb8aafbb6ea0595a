"""pg_upgrade from 13, 14 and 15 to 16 and 18, under an administrator that is no superuser: it goes on managing the
roles that it made, which takes the ADMIN option from 16 on."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.connection.password import Password
from cipher_operator.core.desired import other_login
from cipher_operator.core.orders import Credential
from devcluster import PostgresServer
from devcluster.longrun import SetupError
from devcluster.postgres_programs import find_upgrade_programs
from support.major_upgrade import upgraded
from support.majors import EVERY, majors
from support.provision import APP_PASSWORD, CIPHER_START, Provisioner, Storage, desired, plain_admin

SOME = ((13, 18), (14, 16), (15, 16))
PATHS = [(old, new) for old in (13, 14, 15) for new in (16, 18)] if majors() == EVERY else SOME
ADMINS = {"createrole": "CREATEROLE CREATEDB", "noinherit": "CREATEROLE CREATEDB NOINHERIT"}
LIVES = ("rotated", "drifted", "deleted", "deleted in a database of others")
OLDER = ("drifted", "deleted")
"""Made by an operator that gave itself no ADMIN option, and looked at once by this one before the upgrade."""
LAST = "never looked at again"
GIVEN = re.compile(r'GRANT "[^"]*" TO "[^"]*_admin" WITH ADMIN OPTION;')


@dataclass(frozen=True)
class World:
    """A server after its upgrade, with the storages and the way in of one kind of administrator."""

    server: PostgresServer
    admin: Provisioner
    storages: dict[str, Storage]


@pytest.fixture(scope="module", params=PATHS, ids=lambda path: f"pg{path[0]}-to-{path[1]}")
def worlds(request: pytest.FixtureRequest) -> Iterator[dict[str, World]]:
    before, after = request.param
    try:
        find_upgrade_programs(16)
        find_upgrade_programs(after)
    except SetupError as error:
        pytest.skip(str(error))
    with PostgresServer(before) as old:
        admins = {kind: plain_admin(old, f"{kind}_admin", attributes) for kind, attributes in ADMINS.items()}
        old.execute("CREATE DATABASE theirs")
        old.execute("GRANT ALL ON DATABASE theirs TO createrole_admin, noinherit_admin WITH GRANT OPTION")
        storages = {kind: asyncio.run(_made(old, kind, admin)) for kind, admin in admins.items()}
        with upgraded(old, after) as new:
            ways = {kind: Provisioner(replace(admin.admin, port=new.port)) for kind, admin in admins.items()}
            yield {kind: World(new, ways[kind], storages[kind]) for kind in ADMINS}


async def _made(server: PostgresServer, kind: str, admin: Provisioner) -> dict[str, Storage]:
    made: dict[str, Storage] = {}
    for number, life in enumerate((*LIVES, LAST)):
        wanted = desired(f"{kind}{number}")
        if life.endswith("others"):
            wanted = replace(wanted, database="theirs", schema=f"{kind}_schema")
        await admin.provision(wanted)
        with admin.app(wanted) as app:
            for statement in CIPHER_START:
                app.execute(statement)
        established = made[life] = replace(wanted, established=True)
        assert (await admin.run(established)).executed == ()
        if life in (*OLDER, LAST):
            server.execute(f'REVOKE ADMIN OPTION FOR "{wanted.owner}", "{wanted.user}" FROM "{admin.admin.user}"')
        if life in OLDER:
            healed = await admin.run(established)
            assert len(healed.executed) == 2
            assert all(map(GIVEN.fullmatch, healed.executed)), healed.executed
            assert (await admin.run(established)).executed == (), "once"
    return made


@pytest.fixture(params=ADMINS)
def world(worlds: dict[str, World], request: pytest.FixtureRequest) -> World:
    found: World = worlds[request.param]
    return found


async def settled(world: World, wanted: Storage) -> None:
    """Look after the upgrade: nothing is to be said, and at most a NOINHERIT admin's memberships become usable."""
    first = await world.admin.run(wanted)
    assert first.warnings == ()
    usable = re.compile(r'GRANT "[^"]*" TO "noinherit_admin" WITH INHERIT TRUE, SET TRUE;')
    assert all(map(usable.fullmatch, first.executed)), first.executed
    assert world.admin.admin.user == "noinherit_admin" or first.executed == ()
    assert (await world.admin.run(wanted)).executed == ()


async def rotate(admin: Provisioner, wanted: Storage, password: Password, *, revoke: bool = False) -> Storage:
    login = other_login(wanted.user, wanted.login)
    changing = Credential(login, password, change=True)
    new = replace(wanted, credential=changing, published=wanted.login, revoke_previous=revoke)
    await admin.run(new)
    await admin.prove(new, password)
    return replace(new, credential=Credential(login, password), revoke_previous=False)


async def gone(world: World, wanted: Storage) -> None:
    with world.admin.app(wanted, wanted.credential.password if wanted.credential else APP_PASSWORD):
        assert await world.admin.remove(wanted)
    left = (
        "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %(user)s) UNION ALL "
        "SELECT datname FROM pg_database WHERE starts_with(datname, %(db)s) AND datname <> 'theirs' UNION ALL "
        "SELECT nspname FROM pg_namespace WHERE nspname = %(schema)s AND nspname <> 'public'"
    )
    names = {"user": wanted.user, "db": wanted.database, "schema": wanted.schema}
    where = "theirs" if wanted.database == "theirs" else "postgres"
    assert world.server.execute(left, names, database=where) == []


async def test_rotations_go_on(world: World) -> None:
    wanted = world.storages["rotated"]
    await settled(world, wanted)
    second = await rotate(world.admin, wanted, Password("a second login, made after the upgrade"))
    await world.admin.prove(wanted)
    first = await rotate(world.admin, second, Password("the first login again"), revoke=True)
    with pytest.raises(Failure):
        await world.admin.prove(second, Password("a second login, made after the upgrade"))
    assert (await world.admin.run(first)).executed == ()
    await gone(world, first)


DRIFT = (
    'ALTER ROLE "{user}" NOLOGIN',
    'ALTER ROLE "{user}" RESET role',
    'ALTER ROLE "{user}" IN DATABASE "{db}" SET search_path = elsewhere',
    'REVOKE "{owner}" FROM "{user}"',
    'ALTER ROLE "{owner}" LOGIN',
    "DROP TABLE cipher_lists",
    'REVOKE ALL ON DATABASE "{db}" FROM "{owner}"',
)


async def test_drift_is_healed(world: World) -> None:
    wanted = world.storages["drifted"]
    await settled(world, wanted)
    for drift in DRIFT:
        names = {"user": wanted.user, "owner": wanted.owner, "db": wanted.database}
        world.server.execute(drift.format(**names), database=wanted.database)
        assert (await world.admin.run(wanted)).executed, drift
        await world.admin.prove(wanted)
    assert (await world.admin.run(wanted)).executed == ()
    await gone(world, wanted)


@pytest.mark.parametrize("life", [life for life in LIVES if life.startswith("deleted")])
async def test_a_deletion_that_is_the_first_thing_leaves_nothing(world: World, life: str) -> None:
    await gone(world, world.storages[life])


async def test_what_was_not_prepared_says_the_lines_that_mend_it_before_anything_needs_them(world: World) -> None:
    wanted, admin = world.storages[LAST], world.admin
    roles = f'"{wanted.owner}", "{wanted.user}"'
    grant = f'GRANT {roles} TO "{admin.admin.user}" WITH ADMIN OPTION'
    if admin.admin.user != "noinherit_admin":
        # What that one needs at once, it is refused at once.
        assert any(grant in warning for warning in (await admin.run(wanted)).warnings)
    with pytest.raises(Failure) as refused:
        await rotate(admin, wanted, Password("too early"))
    assert refused.value.reason is Reason.INSUFFICIENT_PRIVILEGE
    assert f"run: {grant} (as" in refused.value.message
    world.server.execute(grant)
    await settled(world, wanted)
    await gone(world, await rotate(admin, wanted, Password("in time")))
