"""`python -m benchmarks races`: several runs of one storage from nothing, at once, each with its own connections.

What two operators would do that both believe to lead. Converged means: all runs ended without a failure, the login
works, the marker claims the database, and a further run finds nothing to do.
"""

import argparse
import asyncio
import itertools
import statistics
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import psycopg
from psycopg import sql

from cipher_operator.api.failures import Failure
from cipher_operator.core.marker import DATABASE
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from support.provision import Provisioner, desired, plain_admin, seen, superuser

_numbers = itertools.count()


@dataclass
class Round:
    """One round: the failures of its runs, what the server said to lost races by SQLSTATE, messages that wrote."""

    failures: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    tries: int = 0
    problem: str = ""


class Watched:
    """A session that notes the errors of its messages."""

    def __init__(self, session: Session, seen: Counter[str]) -> None:
        self._session, self._seen = session, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    @property
    def closed(self) -> bool:
        return self._session.closed

    async def execute(self, message: sql.Composable, **how: Any) -> list[list[tuple[Any, ...]]]:
        try:
            return await self._session.execute(message, **how)
        except psycopg.Error as error:
            self._seen[error.sqlstate or type(error).__name__] += 1
            raise


@dataclass
class Racer(Provisioner):
    seen: Counter[str] = field(default_factory=Counter)

    @asynccontextmanager
    async def connect(self, database: str) -> AsyncIterator[Session]:
        async with super().connect(database) as session:
            yield cast(Session, Watched(session, self.seen))


async def one_round(way_in: Provisioner, clients: int) -> list[Round]:
    """Return what happened, a Round per client; the first carries what was wrong afterwards."""
    wanted = desired(f"race{next(_numbers)}")
    racers = [Racer(way_in.admin) for _ in range(clients)]
    ended = await asyncio.gather(*(racer.provision(wanted) for racer in racers), return_exceptions=True)
    rounds = [
        Round(failures=[_told(one)] if isinstance(one, BaseException) else [], errors=racer.seen)
        for one, racer in zip(ended, racers, strict=True)
    ]
    for each in rounds:
        each.tries = 1 + each.errors.total()
    try:
        rounds[0].problem = await _left_over(way_in, wanted)
    except Failure as failure:
        rounds[0].problem = _told(failure)
    return rounds


async def _left_over(way_in: Provisioner, wanted: Any) -> str:
    """Return what is not as it shall be, empty where all is."""
    again = await way_in.run(replace(wanted, established=True))
    if again.executed:
        return f"a further run had to change: {' '.join(again.executed)}"
    marker = seen(again).roles[wanted.owner].marker
    if marker is None or DATABASE not in marker.created:
        return "the marker does not claim the database"
    await way_in.prove(wanted)
    return ""


def _told(error: BaseException) -> str:
    if isinstance(error, Failure):
        return f"{error.reason} {error.sqlstate or ''} {error.message[:160]}"
    return repr(error)


async def race(server: PostgresServer, way_in: Provisioner, rounds: int, clients: int) -> list[list[Round]]:
    """Return the rounds; what each left on the server is dropped, so that the last finds it as the first did."""
    done = []
    for _ in range(rounds):
        before = {row[0] for row in server.execute("SELECT datname FROM pg_database")}
        done.append(await one_round(way_in, clients))
        for (made,) in server.execute("SELECT datname FROM pg_database"):
            if made not in before:
                server.execute(f'DROP DATABASE "{made}" WITH (FORCE)')
    return done


def report(title: str, rounds: list[list[Round]]) -> None:
    runs = [run for one in rounds for run in one]
    errors = sum((run.errors for run in runs), Counter[str]())
    converged = sum(not any(run.failures or run.problem for run in one) for one in rounds)
    tries = [run.tries for run in runs]
    said = ", ".join(f"{code} × {count}" for code, count in errors.most_common()) or "none"
    most = f"{statistics.mean(tries):.1f} | {max(tries)}"
    print(f"| {title} | {converged} of {len(rounds)} | {len(runs)} | {most} | {said} |", flush=True)
    for text, count in Counter(
        text for run in runs for text in (*run.failures, *filter(None, [run.problem]))
    ).most_common():
        print(f"  DEFECT × {count}: {text}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks races", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--majors", type=int, nargs="+", default=[14, 16, 18])
    options = parser.parse_args()
    print(f"{options.clients} runs of one storage at once, from nothing; n={options.rounds}")
    print("| server, admin | rounds converged | runs | tries, mean | max | errors met |\n|---|---|---|---|---|---|")
    for major in options.majors:
        with PostgresServer(major, settings={"max_connections": "100"}) as server:
            for title, way_in in (
                ("superuser", superuser(server)),
                ("CREATEROLE CREATEDB", plain_admin(server, "cloud_admin")),
            ):
                rounds = asyncio.run(race(server, way_in, options.rounds, options.clients))
                report(f"{major}, {title}", rounds)
