"""Two operators in two clusters on one server: neither takes what is the other's, and what is handed over moves."""

import itertools
import re
import threading
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import psycopg
import pytest

from cipher_operator.api.names import default_user_name
from cipher_operator.core.schema import TABLE_NAMES
from devcluster import ControlPlane, PostgresServer
from support.cluster import Namespace, wait_until
from support.pooled_app import PooledApp
from support.provision import snapshot
from support.two_clusters import PASSWORD, Side, adopt, asked, gone, kept, marker, offered, put, two_clusters, works

_numbers = itertools.count(1)
DELETE = {"deletionPolicy": "Delete"}


@pytest.fixture(scope="module")
def sides(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    with two_clusters(cluster, tmp_path_factory.mktemp("operators")) as both:
        yield both


@pytest.fixture
def teams(sides: tuple[Side, Side], server: PostgresServer) -> Iterator[tuple[Namespace, Namespace]]:
    """A namespace of one name in both clusters; what it leaves is let go of."""
    name = f"shared-{next(_numbers)}"
    both = sides[0].team(name, server), sides[1].team(name, server)
    yield both
    for namespace in both:
        for storage in namespace.request("GET", namespace.path("cipherstorages"))["items"]:
            namespace.annotate(storage["metadata"]["name"], "force-delete", "true")
            namespace.delete("cipherstorages", storage["metadata"]["name"])


def wanted(namespace: Namespace, user: str | None = None, **spec: Any) -> dict[str, Any]:
    """Return a spec with a database of its own, the same in both clusters."""
    database = namespace.name.replace("-", "_")
    return {"database": {"name": database}, "interval": "10s", **({"user": {"name": user}} if user else {}), **spec}


def published_login(server: PostgresServer, namespace: Namespace) -> str | None:
    standing = marker(server, default_user_name(namespace.name, "chat"))
    return standing.published if standing else None


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first cluster first", "second cluster first"])
@pytest.mark.parametrize("user", ["same_user", None], ids=["a user name of their own", "default names"])
def test_the_later_says_conflict_and_writes_nothing(
    sides: tuple[Side, Side],
    teams: tuple[Namespace, Namespace],
    server: PostgresServer,
    user: str | None,
    order: tuple[int, int],
) -> None:
    early, late = teams[order[0]], teams[order[1]]
    spec = wanted(early, user and f"{user}_{early.name[7:]}", **DELETE)
    early.storage("chat", spec)
    early.wait_ready("chat")
    uri = early.app_secret("chat")["uri"]
    put(uri, "k")
    before = snapshot(server, spec["database"]["name"])
    late.storage("chat", spec)
    seconds = late.wait_reason("chat", "Conflict")
    assert late.condition("chat", "Stalled")["status"] == "True"
    assert offered(late, "chat") == {
        "instance": sides[order[0]].instance,
        "namespace": early.name,
        "name": "chat",
    }
    assert late.get("secrets", "chat-cipher") is None, "nothing is published"
    asked(late, "chat", "1")
    assert snapshot(server, spec["database"]["name"]) == before, "nothing is written"
    gone(late, "chat")
    assert snapshot(server, spec["database"]["name"]) == before, "nothing is dropped"
    asked(early, "chat", "1")
    assert (early.condition("chat")["status"], kept(uri)) == ("True", ["k"])
    print(f"two clusters: Conflict after {seconds:.2f} s")


def test_both_at_once_leave_one_owner(
    teams: tuple[Namespace, Namespace], server: PostgresServer, sides: tuple[Side, Side], moments: Random
) -> None:
    rounds, won = 10, [0, 0]
    server.mark_log()
    for number in range(rounds):
        name, database = f"race-{number}", f"{teams[0].name}_{number}".replace("-", "_")
        spec = {"database": {"name": database}, **DELETE}
        start = threading.Barrier(2)

        def apply(namespace: Namespace) -> None:
            start.wait()  # noqa: B023 - ends within the round
            # Else the quicker cluster always wins.
            time.sleep(moments.uniform(0, 0.08))
            namespace.storage(name, spec)  # noqa: B023

        threads = [threading.Thread(target=apply, args=(namespace,)) for namespace in teams]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        def reasons() -> list[str | None]:
            return [namespace.condition(name).get("reason") for namespace in teams]  # noqa: B023

        wait_until(lambda: sorted(map(str, reasons())) == ["Conflict", "Ready"], lambda: f"one wins: {reasons()}")
        winner, loser = sorted(teams, key=lambda team: team.condition(name)["reason"] != "Ready")
        won[teams.index(winner)] += 1
        secret = winner.app_secret(name)
        put(secret["uri"], "k")
        assert loser.get("secrets", f"{name}-cipher") is None
        standing = marker(server, default_user_name(winner.name, name))
        assert standing is not None
        assert standing.identity.instance == sides[teams.index(winner)].instance
        assert standing.created == {"database", "owner", "login", *TABLE_NAMES}
        before = snapshot(server, database)
        gone(loser, name)
        asked(winner, name, "1")
        assert snapshot(server, database) == before, "no half-made leftovers, and nothing of the winner's dropped"
        assert kept(secret["uri"]) == ["k"]
        gone(winner, name)
        rest = server.execute("SELECT 1 FROM pg_roles WHERE rolname LIKE %s", [f"{secret['username'][:-9]}%"])
        assert (rest, server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database])) == ([], [])
    races = len(re.findall(r"ERROR:  (?:role .* already exists|duplicate key|division by zero)", server.log_text()))
    print(f"two clusters at once: {rounds} rounds, won {won[0]} to {won[1]}, {races} met in a statement")


def test_a_storage_moves_to_the_other_cluster_under_its_pods(
    teams: tuple[Namespace, Namespace], server: PostgresServer
) -> None:
    old, new = teams
    spec = wanted(old, **DELETE)
    old.storage("chat", spec)
    old.wait_ready("chat")
    published = old.app_secret("chat")
    put(published["uri"], "moved")
    new.storage("chat", wanted(old))
    new.wait_reason("chat", "Conflict")
    with PooledApp(old, "chat-cipher") as pods:
        wait_until(lambda: pods.requests > 50, "the pods are warm")
        # From here on only one password is set: the new owner's first.
        server.mark_log()
        adopt(new, "chat")
        began = time.monotonic()
        new.wait_ready("chat")
        assert "moved" in kept(new.app_secret("chat")["uri"])
        old.wait_reason("chat", "Conflict")
        lost = time.monotonic() - began
        assert offered(old, "chat") == {"instance": "second", "namespace": new.name, "name": "chat"}
        assert len(PASSWORD.findall(server.log_text())) == 1
        wait_until(lambda: published_login(server, old) == "login_b", "the marker says which login is published")
        handed_over = snapshot(server, spec["database"]["name"])
        old.annotate("chat", "rotate-requested-at", "never")
        for number in range(6):
            asked(old, "chat", str(number))
            time.sleep(1.5)
            assert old.condition("chat")["reason"] == "Conflict"
        assert len(PASSWORD.findall(server.log_text())) == 1, "the loser never fights over the password"
        assert snapshot(server, spec["database"]["name"]) == handed_over
        before = pods.requests
        wait_until(lambda: pods.requests > before + 50, "the pods of the first cluster work on")
    assert pods.errors == []
    connection = psycopg.connect(published["uri"], autocommit=True)
    gone(old, "chat")
    assert snapshot(server, spec["database"]["name"]) == handed_over, "the loser's deletion drops nothing"
    assert works(published["uri"]), "until the next change of the password"
    asked(new, "chat", "1", "rotate")
    assert not works(published["uri"]), "the change goes to the login that is not published"
    connection.execute("SELECT count(*) FROM cipher_store")
    connection.close()
    assert works(new.app_secret("chat")["uri"])
    print(f"moved: the loser said so after {lost:.1f} s; {pods.requests} requests, {len(pods.errors)} errors")


def test_a_storage_that_moves_back_is_not_fought_over(
    sides: tuple[Side, Side], teams: tuple[Namespace, Namespace], server: PostgresServer
) -> None:
    first, second = teams
    spec = wanted(first)
    first.storage("chat", spec)
    first.wait_ready("chat")
    second.storage("chat", spec)
    second.wait_reason("chat", "Conflict")
    adopt(second, "chat")
    second.wait_ready("chat")
    first.wait_reason("chat", "Conflict")
    adopt(first, "chat")
    first.wait_ready("chat")
    second.wait_reason("chat", "Conflict")
    assert "remove that field and set it again" in second.condition("chat")["message"]
    uri = first.app_secret("chat")["uri"]
    server.mark_log()
    for number in range(3):
        for namespace, reason in ((second, "Conflict"), (first, "Ready")):
            asked(namespace, "chat", str(number))
            assert namespace.condition("chat")["reason"] == reason
    assert PASSWORD.findall(server.log_text()) == []
    assert works(uri)
    source = {"instance": sides[0].instance, "namespace": first.name, "name": "chat"}
    second.patch("chat", {"spec": {"adoptFrom": None}})
    wait_until(lambda: "adoptFrom" not in second.handled("chat"), "the request is forgotten")
    adopt(second, "chat", source)
    second.wait_ready("chat")
    first.wait_reason("chat", "Conflict")


def test_an_equal_instance_id_finds_its_storages_again(
    sides: tuple[Side, Side], teams: tuple[Namespace, Namespace], server: PostgresServer
) -> None:
    lost, rebuilt = teams
    spec = wanted(lost)
    lost.storage("chat", spec)
    lost.wait_ready("chat")
    published = lost.app_secret("chat")
    put(published["uri"], "k")
    sides[0].operator.stop()
    sides[1].operator.stop()
    try:
        sides[1].operator.start("--instance-id", sides[0].instance)
        rebuilt.storage("chat", spec)
        rebuilt.wait_ready("chat")
        assert kept(rebuilt.app_secret("chat")["uri"]) == ["k"]
        assert kept(published["uri"]) == ["k"], "pods that outlived their cluster go on"
    finally:
        sides[1].operator.stop()
        for side in sides:
            side.operator.start()
