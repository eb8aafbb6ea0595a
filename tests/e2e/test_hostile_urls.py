"""Hostile URLs in Secrets of a real cluster, with the ranges blocked that are blocked by default."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cipher_operator.postgres.dial import DEFAULT_BLOCKED
from devcluster import ControlPlane, PostgresServer
from support.cluster import Namespace, Operator
from support.hostile import connection
from support.hostile_urls import MARK, REFUSED

SAMPLE = [value for rows in REFUSED.values() for _, value, _ in rows if len(value) < 10_000][::8]
"""Every eighth row of each kind; tests/core/test_hostile_urls.py tries them all without a cluster."""
SPELLINGS = [
    *("localhost", "127.1", "127.255.255.254", "0x7f.0.0.1", "0177.0.0.1", "2130706433", "0", "0.0.0.0"),
    *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
    *("169.254.169.254", "2852039166", "[::ffff:a9fe:a9fe]", "[fe80::1]"),
]


@pytest.fixture(scope="module")
def operator(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder: Path = tmp_path_factory.mktemp("operator")
    running = Operator(cluster, folder, "--blocked-ranges", DEFAULT_BLOCKED).start()
    yield running
    running.stop()


def _write(namespace: Namespace, name: str, data: dict[str, bytes]) -> None:
    """Create a Secret of any bytes and a storage that uses it."""
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    namespace.request("POST", namespace.path("secrets"), {"metadata": {"name": name}, "data": encoded})
    namespace.storage(name, {"connection": connection(name), "database": {"name": "app"}})


def _public(namespace: Namespace, operator: Operator) -> str:
    """Return what many may read: storages, events, and the operator's log."""
    storages = namespace.request("GET", namespace.path("cipherstorages"))["items"]
    events = namespace.request("GET", f"/apis/events.k8s.io/v1/namespaces/{namespace.name}/events")["items"]
    assert events, "refusals are told as events too"
    return json.dumps([[each["status"] for each in storages], [each["note"] for each in events]]) + operator.log()


def test_refused_urls_are_found_in_no_status_event_or_log(namespace: Namespace, operator: Operator) -> None:
    assert len(SAMPLE) > 45
    raw = [value if isinstance(value, bytes) else value.encode() for value in SAMPLE]
    for number, value in enumerate(raw):
        _write(namespace, f"s{number}", {"CIPHER_PG_URL": value})
    for number in range(len(raw)):
        namespace.wait_reason(f"s{number}", "InvalidURL", 120)
        assert namespace.condition(f"s{number}", "Stalled")["status"] == "True"
    # Whole words around the sentinel: the two letters alone may stand in a random name.
    hidden = {word.decode() for value in raw for word in re.findall(rb"[a-z]+%b[0-9]?" % MARK.encode(), value)}
    public = _public(namespace, operator)
    assert {"userzq1", "passzq2", "hostzq3", "dbzq4"} <= hidden
    assert not [word for word in hidden if word in public]


def test_no_spelling_of_a_blocked_address_is_dialled(
    namespace: Namespace, operator: Operator, server: PostgresServer
) -> None:
    server.mark_log()
    for number, host in enumerate(SPELLINGS):
        login = f"{server.superuser}:{server.password}"
        url = f"postgresql://{login}@{host}:{server.port}/postgres?sslmode=disable"
        _write(namespace, f"url{number}", {"CIPHER_PG_URL": url.encode()})
        parts = {"HOST": host, "PORT": str(server.port), "USER": server.superuser, "PASSWORD": server.password}
        data = {f"STORAGE_DATABASE_{key}": value.encode() for key, value in parts.items()}
        _write(namespace, f"keys{number}", data | {"STORAGE_DATABASE_SSL": b"false"})
    for number in range(len(SPELLINGS)):
        for way in ("url", "keys"):
            namespace.wait_reason(f"{way}{number}", "BlockedAddress", 120)
            message = namespace.condition(f"{way}{number}")["message"]
            assert "`--blocked-ranges none`" in message
    assert "connection received" not in server.log_text()
    server.execute("SELECT 1")
    assert "connection received" in server.log_text(), "the log would say so"
    public = _public(namespace, operator)
    assert server.password not in public
    assert not [host for host in SPELLINGS if len(host) > 10 and host.strip("[]") in public]
