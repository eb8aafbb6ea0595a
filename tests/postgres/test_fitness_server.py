"""Ready is never true while Cipher cannot work: standbys that commits wait for, triggers on login, collations."""

from collections.abc import Iterator

import pytest

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from devcluster import PostgresServer
from support.fitness import (
    MAJORS,
    Break,
    Refused,
    Servers,
    Warned,
    Works,
    damage,
    judge,
    look,
    majors_of,
    one_at_a_time,
)
from support.provision import desired, plain_admin, superuser

LOGIN = 'ALTER ROLE "{user}"'
AS_BY_DEFAULT = 'ALTER DATABASE "{db}" SET synchronous_commit = on'
"""Servers of tests do without."""
_names = iter(range(10_000))


def waits_for(names: str) -> tuple[str, ...]:
    return (
        f"ALTER SYSTEM SET synchronous_standby_names = '{names}'",
        "SELECT pg_reload_conf()",
        "SELECT pg_sleep(0.3)",
    )


NOBODY = ("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)")
# A statement's limit ends the wait, not the commit, which then counts here alone: Cipher only hangs.
HANGS = Refused(Reason.SERVER_NOT_READY, ("synchronous standby", "synchronous_standby_names"), cautious=True)


def on_login(when: str, body: str = "RAISE 'not in office hours';") -> tuple[str, ...]:
    return (
        f"CREATE FUNCTION others() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN IF {when} THEN {body} END IF; "
        "END $$",
        "CREATE EVENT TRIGGER audit ON login EXECUTE FUNCTION others()",
    )


SERVERS = {
    "standby-away": Break((AS_BY_DEFAULT, *waits_for("away")), HANGS, MAJORS, NOBODY),
    "one-of-two-away": Break((AS_BY_DEFAULT, *waits_for("ANY 2 (away, far)")), HANGS, (13, 18), NOBODY),
    "standby-away-and-the-login-does-not-wait": Break(
        (AS_BY_DEFAULT, f"{LOGIN} SET synchronous_commit = local", *waits_for("away")), Works(), (13, 18), NOBODY
    ),
    "login-trigger": Break(on_login("false"), Works(), (18,)),
    "login-trigger-that-keeps-pods-out": Break(
        on_login("session_user = '{user}'"),
        Refused(
            Reason.ACCESS_DENIED,
            ("published login `{user}`", "event trigger ON login of the database `{db}`", "not in office hours"),
        ),
        (18,),
    ),
    "login-trigger-whose-function-fails": Break(
        on_login("session_user = '{user}'", "PERFORM 1 FROM of_old;"),
        Refused(Reason.ACCESS_DENIED, ("event trigger ON login", 'relation "of_old" does not exist')),
        (18,),
    ),
    "login-trigger-that-keeps-the-operator-out": Break(
        on_login("session_user = '{admin}'"),
        Refused(Reason.ACCESS_DENIED, ("admin login `{admin}`", "event trigger ON login"), cautious=True),
        (18,),
    ),
    "collation-of-a-column": Break(
        (
            "CREATE COLLATION german (provider = icu, locale = 'de')",
            "ALTER TABLE cipher_store ALTER key TYPE text COLLATE german",
            "UPDATE pg_collation SET collversion = '1.1' WHERE collname = 'german'",
        ),
        Warned(("collation 'german' of table 'cipher_store'", "REINDEX TABLE", "REFRESH VERSION")),
        (13, 18),
    ),
    "collation-of-a-column-as-it-was": Break(
        (
            "CREATE COLLATION german (provider = icu, locale = 'de')",
            "ALTER TABLE cipher_store ALTER key TYPE text COLLATE german",
        ),
        Works(),
        (13, 18),
    ),
    # After an upgrade of ICU, for one. Nothing of Cipher's has it, so nobody opens it.
    "collation-of-no-column-that-cannot-be-opened": Break(
        (
            "CREATE COLLATION spoilt (provider = icu, locale = 'de')",
            "UPDATE pg_collation SET colliculocale = '@colStrength=bogus' WHERE collname = 'spoilt'",
        ),
        Works(),
    ),
}


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    yield from one_at_a_time()


@pytest.mark.parametrize(("major", "name"), majors_of(SERVERS))
async def test_what_others_do_to_the_server(servers: Servers, major: int, name: str) -> None:
    server, row = servers.get(major), SERVERS[name]
    admin, wanted = plain_admin(server, f"cloud_admin_{next(_names)}"), desired(f"t{next(_names)}")
    await admin.provision(wanted)
    damage(server, admin, wanted, row.sql)
    try:
        await judge(admin, wanted, row.then)
    finally:
        damage(server, admin, wanted, row.undo)


@pytest.mark.parametrize("stale", [True, False], ids=["another version", "as it was"])
@pytest.mark.parametrize("major", [15, 18])
async def test_the_collation_of_a_database(servers: Servers, major: int, stale: bool) -> None:
    server = servers.get(major)
    admin = plain_admin(server, f"cloud_admin_{next(_names)}")
    wanted = desired(f"t{next(_names)}", create_database=False)
    server.execute(
        f'CREATE DATABASE "{wanted.database}" OWNER "{admin.admin.user}" LOCALE_PROVIDER icu ICU_LOCALE \'en\' '
        "ENCODING 'UTF8' TEMPLATE template0"
    )
    await admin.provision(wanted)
    if not stale:
        await judge(admin, wanted, Works())
        return
    server.execute("UPDATE pg_database SET datcollversion = '1.1' WHERE datname = %s", [wanted.database])
    words = ("version 1.1 of its collation", "REINDEX DATABASE", "REFRESH COLLATION VERSION")
    await judge(admin, wanted, Warned(words))
    server.execute(f'ALTER DATABASE "{wanted.database}" REFRESH COLLATION VERSION', database=wanted.database)
    await judge(admin, wanted, Works())


@pytest.mark.parametrize("sees", [True, False], ids=["a superuser", "an admin who may not see standbys"])
async def test_standbys_that_are_there_are_waited_for(sees: bool) -> None:
    with PostgresServer(16, settings={"synchronous_commit": "on"}) as server:
        admin, wanted = superuser(server) if sees else plain_admin(server, "cloud_admin"), desired("chat")
        standby = server.standby()
        try:
            await admin.provision(wanted)
            damage(server, admin, wanted, waits_for("*"))
            await judge(admin, wanted, Works())
            damage(server, admin, wanted, waits_for("2 (*)"))
            await judge(admin, wanted, HANGS)
            damage(server, admin, wanted, waits_for("away"))
            # What a standby counts as, only who may see it knows.
            found = await look(admin, wanted)
            assert (found.failure is not None) is sees
            damage(server, admin, wanted, waits_for("*"))
            standby.stop()
            await judge(admin, wanted, HANGS)
        finally:
            standby.close()


async def test_a_new_storage_does_not_hang_on_a_standby_that_is_away() -> None:
    with PostgresServer(16, settings={"synchronous_commit": "on"}) as server:
        admin, wanted, postgres = plain_admin(server, "cloud_admin"), desired("chat"), desired("", database="postgres")
        damage(server, admin, postgres, waits_for("away"))
        with pytest.raises(Failure) as caught:
            await admin.run(wanted)
        damage(server, admin, postgres, NOBODY)
        assert (caught.value.reason, caught.value.stage) == (Reason.SERVER_NOT_READY, ConditionType.DATABASE_READY)
        assert server.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [wanted.owner]) == []
        await admin.provision(wanted)


@pytest.mark.parametrize(
    ("limit", "attributes", "warned"),
    [(3, "", True), (10, "", True), (20, "", False), (-1, "", False), (3, "SUPERUSER", False)],
    ids=["three", "what one Cipher opens, and the operator one", "enough", "none", "a superuser has no limit"],
)
async def test_the_limit_of_a_login_that_pods_share(
    servers: Servers, limit: int, attributes: str, warned: bool
) -> None:
    server, user = servers.get(16), f"shared_{next(_names)}"
    admin = plain_admin(server, user, f"{attributes} CONNECTION LIMIT {limit}")
    wanted = desired("x", user=user, shared=True, credential=None, database=f"db_{user}", create_database=False)
    server.execute(f'CREATE DATABASE "{wanted.database}" OWNER "{user}"')
    run = await admin.run(wanted)
    said = "; ".join(run.warnings)
    assert (f"login '{user}' has CONNECTION LIMIT {limit}" in said) is warned, said
    if warned:
        assert f'ALTER ROLE "{user}" CONNECTION LIMIT -1' in said
