"""kill -9 between any two steps: the next start ends what was begun, and the pods see nothing of it."""

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from random import Random

import pytest

from cipher_operator.core.schema import TABLE_NAMES
from devcluster import ControlPlane, PostgresServer
from devcluster.faults import FaultProxy
from support.cluster import Namespace, Operator, wait_until
from support.pooled_app import PooledApp
from support.provision import CIPHER_START
from support.two_clusters import Side, kept, marker, put, side

AT_ONCE = 4
"""Storages that are each met in another step by a kill."""
KILLS = pytest.mark.parametrize("kill", range(3), ids="round{}".format)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def mortal(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    running = side(cluster, tmp_path_factory.mktemp("operators"), "mortal")
    yield running
    running.operator.stop()


@pytest.fixture
def team(
    mortal: Side, server: PostgresServer, fault_proxy: Callable[..., FaultProxy]
) -> Iterator[Callable[[], Namespace]]:
    """Makes namespaces whose storages the operator reaches slowly enough to be killed in each step."""
    port = fault_proxy(server.port, latency=0.05).port
    made: list[Namespace] = []

    def make() -> Namespace:
        team = mortal.team(f"killed-{next(_numbers)}", server)
        url = server.admin_url(sslmode="disable").replace(f":{server.port}/", f":{port}/")
        team.secret("pg-admin", {"CIPHER_PG_URL": url})
        made.append(team)
        return team

    yield make
    for each in made:
        for storage in each.request("GET", each.path("cipherstorages"))["items"]:
            each.annotate(storage["metadata"]["name"], "force-delete", "true")
            each.delete("cipherstorages", storage["metadata"]["name"])


def killed_midway(operator: Operator, moments: Random, names: list[str], begin: Callable[[str], object]) -> None:
    """Begin with each storage at another time, kill the operator in the midst, and start it again."""
    for name in names:
        begin(name)
        time.sleep(moments.uniform(0.1, 0.4))
    time.sleep(moments.uniform(0, 0.6))
    os.kill(operator.pid, signal.SIGKILL)
    wait_until(lambda: operator.returncode is not None, "the operator is dead")
    operator.start()


def create(team: Namespace, server: PostgresServer, name: str, **spec: object) -> str:
    """Create a storage whose user has the name of its database, and return that."""
    database = f"{team.name}_{name}".replace("-", "_")
    given = {"database": {"name": database}, "app": {"host": server.host, "port": server.port}}
    team.storage(name, {**given, "user": {"name": database}, **spec})
    return database


@KILLS
def test_killed_in_a_first_provisioning(
    mortal: Side, team: Callable[[], Namespace], server: PostgresServer, moments: Random, kill: int
) -> None:
    here, names = team(), [f"s{number}" for number in range(AT_ONCE)]
    killed_midway(mortal.operator, moments, names, lambda name: create(here, server, name))
    for name in names:
        here.wait_ready(name, 120)
        put(here.app_secret(name)["uri"], "k")
        standing = marker(server, f"{here.name}_{name}".replace("-", "_"))
        assert standing is not None
        assert standing.created >= {"owner", "login", "database", *TABLE_NAMES}
    open_to_all = server.execute(
        "SELECT datname FROM pg_database WHERE datname LIKE %s AND (has_database_privilege('public', oid, 'CONNECT') "
        "OR datconnlimit <> -1)",
        [f"{here.name}_%".replace("-", "_")],
    )
    assert open_to_all == [], "what a crash cut off is made up for"


def by_hand(team: Namespace, server: PostgresServer, name: str) -> str:
    """Do what Cipher's own documentation tells people to do, and start the app once; return the Secret's name."""
    user = f"{team.name}_{name}".replace("-", "_")
    server.execute(f'CREATE DATABASE "{user}"')
    server.execute(f"CREATE USER \"{user}\" PASSWORD 'by-hand'")
    server.execute(f'GRANT ALL ON SCHEMA public TO "{user}"', database=user)
    for statement in CIPHER_START:
        server.execute(statement, database=user, user=user, password="by-hand")
    uri = server.admin_url(user, user=user, password="by-hand", sslmode="disable")
    team.secret(f"{name}-by-hand", {"password": "by-hand", "uri": uri})
    return f"{name}-by-hand"


@KILLS
def test_killed_in_an_adoption_under_live_pods(
    mortal: Side, team: Callable[[], Namespace], server: PostgresServer, moments: Random, kill: int
) -> None:
    here, names = team(), [f"s{number}" for number in range(AT_ONCE)]
    secrets = {name: by_hand(here, server, name) for name in names}

    def adopt(name: str) -> None:
        password = {"passwordSecretRef": {"name": secrets[name], "key": "password"}}
        user = {"name": f"{here.name}_{name}".replace("-", "_"), **password}
        create(here, server, name, user=user, adoptionPolicy="IfUnowned")

    with ExitStack() as stack:
        apps = [stack.enter_context(PooledApp(here, secret)) for secret in secrets.values()]
        wait_until(lambda: all(app.requests > 20 for app in apps), "the pods are warm")
        killed_midway(mortal.operator, moments, names, adopt)
        for name in names:
            here.wait_ready(name, 120)
        before = [app.requests for app in apps]
        wait_until(
            lambda: all(app.requests > one + 20 for app, one in zip(apps, before, strict=True)),
            "the pods work on",
        )
    assert [error for app in apps for error in app.errors] == []
    for name in names:
        user = f"{here.name}_{name}".replace("-", "_")
        owners = server.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'", database=user)
        assert owners == [(f"{user}_owner",)]
        assert here.app_secret(name)["password"] == "by-hand"
        assert "cipher:sessions:1" in kept(here.app_secret(name)["uri"])
        standing = marker(server, user)
        assert standing is not None
        assert standing.adopted == {"login", *TABLE_NAMES}
    print(f"{sum(app.requests for app in apps)} requests of the pods, 0 errors")


def everything(server: PostgresServer) -> list[tuple[object, ...]]:
    return server.execute(
        "SELECT 'database', datname, datacl::text FROM pg_database "
        "UNION ALL SELECT 'role', rolname, NULL FROM pg_roles ORDER BY 1, 2"
    )


@KILLS
def test_killed_in_a_deletion(
    mortal: Side, team: Callable[[], Namespace], server: PostgresServer, moments: Random, kill: int
) -> None:
    neighbour = team()
    create(neighbour, server, "neighbour")
    neighbour.wait_ready("neighbour", 120)
    put(neighbour.app_secret("neighbour")["uri"], "k")
    # Half of them in a database of others, where tables are dropped one by one.
    here, names = team(), [f"s{number}" for number in range(AT_ONCE)]
    server.execute(f'CREATE DATABASE "{here.name}"')
    server.execute("CREATE TABLE reports (id int)", database=here.name)
    before = everything(server)
    for number, name in enumerate(names):
        shared = {"database": {"name": here.name}, "schema": name} if number % 2 else {}
        create(here, server, name, deletionPolicy="Delete", **shared)
    for name in names:
        here.wait_ready(name, 120)
    killed_midway(mortal.operator, moments, names, lambda name: here.delete("cipherstorages", name))
    for name in names:
        wait_until(lambda: here.get("cipherstorages", name) is None, f"{name} is gone", 120)  # noqa: B023
    assert [line for line in everything(server) if line[1] != here.name] == [
        line for line in before if line[1] != here.name
    ]
    left = server.execute(
        "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)'",
        database=here.name,
    )
    assert left == [("public.reports",)], "everything is gone, and nothing foreign"
    assert kept(neighbour.app_secret("neighbour")["uri"]) == ["k"]
