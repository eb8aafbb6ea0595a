"""Things that go wrong for many at once, or for long. What goes wrong for one storage is in the failure table."""

import importlib.util
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cipher_operator.api.reasons import Reason
from devcluster import ControlPlane, PostgresServer
from support.cluster import PROMPT, Namespace, Operator
from support.failure_table import Record, Scene

SLOW = PROMPT
"""Seconds within which a fault must stand in the status, and a mend must show."""


def database_of(namespace: Namespace) -> str:
    return namespace.name.replace("-", "_")


def ready(namespace: Namespace, server: PostgresServer, spec: dict[str, Any] | None = None) -> str:
    namespace.admin_secret(server)
    namespace.storage("chat", {"database": {"name": database_of(namespace)}, **(spec or {})})
    namespace.wait_ready("chat")
    return database_of(namespace)


@pytest.fixture
def own_server(postgres_server: Any) -> PostgresServer:
    """A server of the test's own, to be broken."""
    started: PostgresServer = postgres_server(16)
    return started


def ask(namespace: Namespace, value: str) -> None:
    namespace.annotate("chat", "reconcile-requested-at", value)


def test_a_storage_without_checks_says_that_its_server_stays_down(
    namespace: Namespace, own_server: PostgresServer
) -> None:
    ready(namespace, own_server)
    namespace.storage("quiet", {"database": {"name": f"{database_of(namespace)}_quiet"}, "interval": "0s"})
    namespace.wait_ready("quiet")
    own_server.stop()
    ask(namespace, "stopped")
    namespace.wait_reason("quiet", "ConnectionRefused", 8 + SLOW)
    own_server.start()
    namespace.wait_ready("quiet", SLOW)


def test_a_dead_server_holds_up_its_own_storages_only(
    namespace: Namespace, own_server: PostgresServer, server: PostgresServer, record_property: Record
) -> None:
    namespace.admin_secret(own_server)
    names = [f"s{number}" for number in range(4)]
    for name in names:
        namespace.storage(name, {"database": {"name": f"{database_of(namespace)}_{name}"}})
    for name in names:
        namespace.wait_ready(name)
    own_server.stop()
    for name in names:
        namespace.annotate(name, "reconcile-requested-at", "stopped")
    for name in names:
        namespace.wait_reason(name, "ConnectionRefused", SLOW)
    namespace.admin_secret(server, "elsewhere")
    namespace.storage(
        "other",
        {"database": {"name": database_of(namespace)}, "connection": {"secretRef": {"name": "elsewhere"}}},
    )
    beside = namespace.wait_ready("other", SLOW)
    own_server.mark_log()
    own_server.start()
    began = time.monotonic()
    for name in names:
        namespace.wait_ready(name, SLOW)
    record_property("seconds_until_all_are_ready", round(time.monotonic() - began, 1))
    record_property("seconds_of_another_server_meanwhile", round(beside, 1))
    received = own_server.log_text().count("connection received")
    assert received <= 4 * len(names), "administrator, login test, and the probe that found it"


# what is done to the administrator, what its storages say, how often a storage may try within the time: first on
# request, then after 2, 4 and 8 seconds where it goes away by itself
STORMS = {
    "read_only": ("ALTER ROLE {} SET default_transaction_read_only = on", "ReadOnlyServer", 4),
    "limited": ("ALTER ROLE {} CONNECTION LIMIT 0", "TooManyConnections", 4),
    "locked_out": ("ALTER ROLE {} NOLOGIN", "AccessDenied", 1),
}
REFUSED = "refused"


def tries_of(server: PostgresServer, user: str) -> int:
    """Return how many logins of this user the server took or refused since the log was marked.

    A connection that is given up before it proves anything is none: keys did not fit, and the password comes next.
    """
    return len(set(re.findall(rf"\[(\d+)\] {user}@\S* (?:FATAL:|LOG:  connection authorized)", server.log_text())))


def connections_of(server: PostgresServer, user: str) -> int:
    """Return how many connections named this user, and were received, since the log was marked."""
    log = server.log_text()
    received = set(re.findall(r"\[(\d+)\] \S+ LOG:  connection received", log))
    return len(received & set(re.findall(rf"\[(\d+)\] {user}@", log)))


def test_no_error_becomes_a_storm(namespace: Namespace, own_server: PostgresServer, record_property: Record) -> None:
    admins = [*STORMS, REFUSED]
    for admin in admins:
        own_server.execute(f"CREATE ROLE {admin} LOGIN CREATEROLE CREATEDB PASSWORD 'w0rd'")
        namespace.admin_secret(own_server, admin.replace("_", "-"), user=admin, password="w0rd")
    storages = {f"{admin.replace('_', '-')}-{number}": admin for admin in admins for number in range(3)}
    for name, admin in storages.items():
        namespace.storage(
            name,
            {
                "connection": {"secretRef": {"name": admin.replace("_", "-")}},
                "database": {"name": name.replace("-", "_")},
                "interval": "1h",
            },
        )
    for name in storages:
        namespace.wait_ready(name)
    for admin, (statement, _, _) in STORMS.items():
        own_server.execute(statement.format(admin))
    own_server.execute(f"ALTER ROLE {REFUSED} PASSWORD 'changed'")
    own_server.mark_log()
    for name in storages:
        namespace.annotate(name, "reconcile-requested-at", "1")
    refused = [name for name, admin in storages.items() if admin == REFUSED]
    for name in refused:
        namespace.wait_reason(name, "AuthenticationFailed", SLOW)
    at_first = tries_of(own_server, REFUSED)
    # A refused password is one verdict for all: who asks again and again is told it, and the server is not asked.
    for number in range(2, 7):
        for name in refused:
            namespace.annotate(name, "reconcile-requested-at", str(number))
    time.sleep(8)
    tries = {admin: tries_of(own_server, admin) for admin in admins}
    record_property("tries_in_eight_seconds", tries)
    for name, admin in storages.items():
        expected = STORMS[admin][1] if admin in STORMS else "AuthenticationFailed"
        assert namespace.condition(name)["reason"] == expected
    for admin, (_, _, most) in STORMS.items():
        assert 3 <= tries[admin] <= 3 * most, tries
    assert 1 <= at_first <= 3, "those that were on their way when the password changed"
    assert tries[REFUSED] == at_first, "one try a minute from then on: no lockout"
    assert connections_of(own_server, REFUSED) <= 2 * at_first, "keys that fit no more, then the password"


@pytest.fixture
def short_deadline(operator: Operator) -> Iterator[None]:
    operator.stop()
    operator.start("--progress-deadline", "10s")
    yield
    operator.stop()
    operator.start()


def test_endless_retry_is_said_to_be_stalled(scene: Scene, short_deadline: None, record_property: Record) -> None:
    began = time.monotonic()
    scene.secret(user="n0body")
    scene.create()
    scene.namespace.wait_reason(scene.name, "AuthenticationFailed", SLOW)
    assert scene.namespace.condition(scene.name, "Reconciling")["status"] == "True"
    # A try is what tells; a wrong password has one a minute, a request asks for one now.
    while not (stalled := scene.namespace.condition(scene.name, "Stalled")):
        assert time.monotonic() - began < 10 + SLOW
        scene.ask()
        time.sleep(1)
    to_status = time.monotonic() - began
    assert (stalled["status"], stalled["reason"]) == ("True", "ProgressDeadlineExceeded")
    assert "still trying" in stalled["message"]
    assert "Correct user and password" in stalled["message"]
    assert scene.namespace.condition(scene.name)["reason"] == "AuthenticationFailed", "Ready keeps the cause"
    assert scene.namespace.condition(scene.name, "Reconciling") == {}
    began = time.monotonic()
    scene.secret()
    scene.namespace.wait_ready(scene.name, SLOW)
    assert scene.namespace.condition(scene.name, "Stalled") == {}
    to_ready = time.monotonic() - began
    record_property("failure", ["deadline", "ProgressDeadlineExceeded", round(to_status, 1), round(to_ready, 1)])


def test_every_reason_is_in_the_table() -> None:
    # Above, of Observe mode, in tests/reconcile/test_builds.py, in tests/postgres/test_unsupported_servers.py, in
    # tests/identity, and of tenants in tests/reconcile/test_tenants.py.
    reasons = {Reason.PROGRESS_DEADLINE_EXCEEDED, Reason.CHANGES_PENDING, Reason.BUILDING_INDEX}
    reasons |= {Reason.UNSUPPORTED_SERVER, Reason.IDENTITY_UNAVAILABLE}
    reasons |= {Reason.SERVER_NOT_AVAILABLE, Reason.LIMIT_EXCEEDED}
    for path in Path(__file__).parent.glob("test_failure_table_*.py"):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        reasons |= {row.reason for row in module.row.rows.values()}
    assert reasons == {reason for reason in Reason if has_class(reason)}


def has_class(reason: Reason) -> bool:
    try:
        return reason.failure_class is not None
    except KeyError:
        return False


def test_a_trailing_newline_is_forgiven(namespace: Namespace, server: PostgresServer) -> None:
    namespace.secret("pg-admin", {"CIPHER_PG_URL": server.admin_url(sslmode="disable") + "\n"})
    namespace.storage("chat", {"database": {"name": database_of(namespace)}})
    namespace.wait_ready("chat")


def test_individual_parameters(namespace: Namespace, server: PostgresServer) -> None:
    namespace.secret(
        "pg-admin",
        {
            "STORAGE_DATABASE_HOST": server.host,
            "STORAGE_DATABASE_PORT": str(server.port),
            "STORAGE_DATABASE_NAME": database_of(namespace),
            "STORAGE_DATABASE_USER": server.superuser,
            "STORAGE_DATABASE_PASSWORD": server.password,
            "STORAGE_DATABASE_SSL": "false",
        },
    )
    namespace.storage("chat")
    namespace.wait_ready("chat")


def test_api_server_away_for_25_seconds(
    namespace: Namespace, cluster: ControlPlane, server: PostgresServer, operator: Operator
) -> None:
    namespace.admin_secret(server)
    for number in range(3):
        namespace.storage(f"s{number}", {"database": {"name": f"{database_of(namespace)}_{number}"}})
    cluster.stop_apiserver()
    time.sleep(25)
    cluster.start_apiserver()
    assert operator.returncode is None
    for number in range(3):
        namespace.wait_ready(f"s{number}")
    namespace.storage("after", {"database": {"name": f"{database_of(namespace)}_after"}})
    namespace.wait_ready("after")
    assert json.dumps(namespace.get("cipherstorages", "after"))
