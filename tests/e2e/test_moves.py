"""A storage that is renamed, moved to another namespace, or deleted and made again finds its data and its pods."""

import itertools
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest

from cipher_operator.api.names import default_user_name
from devcluster import ControlPlane, PostgresServer
from support.cluster import Namespace, wait_until
from support.two_clusters import Side, adopt, asked, gone, kept, marker, put, side, works

_numbers = itertools.count(1)
OLD = "2024"
"""A name that YAML takes for a number where a message does not quote it."""


@pytest.fixture(scope="module")
def one(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    running = side(cluster, tmp_path_factory.mktemp("operators"), "one")
    yield running
    running.operator.stop()


@pytest.fixture
def team(one: Side, server: PostgresServer) -> Namespace:
    return one.team(f"moves-{next(_numbers)}", server)


def spec(team: Namespace, user: str | None, **more: Any) -> dict[str, Any]:
    name = team.name.replace("-", "_")
    return {"database": {"name": name}, **({"user": {"name": f"{name}_{user}"}} if user else {}), **more}


@pytest.mark.parametrize("former", ["is deleted before", "is deleted after"])
@pytest.mark.parametrize("user", ["app", None], ids=["with its user name", "with default user names"])
@pytest.mark.parametrize("where", ["renamed", "to another namespace"])
def test_a_storage_is_handed_over(
    one: Side, team: Namespace, server: PostgresServer, where: str, user: str | None, former: str
) -> None:
    team.storage(OLD, spec(team, user))
    team.wait_ready(OLD)
    published = team.app_secret(OLD)["uri"]
    put(published, "k")
    if former == "is deleted before":
        gone(team, OLD)
    new, name = (team, "talk") if where == "renamed" else (one.team(f"{team.name}-new", server), OLD)
    new.storage(name, spec(team, user))
    new.wait_reason(name, "Conflict")
    adopt(new, name)
    new.wait_ready(name)
    if former == "is deleted after":
        asked(team, OLD, "1")
        assert team.condition(OLD)["reason"] == "Conflict"
        gone(team, OLD)
    asked(new, name, "1")
    assert new.condition(name)["status"] == "True"
    assert kept(new.app_secret(name)["uri"]) == ["k"]
    assert works(published), "it may log in until the next change, whatever it may read"
    if user is not None:
        assert kept(published) == ["k"], "with the same user name its pods go on"
    new.patch(name, {"spec": {"adoptFrom": None}})
    new.wait_ready(name)


def collect(team: Namespace, secret: str) -> None:
    """Delete the Secret of a storage that is gone, unless the garbage collector was faster."""
    try:
        team.delete("secrets", secret)
    except HTTPError as error:
        assert error.code == 404


@pytest.mark.parametrize("interval", ["10s", "0s"], ids=["checked every 10 s", "without an interval"])
def test_deleted_and_made_again_spares_the_login_published_before(
    team: Namespace, server: PostgresServer, interval: str
) -> None:
    wanted, user = spec(team, None, interval=interval), default_user_name(team.name, "chat")
    team.storage("chat", wanted)
    team.wait_ready("chat")
    published = [team.app_secret("chat")["uri"]]
    put(published[0], "k")
    for number in range(3):
        gone(team, "chat")
        collect(team, "chat-cipher")
        team.storage("chat", wanted)
        team.wait_ready("chat")
        secret = team.app_secret("chat")
        published.append(secret["uri"])
        token = "login_b" if secret["username"].endswith("_b") else "login"
        wait_until(
            lambda: ((found := marker(server, user)) and (found.published or "login")) == token,  # noqa: B023
            "the marker says which login is published, whatever the interval",
            8,
        )
        assert published[-1] != published[-2]
        assert kept(published[-1]) == ["k"]
        assert works(published[-2]), f"number {number}: pods that run keep their login"
    asked(team, "chat", "1", "revokePrevious")
    assert not works(published[-2])
    assert works(published[-1])
