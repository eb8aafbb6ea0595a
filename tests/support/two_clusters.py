"""Two clusters on one PostgreSQL server: each with its own API server, its own operator process, and an instance id."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import yaml

from cipher_operator.core.marker import Marker, parse_marker
from devcluster import ControlPlane, PostgresServer
from support.cluster import PROMPT, Namespace, Operator, install, wait_until
from support.status_versions import recorded

PASSWORD = re.compile(r"(?:CREATE|ALTER) ROLE \S+ (?:LOGIN )?PASSWORD")
"""What sets a password, in a server's log with log_statement=all."""


@dataclass(frozen=True)
class Side:
    """One of the clusters."""

    plane: ControlPlane
    operator: Operator
    instance: str

    def team(self, name: str, server: PostgresServer, **secret: Any) -> Namespace:
        """Make a namespace that holds the administrator's Secret."""
        made = Namespace(self.plane, name)
        made.admin_secret(server, **secret)
        return made


@contextmanager
def two_clusters(first: ControlPlane, folder: Path) -> Iterator[tuple[Side, Side]]:
    """Start the second cluster and both operators; `first` is a cluster that has CRD and RBAC."""
    # No garbage is collected in the second: nothing that is tested there waits for it.
    with ControlPlane(controller_manager=False) as second:
        install(second)
        with recorded(second):
            sides = (side(first, folder, "first"), side(second, folder, "second"))
            try:
                yield sides
            finally:
                for each in sides:
                    each.operator.stop()


def side(plane: ControlPlane, folder: Path, instance: str) -> Side:
    """Start an operator with this instance id."""
    place = folder / instance
    place.mkdir()
    operator = Operator(plane, place, "--interval", "10s", "--instance-id", instance)
    return Side(plane, operator.start(), instance)


def offered(namespace: Namespace, name: str) -> dict[str, Any]:
    """Return the adoptFrom that a Conflict's message holds, as a person would paste it."""
    message = namespace.condition(name)["message"]
    found = re.search(r"`spec\.adoptFrom: (\{.*?\})`", message)
    assert found, message
    pasted = yaml.safe_load(found[1])
    assert isinstance(pasted, dict)
    return pasted


def adopt(namespace: Namespace, name: str, source: dict[str, Any] | None = None) -> None:
    """Paste what the message offers into the spec, or this."""
    namespace.patch(name, {"spec": {"adoptFrom": source or offered(namespace, name)}})


def asked(namespace: Namespace, name: str, value: str, request: str = "reconcile", timeout: float = PROMPT) -> None:
    """Ask for a look, or what else `request` names, and wait until it is handled."""
    annotation = re.sub("([A-Z])", r"-\1", request).lower()
    namespace.annotate(name, f"{annotation}-requested-at", value)
    wait_until(
        lambda: namespace.handled(name).get(request) == value,
        lambda: f"{request} {value} is handled; {name} says {namespace.condition(name)}",
        timeout,
    )


def gone(namespace: Namespace, name: str, timeout: float = PROMPT) -> None:
    """Delete a storage and wait until it is gone."""
    namespace.delete("cipherstorages", name)
    wait_until(
        lambda: namespace.get("cipherstorages", name) is None,
        lambda: f"{name} is gone; it says {namespace.condition(name)}",
        timeout,
    )


def marker(server: PostgresServer, user: str) -> Marker | None:
    """Return the marker of the storage of this user."""
    rows = server.execute(
        "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = %s", [f"{user}_owner"]
    )
    return parse_marker(rows[0][0]) if rows else None


def put(uri: str, key: str) -> None:
    """Write a row as the app."""
    with psycopg.connect(uri) as app:
        app.execute("INSERT INTO cipher_store VALUES (%s, 'kept', now(), now())", [key])


def kept(uri: str) -> list[str]:
    """Return the keys that the app finds."""
    with psycopg.connect(uri) as app:
        return [str(row[0]) for row in app.execute("SELECT key FROM cipher_store ORDER BY key").fetchall()]


def works(uri: str) -> bool:
    """Return whether a new connection of the app is let in."""
    try:
        psycopg.connect(uri, connect_timeout=10).close()
    except psycopg.OperationalError as error:
        assert "password authentication failed" in str(error) or "not permitted to log in" in str(error), error
        return False
    return True


@contextmanager
def frozen(operator: Operator) -> Iterator[None]:
    """Stop the clock of the operator's process."""
    os.kill(operator.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(operator.pid, signal.SIGCONT)
