"""A stopped operator that wakes up after another one took over changes nothing, wherever it was stopped."""

import itertools
import re
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from devcluster import ControlPlane, PostgresServer
from devcluster.faults import FaultProxy
from support.cluster import AT_ONCE, Namespace, wait_until
from support.provision import snapshot
from support.two_clusters import PASSWORD, Side, asked, frozen, kept, put, two_clusters, works

_numbers = itertools.count(1)
DOING = ("made", "rotated", "healed", "deleted") * 3


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    # DROP DATABASE waits for every session, even for one that is stopped in the midst of its authentication.
    with PostgresServer(16, settings={"log_statement": "all", "authentication_timeout": "5s"}) as running:
        yield running


@pytest.fixture(scope="module")
def sides(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    with two_clusters(cluster, tmp_path_factory.mktemp("operators")) as both:
        yield both


@pytest.fixture
def slow(server: PostgresServer, fault_proxy: Callable[..., FaultProxy]) -> FaultProxy:
    """The first operator's way to the server."""
    return fault_proxy(server.port)


@pytest.fixture
def teams(sides: tuple[Side, Side], server: PostgresServer, slow: FaultProxy) -> tuple[Namespace, Namespace]:
    name = f"fenced-{next(_numbers)}"
    url = server.admin_url(sslmode="disable").replace(f":{server.port}/", f":{slow.port}/")
    first = sides[0].team(name, server)
    first.secret("pg-admin", {"CIPHER_PG_URL": url})
    return first, sides[1].team(name, server)


def spec(team: Namespace, server: PostgresServer, name: str, **more: Any) -> dict[str, Any]:
    database = f"{team.name}_{name}".replace("-", "_")
    app = {"host": server.host, "port": server.port}
    return {"database": {"name": database}, "user": {"name": database}, "app": app, **more}


def take_over(team: Namespace, server: PostgresServer, name: str) -> None:
    source = {"instance": "first", "namespace": team.name, "name": name}
    team.storage(name, spec(team, server, name, adoptFrom=source))


def test_stopped_between_observing_and_setting_a_password(
    sides: tuple[Side, Side], teams: tuple[Namespace, Namespace], server: PostgresServer, slow: FaultProxy
) -> None:
    first, second = teams
    database = f"{first.name}_chat".replace("-", "_")
    first.storage("chat", spec(first, server, "chat"))
    first.wait_ready("chat")
    put(first.app_secret("chat")["uri"], "k")
    slow.latency = 0.3
    server.mark_log()
    first.annotate("chat", "rotate-requested-at", "1")
    wait_until(
        lambda: server.connections_authorized(user=server.superuser), "the first operator connects", pause=AT_ONCE
    )
    # The answer to its observation is on its way for two seconds: long enough to stop the one that waits for it.
    slow.latency = 2.0
    wait_until(lambda: "jsonb_build_object" in server.log_text(), "the first operator observes", pause=AT_ONCE)
    with frozen(sides[0].operator):
        slow.latency = 0.0
        assert PASSWORD.findall(server.log_text()) == []
        take_over(second, server, "chat")
        second.wait_ready("chat")
        asked(second, "chat", "1")
        taken = snapshot(server, database)
        server.mark_log()
    began = time.monotonic()
    first.wait_reason("chat", "Conflict")
    log = server.log_text()
    assert PASSWORD.findall(log), "it woke up with the password in its hands"
    assert "ERROR:  division by zero" in log, "and was stopped by the marker"
    assert snapshot(server, database) == taken
    assert kept(second.app_secret("chat")["uri"]) == ["k"]
    print(f"fenced: Conflict {time.monotonic() - began:.2f} s after it woke up")


def test_stopped_between_closing_a_database_and_dropping_it(
    sides: tuple[Side, Side], teams: tuple[Namespace, Namespace], server: PostgresServer, slow: FaultProxy
) -> None:
    first, second = teams
    database = f"{first.name}_chat".replace("-", "_")
    first.storage("chat", spec(first, server, "chat", deletionPolicy="Delete"))
    first.wait_ready("chat")
    slow.latency = 0.2
    server.mark_log()
    first.delete("cipherstorages", "chat")
    from_outside = "connection authorized: user=postgres database=postgres"
    wait_until(lambda: from_outside in server.log_text(), "the first operator has looked inside", pause=AT_ONCE)
    slow.latency = 2.0
    closing = "SELECT 1 FROM pg_database WHERE datname = %s AND NOT datallowconn"
    wait_until(lambda: server.execute(closing, [database]), "it closes the database", pause=AT_ONCE)
    with frozen(sides[0].operator):
        slow.latency = 0.0
        closed = state(server, database, inside=False)
        take_over(second, server, "chat")
        second.wait_reason("chat", "ServerNotReady")
        assert state(server, database, inside=False) == closed, "a database that is being dropped is not taken over"
    wait_until(lambda: first.get("cipherstorages", "chat") is None, "the deletion is finished", 120)
    asked(second, "chat", "1")
    second.wait_ready("chat")
    assert kept(second.app_secret("chat")["uri"]) == [], "it begins anew"


def state(server: PostgresServer, database: str, *, inside: bool = True) -> list[Any]:
    """Return the roles of one storage with passwords and markers, its database, and if asked its tables and rows."""
    roles = (
        "SELECT a.rolname, a.rolpassword, a.rolcanlogin, a.rolconnlimit, shobj_description(a.oid, 'pg_authid'), "
        "(SELECT array_agg(m.member::regrole::text ORDER BY 1) FROM pg_auth_members m WHERE m.roleid = a.oid) "
        "FROM pg_authid a WHERE a.rolname = ANY (%s) ORDER BY 1"
    )
    names = [database, f"{database}_b", f"{database}_owner"]
    outside = [
        server.execute(roles, [names]),
        server.execute("SELECT datdba, datacl::text, datallowconn FROM pg_database WHERE datname = %s", [database]),
    ]
    if not inside:
        return outside
    return [
        *outside,
        server.execute("SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public'", database=database),
        server.execute("SELECT key FROM cipher_store", database=database),
    ]


def begin(first: Namespace, server: PostgresServer, name: str, doing: str) -> None:
    if doing == "made":
        first.storage(name, spec(first, server, name))
    elif doing == "rotated":
        first.annotate(name, "rotate-requested-at", "1")
    elif doing == "healed":
        first.annotate(name, "reconcile-requested-at", "1")
    else:
        first.delete("cipherstorages", name)


@pytest.mark.parametrize("round_", range(2), ids="round{}".format)
def test_stopped_at_any_moment(
    sides: tuple[Side, Side],
    teams: tuple[Namespace, Namespace],
    server: PostgresServer,
    slow: FaultProxy,
    moments: Random,
    round_: int,
) -> None:
    first, second = teams
    names = {f"{doing}-{number}": doing for number, doing in enumerate(DOING)}
    databases = {name: f"{first.name}_{name}".replace("-", "_") for name in names}
    for name, doing in names.items():
        if doing != "made":
            policy = {"deletionPolicy": "Delete"} if doing == "deleted" else {}
            first.storage(name, spec(first, server, name, **policy))
    for name, doing in names.items():
        if doing != "made":
            first.wait_ready(name, 120)
            put(first.app_secret(name)["uri"], "k")
        if doing == "healed":
            server.execute("DROP TABLE cipher_lists", database=databases[name])
    slow.latency = 0.08
    server.mark_log()
    order = list(names.items())
    moments.shuffle(order)
    for name, doing in order:
        begin(first, server, name, doing)
        time.sleep(moments.uniform(0.02, 0.25))
    with frozen(sides[0].operator):
        time.sleep(0.3)  # What is on its way arrives.
        slow.latency = 0.0
        for name in names:
            take_over(second, server, name)

        def settled(name: str) -> bool:
            found = second.condition(name)
            return found.get("status") == "True" or found.get("reason") == "ServerNotReady"

        for name in names:
            wait_until(lambda: settled(name), lambda: f"{name} is settled: {second.condition(name)}", 120)  # noqa: B023
        taken = [name for name in names if second.condition(name)["status"] == "True"]
        closed = [name for name in names if name not in taken]
        assert all(names[name] == "deleted" for name in closed), "only a deletion that has begun is in the way"
        for name in taken:
            asked(second, name, "1")
        before = {name: state(server, databases[name]) for name in taken}
    for name, doing in names.items():
        if doing == "deleted":
            wait_until(lambda: first.get("cipherstorages", name) is None, f"{name} is gone", 120)  # noqa: B023
        else:
            first.wait_reason(name, "Conflict", 120)
    after = {name: state(server, databases[name]) for name in taken}
    assert after == before, "who woke up changed nothing"
    for name in taken:
        assert works(second.app_secret(name)["uri"])
        if names[name] in ("rotated", "healed"):
            assert kept(second.app_secret(name)["uri"]) == ["k"]
    for name in closed:
        asked(second, name, "2")
        second.wait_ready(name)
    fenced_off = len(re.findall("ERROR:  division by zero", server.log_text()))
    print(f"stopped {round_}: {len(taken)} taken over, {len(closed)} half deleted, {fenced_off} stopped by the marker")
