"""Passwords change under a running app: it sees nothing of a rotation, nor of an operator that dies in one."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from devcluster import ControlPlane, PostgresServer
from devcluster.faults import FaultProxy
from support.cluster import AT_ONCE, Namespace, Operator, wait_until
from support.pooled_app import MOUNT_DELAY, PooledApp

RESTART = re.compile(
    r"terminating connection|starting up|shutting down|not yet accepting|Connection refused|server closed|"
    r"consuming input failed|Connection reset|connection is (closed|lost)|unexpected eof|could not receive"
)
"""What a client is told because the server restarts."""


def ready_storage(namespace: Namespace, server: PostgresServer, port: int, **spec: Any) -> str:
    """Make a storage that the operator reaches through `port` and the app directly; return its database."""
    database = namespace.name.replace("-", "_")
    url = server.admin_url(sslmode="disable").replace(f":{server.port}/", f":{port}/")
    namespace.secret("pg-admin", {"CIPHER_PG_URL": url})
    app = {"host": server.host, "port": server.port}
    namespace.storage("chat", {"database": {"name": database}, "app": app, **spec})
    namespace.wait_ready("chat", 120)
    return database


def handled(namespace: Namespace, value: str) -> bool:
    return namespace.handled("chat").get("rotate") == value


def rotate(namespace: Namespace, value: str, timeout: float = 40) -> None:
    namespace.annotate("chat", "rotate-requested-at", value)
    wait_until(lambda: handled(namespace, value), f"rotation {value} is handled", timeout)


def proven(namespace: Namespace, app: PooledApp) -> None:
    """Fail unless the published login works, and the app went on with it."""
    secret = namespace.app_secret("chat")
    wait_until(lambda: app.passwords[-1] == secret["password"], "the app has the Secret as it is now")
    with psycopg.connect(secret["uri"]) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (
            secret["username"].removesuffix("_b") + "_owner",
        )
    before = app.requests
    wait_until(lambda: app.requests > before + 20, "the app works on")


def test_three_rotations_and_a_restart_under_load(namespace: Namespace, postgres_server: Any) -> None:
    server: PostgresServer = postgres_server(16)
    ready_storage(namespace, server, server.port)
    with PooledApp(namespace, "chat-cipher") as app:
        wait_until(lambda: app.requests > 50, "the app is warm")
        rotate(namespace, "1")
        time.sleep(MOUNT_DELAY + 1)
        # In the midst of the second rotation, so that the operator meets the restart too.
        namespace.annotate("chat", "rotate-requested-at", "2")
        began = time.monotonic()
        server.restart()
        ended = time.monotonic()
        wait_until(lambda: handled(namespace, "2"), "the second rotation is handled", 120)
        time.sleep(MOUNT_DELAY + 1)
        rotate(namespace, "3")
        time.sleep(MOUNT_DELAY + 1)
        proven(namespace, app)
    print(
        f"rotation under load: {app.requests} requests, {app.opened} connections, {len(app.errors)} errors, "
        f"restart {ended - began:.2f} s, passwords {len(app.passwords)}"
    )
    assert len(app.passwords) == 4, "each request rotates once"
    # A connection that was open before hears of the restart when it is used next.
    within = [each for each in app.errors if began <= each.at <= ended + 1 or each.since < ended <= each.at]
    own = [each for each in app.errors if each not in within or not RESTART.search(each.text)]
    assert own == []


@pytest.fixture
def mortal(cluster: ControlPlane, tmp_path: Path, operator: Operator) -> Iterator[Operator]:
    """An operator that may be killed. The module's own rests meanwhile: two would share the work."""
    operator.stop()
    running = Operator(cluster, tmp_path, "--interval", "10s").start()
    yield running
    running.stop()
    operator.start()


def kill(operator: Operator) -> None:
    os.kill(operator.pid, signal.SIGKILL)
    wait_until(lambda: operator.returncode is not None, "the operator is dead")


@pytest.fixture
def slow(fault_proxy: Callable[..., FaultProxy]) -> Callable[[PostgresServer], FaultProxy]:
    """A way to the server that makes each step of the operator last long enough to be killed in it."""
    return lambda server: fault_proxy(server.port, latency=0.05)


def password_set(server: PostgresServer) -> bool:
    """Return whether a password was set since the log's mark."""
    return re.search(r"(CREATE|ALTER) ROLE[^;]* LOGIN PASSWORD", server.log_text()) is not None


KILLED = ("before anything", "when the password is set", "when the login is tested", "when publishing hangs")


@pytest.mark.parametrize("when", KILLED)
def test_killed_in_a_rotation(
    namespace: Namespace,
    cluster: ControlPlane,
    server: PostgresServer,
    slow: Callable[[PostgresServer], FaultProxy],
    mortal: Operator,
    when: str,
) -> None:
    ready_storage(namespace, server, slow(server).port)
    with PooledApp(namespace, "chat-cipher") as app:
        wait_until(lambda: app.requests > 50, "the app is warm")
        server.mark_log()
        second = namespace.app_secret("chat")["username"] + "_b"
        namespace.annotate("chat", "rotate-requested-at", "1")
        if when == "when the password is set":
            wait_until(lambda: password_set(server), "the password is set", pause=AT_ONCE)
        elif when == "when the login is tested":
            wait_until(lambda: server.connections_authorized(user=second), "the login is tested", pause=AT_ONCE)
        elif when == "when publishing hangs":
            wait_until(lambda: password_set(server), "the password is set", pause=AT_ONCE)
            cluster.freeze_apiserver()
            wait_until(lambda: server.connections_authorized(user=second), "the login is tested", pause=AT_ONCE)
            # Its session ends, and what comes next is the Secret.
            time.sleep(1)
        kill(mortal)
        cluster.thaw_apiserver()
        before = app.requests
        wait_until(lambda: app.requests > before + 50, "the app works on without an operator")
        assert app.errors == []
        mortal.start()
        wait_until(lambda: handled(namespace, "1"), "the rotation is handled", 120)
        namespace.wait_ready("chat", 120)
        proven(namespace, app)
    assert app.errors == []
    assert len(app.passwords) == 2, "the request rotates once, however often it is tried"


def test_killed_at_any_moment(
    namespace: Namespace,
    server: PostgresServer,
    slow: Callable[[PostgresServer], FaultProxy],
    mortal: Operator,
) -> None:
    ready_storage(namespace, server, slow(server).port)
    with PooledApp(namespace, "chat-cipher") as app:
        delays = (0.2, 0.6, 1.0, 1.4, 1.8, 2.4)
        for number, delay in enumerate(delays, 1):
            namespace.annotate("chat", "rotate-requested-at", str(number))
            time.sleep(delay)
            kill(mortal)
            mortal.start()
            wait_until(lambda: handled(namespace, str(number)), f"rotation {number} is handled", 120)  # noqa: B023
            time.sleep(MOUNT_DELAY + 0.5)
            proven(namespace, app)
    assert app.errors == []
    assert len(app.passwords) == 1 + len(delays)


def test_a_password_that_the_user_changes_counts_at_once_and_is_no_drift(
    namespace: Namespace, server: PostgresServer
) -> None:
    namespace.secret("mine", {"password": "the first"})
    ready_storage(namespace, server, server.port, user={"passwordSecretRef": {"name": "mine"}})
    old = namespace.app_secret("chat")
    namespace.secret("mine", {"password": "the second"})
    wait_until(lambda: "PasswordChanged" in namespace.events("chat"), "an event tells of it")
    assert "DriftHealed" not in namespace.events("chat"), "what was asked for is no drift"
    new = namespace.app_secret("chat")
    assert (new["username"], new["password"]) == (old["username"], "the second")
    psycopg.connect(new["uri"]).close()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(old["uri"])
