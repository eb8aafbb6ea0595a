"""`python -m benchmarks latency`: first provisioning and a steady-state check over a slow network, TLS and SCRAM.

A proxy delays every byte by half a round trip each way. Beside the operator's own run stands the same plan sent as
most tools send it: one statement at a time, each in its own round trip.
"""

import argparse
import asyncio
import itertools
import re
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from psycopg import sql

from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.password import Password
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from devcluster.faults import FaultProxy
from devcluster.tls import CertificateAuthority
from support.provision import Provisioner, admin_connection, desired

ADMIN = "cloud_admin"
_STATEMENT = re.compile(r"(?:[^;'\"]|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\")+")
"""A statement of a message: up to a semicolon outside quotes."""
_numbers = itertools.count()


@dataclass(frozen=True)
class Figures:
    """One run: seconds, round trips of all its connections together, connections."""

    seconds: float
    round_trips: int
    connections: int


class OneAtATime:
    """Sends every statement of a message by itself, in an explicit transaction where there are several."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.ssl_in_use, self.server_version = session.ssl_in_use, session.server_version

    @property
    def closed(self) -> bool:
        return self._session.closed

    async def execute(self, message: sql.Composable) -> list[list[tuple[Any, ...]]]:
        statements = [part.strip() for part in _STATEMENT.findall(message.as_string(None)) if part.strip()]
        if len(statements) > 1:
            statements = ["BEGIN", *statements, "COMMIT"]
        answers = [await self._session.execute(sql.SQL(cast(Any, each))) for each in statements]
        return [answer[-1] for answer in (answers[1:-1] if len(answers) > 1 else answers)]


class Naive(Provisioner):
    @asynccontextmanager
    async def connect(self, database: str) -> AsyncIterator[Session]:
        async with super().connect(database) as session:
            yield cast(Session, OneAtATime(session))


@contextmanager
def slow_server(major: int, round_trip: float, folder: Path) -> Iterator[tuple[PostgresServer, FaultProxy]]:
    """Give a server and a proxy, `round_trip` seconds from a server with TLS and a plain CREATEROLE CREATEDB admin."""
    with PostgresServer(major, tls=CertificateAuthority(folder).server()) as server:
        server.execute(f"CREATE ROLE {ADMIN} LOGIN CREATEROLE CREATEDB PASSWORD 'admin-pw'")
        with FaultProxy(server.port, latency=round_trip / 2) as proxy:
            yield server, proxy


def provisioner(proxy: FaultProxy, kind: type[Provisioner] = Provisioner) -> Provisioner:
    way_in = admin_connection(cast(PostgresServer, proxy), ADMIN, "admin-pw", "postgres")
    return kind(replace(way_in, password=Password("admin-pw"), ssl_mode=SSLMode.REQUIRE))


async def measured(proxy: FaultProxy, work: Callable[[], Awaitable[object]]) -> Figures:
    proxy.reset_counts()
    started = time.monotonic()
    await work()
    return Figures(time.monotonic() - started, proxy.round_trips, proxy.connections)


async def one_storage(admin: Provisioner, proxy: FaultProxy) -> tuple[Figures, Figures]:
    """Return the figures of the first provisioning, login test included, and of a check with nothing to do."""
    wanted = desired(f"latency{next(_numbers)}")

    async def first() -> None:
        await admin.provision(wanted)

    async def check() -> None:
        run = await admin.run(replace(wanted, established=True))
        assert not run.executed, run.executed

    return await measured(proxy, first), await measured(proxy, check)


def create_database_seconds(server: PostgresServer, rounds: int) -> float:
    """Return the median of CREATE DATABASE alone, on loopback: the part that is the disk's."""
    seconds = []
    for number in range(rounds):
        started = time.monotonic()
        server.execute(f"CREATE DATABASE alone_{number} TEMPLATE template0")
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds)


def row(name: str, runs: list[Figures]) -> str:
    seconds = sorted(run.seconds for run in runs)
    trips = statistics.median(run.round_trips for run in runs)
    connections = statistics.median(run.connections for run in runs)
    return (
        f"| {name} | {statistics.median(seconds):.2f} | {seconds[0]:.2f} | {seconds[-1]:.2f} | {trips:g} | "
        f"{connections:g} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks latency", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rtt", type=float, default=0.04, help="round trip of the network, in seconds")
    parser.add_argument("--majors", type=int, nargs="+", default=[14, 16, 18])
    options = parser.parse_args()
    print(f"{options.rtt * 1000:g} ms round trip, TLS, SCRAM; n={options.rounds}; admin CREATEROLE CREATEDB")
    print("| run | median s | min | max | round trips, of all connections | connections |\n|---|---|---|---|---|---|")
    for major in options.majors:
        with tempfile.TemporaryDirectory() as name, slow_server(major, options.rtt, Path(name)) as (server, proxy):
            for title, kind in (("one statement at a time", Naive), ("operator", Provisioner)):
                admin = provisioner(proxy, kind)
                runs = [asyncio.run(one_storage(admin, proxy)) for _ in range(options.rounds)]
                print(row(f"{major}: first provisioning, {title}", [first for first, _ in runs]), flush=True)
                print(row(f"{major}: check, {title}", [check for _, check in runs]), flush=True)
            alone = create_database_seconds(server, options.rounds)
            print(f"| {major}: CREATE DATABASE alone, on loopback | {alone:.2f} | | | | |", flush=True)
