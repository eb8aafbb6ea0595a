"""An administrator that has fewer rights than when it made a storage: what it lacks is said with the SQL that mends it,
before anything is tried, and that SQL is enough."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from cipher_operator.reconcile import prove
from devcluster import PostgresServer
from support.faulty_servers import remedy_sql
from support.runs import Runs
from support.scram import verifier

_names = iter(range(10_000))


@pytest.fixture(scope="module", params=[15, 16], ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with PostgresServer(request.param) as running:
        yield running


class World:
    """One storage, its administrator and its roles."""

    def __init__(self, server: PostgresServer) -> None:
        number = next(_names)
        self.runs = Runs(server, f"lesser_{number}", instance=f"instance-{number}")
        self.modern = server.installation.major >= 16
        self.database, self.admin = self.runs.database, self.login(f"admin_{number}")

    def login(self, name: str) -> str:
        self.runs.sql(f"CREATE ROLE {name} LOGIN CREATEROLE CREATEDB PASSWORD '{verifier('admin-pw', rounds=1)}'")
        self.runs.admin_secret(user=name, password="admin-pw")
        return name

    async def begin(self) -> None:
        """Have it Ready, with both logins."""
        await self.runs.ready(deletionPolicy="Delete")
        self.user = self.runs.secret()["username"]
        self.owner, self.logins = f"{self.user}_owner", (self.user, f"{self.user}_b")
        self.runs.ask("rotate")
        await self.runs.run()
        self.runs.seconds += 100
        await self.runs.run()
        assert self.runs.secret()["username"] == self.logins[1]

    def sql(self, *statements: str, database: str = "postgres") -> None:
        for statement in statements:
            self.runs.sql(statement, database)


@pytest.fixture
async def world(server: PostgresServer) -> AsyncIterator[World]:
    made = World(server)
    await made.begin()
    yield made
    await made.runs.close()


def without_createrole(world: World) -> None:
    world.sql(f"ALTER ROLE {world.admin} NOCREATEROLE")


def without_the_owner_role(world: World) -> None:
    """It may use it, and no more manage it."""
    world.sql(f'REVOKE "{world.owner}" FROM {world.admin} CASCADE')
    world.sql(f'GRANT "{world.owner}" TO {world.admin}', *(f'GRANT "{world.owner}" TO "{x}"' for x in world.logins))


def without_the_logins(world: World) -> None:
    world.sql(*(f'REVOKE "{login}" FROM {world.admin} CASCADE' for login in world.logins))


def another_admin(world: World) -> None:
    world.admin = world.login(f"{world.admin}_next")
    world.sql(f"GRANT CONNECT ON DATABASE {world.database} TO {world.admin}")


def not_inherited(world: World) -> None:
    """Another one, that has the ADMIN option by a group's, which it does not inherit."""
    another_admin(world)
    group, option = f"{world.admin}s", " WITH INHERIT FALSE" if world.modern else ""
    roles = ", ".join(f'"{role}"' for role in (world.owner, *world.logins))
    world.sql(f"CREATE ROLE {group}", f"GRANT {group} TO {world.admin}{option}")
    world.sql(f"GRANT {roles} TO {group} WITH ADMIN OPTION", f'GRANT "{world.owner}" TO {world.admin}')


TAKEN: tuple[Callable[[World], None], ...] = (
    without_createrole,
    without_the_owner_role,
    without_the_logins,
    another_admin,
    not_inherited,
)


def leave(world: World) -> None:
    """Somebody takes the published login out of the owner role, whoever put it in."""
    member, of = f"member = '\"{world.logins[1]}\"'::regrole", f"roleid = '\"{world.owner}\"'::regrole"
    for (grantor,) in world.runs.sql(f"SELECT grantor::regrole::text FROM pg_auth_members WHERE {of} AND {member}"):
        granted = f" GRANTED BY {grantor}" if world.modern else ""
        world.sql(f'REVOKE "{world.owner}" FROM "{world.logins[1]}"{granted}')


def another_password(world: World) -> None:
    world.sql(f"ALTER ROLE \"{world.logins[1]}\" PASSWORD '{verifier('other', rounds=1)}'")
    world.runs.ask("reconcile")


NEEDED: dict[str, Callable[[World], object]] = {
    "a rotation": lambda world: world.runs.ask("rotate", "2"),
    "revoking the former login": lambda world: world.runs.ask("revoke-previous"),
    "a login that left the owner role": leave,
    "a login that may not log in": lambda world: world.sql(f'ALTER ROLE "{world.logins[1]}" NOLOGIN'),
    "a login that has expired": lambda world: world.sql(f"ALTER ROLE \"{world.logins[1]}\" VALID UNTIL '2001-01-01'"),
    "a setting": lambda world: world.sql(f'ALTER ROLE "{world.logins[1]}" SET statement_timeout = 10'),
    "an owner role that may log in": lambda world: world.sql(f'ALTER ROLE "{world.owner}" LOGIN'),
    "another password": another_password,
    "a table that the login was given": lambda world: world.sql(
        f'ALTER TABLE cipher_store OWNER TO "{world.logins[1]}"', database=world.database
    ),
}


async def mended(world: World, done: Callable[[], bool], most: int = 6) -> None:
    """Run, and do what the message says, until it is done."""
    runs = world.runs
    for _ in range(most):
        following = await runs.run()
        runs.seconds += 61
        if done():
            return
        if "run:" not in runs.message():
            assert runs.says() == ("True", "Ready"), runs.message()
            continue
        assert runs.says() in {("True", "Ready"), ("False", "InsufficientPrivilege")}, runs.message()
        assert not following.failed, "what only a person can mend is not tried again and again"
        statement = remedy_sql(runs.message())
        runs.sql(statement, world.database if "TABLE" in statement else "postgres")
    raise AssertionError(runs.message())


@pytest.mark.parametrize("needed", NEEDED)
@pytest.mark.parametrize("taken", TAKEN)
async def test_what_it_lacks_is_said_and_mended(world: World, taken: Callable[[World], None], needed: str) -> None:
    runs = world.runs
    taken(world)
    NEEDED[needed](world)

    def rests() -> bool:
        return (
            runs.says() == ("True", "Ready") and "run:" not in runs.message() and not runs.counts.samples[-1].statements
        )

    await mended(world, rests)
    with runs.app() as app:
        app.execute("INSERT INTO cipher_store VALUES ('a', 'b', now(), now())")


@pytest.mark.parametrize("taken", TAKEN)
async def test_so_is_what_a_deletion_needs(world: World, taken: Callable[[World], None]) -> None:
    taken(world)
    world.runs.api.delete("cipherstorages", "chat")
    await mended(world, lambda: world.runs.api.read("cipherstorages", "chat") is None)
    assert world.runs.sql(f"SELECT FROM pg_roles WHERE rolname ~ '^{world.user}'") == []
    assert world.runs.sql(f"SELECT FROM pg_database WHERE datname = '{world.database}'") == []


@pytest.mark.parametrize("taken", TAKEN)
async def test_so_it_is_before_anything_needs_it(world: World, taken: Callable[[World], None]) -> None:
    runs = world.runs
    taken(world)
    await runs.run()
    if world.modern or taken is without_createrole:
        assert runs.says() == ("True", "Ready") or taken is another_admin, runs.message()
        runs.sql(remedy_sql(runs.message()))
        await runs.run()
    assert runs.says() == ("True", "Ready")
    assert "run:" not in runs.message()


async def test_a_password_that_could_not_be_set_again_is_set_by_a_later_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counted as set again, and the storage stayed refused for ever."""
    runs, test = world.runs, prove.test

    async def then_full(*given: object) -> object:
        refusal = await test(*given)  # type: ignore[arg-type]
        world.sql(f"ALTER ROLE {world.admin} CONNECTION LIMIT 0")
        return refusal

    another_password(world)
    monkeypatch.setattr(prove, "test", then_full)
    assert (await runs.run()).failed
    assert runs.says() == ("False", "TooManyConnections")
    monkeypatch.undo()
    world.sql(f"ALTER ROLE {world.admin} CONNECTION LIMIT -1")
    runs.seconds += 61
    await runs.run()
    assert runs.says() == ("True", "Ready"), runs.message()
    runs.app().close()
