"""`python -m benchmarks starvation`: how long a storage on a healthy server waits beside many on a silent one.

A silent server accepts TCP and says nothing: a frozen PostgreSQL, a paused pooler, a load balancer without back ends.
A mute one lets people in and answers no query.
"""

import argparse
import asyncio
import os
import signal
import statistics
import time

from benchmarks.measured import Stage, header, row, stage
from devcluster import FaultProxy, PostgresServer
from support.cluster import Namespace
from support.wire import WireProxy, message, read_message


class MuteServer(WireProxy):
    """Passes the login on to a real server, and swallows every query."""

    async def ask(
        self, reader: asyncio.StreamReader, ahead: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            kind, body = await read_message(reader)
            if kind != b"Q":
                ahead.write(message(kind, body))
                await ahead.drain()


def silent_storages(namespace: Namespace, server: PostgresServer, port: int, count: int, *, own_logins: bool) -> None:
    """Create `count` storages on the silent server, with one login for all or each with its own."""
    for number in range(count):
        secret = f"silent-{number if own_logins else 0}"
        if own_logins or number == 0:
            login = secret.replace("-", "_")
            server.execute(f"CREATE ROLE {login} LOGIN CREATEROLE CREATEDB PASSWORD 'pw'")
            url = f"postgresql://{login}:pw@127.0.0.1:{port}/postgres?sslmode=disable"
            body = {"metadata": {"name": secret}, "stringData": {"CIPHER_PG_URL": url}}
            namespace.request("POST", namespace.path("secrets"), body)
        spec = {"connection": {"secretRef": {"name": secret}}, "database": {"name": f"silent_{number}"}}
        namespace.storage(f"silent-{number}", spec)


def healthy(namespace: Namespace, options: argparse.Namespace) -> list[float | None]:
    """Return the seconds from apply to Ready of one storage after the other; None where it took too long."""
    seconds: list[float | None] = []
    for number in range(options.rounds):
        name = f"healthy-{number}"
        started = time.monotonic()
        namespace.storage(name, {"database": {"name": f"{namespace.name}_{number}"}})
        try:
            namespace.wait_ready(name, options.timeout)
            seconds.append(time.monotonic() - started)
        except AssertionError:
            seconds.append(None)
        time.sleep(options.pause)
    return seconds


def report(title: str, seconds: list[float | None], timeout: float) -> None:
    known = sorted(each for each in seconds if each is not None)
    late = f"{len(seconds) - len(known)} of {len(seconds)} not within {timeout:g} s"
    row(
        title,
        statistics.median(known) if known else "",
        known[-1] if known else "",
        late if len(known) < len(seconds) else "none",
    )


def beside(
    ground: Stage, server: PostgresServer, silent: FaultProxy | MuteServer, options: argparse.Namespace, *, own: bool
) -> None:
    """Print the rows of one kind of server and of logins."""
    crowd, alone, apart = (Namespace(ground.plane, name) for name in ("crowd", "alone", "apart"))
    for each in (crowd, alone, apart):
        each.admin_secret(server)
    operator = ground.operator().start()
    try:
        report("none: the healthy one alone", healthy(alone, options), options.timeout)
        silent_storages(crowd, server, silent.port, options.storages, own_logins=own)
        time.sleep(options.settle)
        what = "mute" if isinstance(silent, MuteServer) else "silent"
        many = f"{options.storages} on a {what} server, {'each its own login' if own else 'one login for all'}"
        for where, namespace in (("another namespace", apart), ("the same namespace", crowd)):
            report(f"{many}; healthy in {where}", healthy(namespace, options), options.timeout)
    finally:
        # The second signal does not wait for the runs under way.
        os.kill(operator.pid, signal.SIGTERM)
        time.sleep(0.5)
        operator.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks starvation", description=__doc__)
    parser.add_argument("--storages", type=int, default=200)
    parser.add_argument("--kinds", nargs="+", default=["silent", "mute"], choices=["silent", "mute"])
    parser.add_argument("--rounds", type=int, default=5, help="healthy storages, one after the other")
    parser.add_argument("--settle", type=float, default=15, help="seconds from the last silent storage to the first")
    parser.add_argument("--timeout", type=float, default=120, help="seconds a healthy storage may take")
    parser.add_argument("--pause", type=float, default=3, help="seconds between two healthy storages")
    options = parser.parse_args()
    header("beside", "apply to Ready, median s", "max s", "too late")
    for kind in options.kinds:
        for own in (False, True):
            # All anew for each: what is left of the first would go on waiting.
            with stage() as ground, PostgresServer(16) as server:
                wrong = FaultProxy(server.port, mode="black-hole") if kind == "silent" else MuteServer(server)
                with wrong as silent:
                    beside(ground, server, silent, options, own=own)
