"""A server that goes down with many storages is two lines in the log. An operator of its own, with nobody beside it."""

import json
import time
from pathlib import Path
from typing import Any

from devcluster import ControlPlane, PostgresServer
from support.cluster import PATIENCE, Namespace, Operator, wait_until

MANY = 50
REFUSED = "ConnectionRefused"
OUTAGE_SECONDS = 25.0
"""Longer than it takes until all storages of a server are told, and several probes."""


def lines(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def test_a_server_that_goes_down_with_fifty_storages_is_one_line_and_another_when_it_is_back(
    cluster: ControlPlane, tmp_path: Path
) -> None:
    namespace = Namespace(cluster, "eyes")
    operator = Operator(cluster, tmp_path, "--interval", "10s", "--namespace", "eyes", "--instance-id", "eyes").start()
    try:
        with PostgresServer(16) as server:
            server.execute("CREATE DATABASE eyes TEMPLATE template0")
            namespace.admin_secret(server)
            names = [f"chat-{number}" for number in range(MANY)]
            for number, name in enumerate(names):
                own = f"own_{number}"
                namespace.storage(name, {"database": {"name": "eyes"}, "schema": own, "user": {"name": own}})
            for name in names:
                namespace.wait_ready(name, PATIENCE)
            before = len(lines(operator.log()))
            server.stop("immediate")
            for name in names:
                namespace.wait_reason(name, REFUSED, PATIENCE)
            heard = len(lines(operator.log()))
            time.sleep(OUTAGE_SECONDS)
            meanwhile = lines(operator.log())[heard:]
            server.start()
            for name in names:
                namespace.wait_ready(name, PATIENCE)
            wait_until(lambda: "answers again" in operator.log(), "the end of the outage is said")
            told = lines(operator.log())[before:]
    finally:
        namespace.let_go()
        operator.stop()
    begins = [line for line in told if "does not answer" in line["message"]]
    ends = [line for line in told if "answers again" in line["message"]]
    assert (len(begins), len(ends)) == (1, 1), [line["message"] for line in begins + ends]
    assert begins[0]["level"] == "warning" and ends[0]["level"] == "info"
    assert [line for line in meanwhile if line["level"] == "warning"] == [], "it is known by now"
    # Who was at work when it went down says so; those who only heard of it do not.
    refused = {line["storage"] for line in told if line["level"] == "warning" and line.get("reason") == REFUSED}
    assert len(refused) <= MANY / 2, refused
