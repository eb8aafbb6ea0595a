"""Where a run looks for its storage: how a database is entered, which before the storage's own is there, and whether it
is the right server at all."""

import contextlib
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager

import psycopg

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.desired import Desired
from cipher_operator.core.lost import out_of_sight
from cipher_operator.core.observed import Observed
from cipher_operator.core.orders import Orders
from cipher_operator.core.ownership import watched
from cipher_operator.core.plan.plan import refuse_read_only
from cipher_operator.postgres.inspect import observe
from cipher_operator.postgres.session import Session

Connect = Callable[[str], AbstractAsyncContextManager[Session]]
"""Opens an admin session in the named database; raises Failure, stage Connected."""

DEFAULT_MAINTENANCE = "postgres"


def maintenance_databases(given: str | None, target: str) -> list[str]:
    """Return where to look before the database exists: the URL's own database, else `postgres`."""
    candidates = [given, DEFAULT_MAINTENANCE]
    return list(dict.fromkeys(name for name in candidates if name and name != target))


async def seen_from(connect: Connect, databases: Iterable[str], desired: Desired) -> Observed | None:
    """Return what the first of these databases that lets us in shows of the server; None where none does."""
    for database in databases:
        with contextlib.suppress(Failure, psycopg.Error):
            async with connect(database) as session:
                return await observe(session, desired, inside=False)
    return None


async def refuse_standby(connect: Connect, databases: Iterable[str], desired: Desired) -> None:
    """Raise ReadOnlyServer where the server is a standby, as these databases of it show."""
    observed = await seen_from(connect, databases, desired)
    if observed is not None and observed.server.standby:
        refuse_read_only(desired, observed)


async def not_let_in(connect: Connect, seen: str | None, desired: Desired) -> Failure:
    """Return what it means that the server says that it lacks a database which was seen there a moment ago, from the
    database `seen`: it is looked for from there once more."""
    observed = await seen_from(connect, filter(None, [seen]), desired)
    if observed is not None and observed.database is not None:
        return out_of_sight(desired)
    # The next look, with both eyes on what is there then, comes soon.
    return Failure(
        Reason.DISCONNECTED,
        f"database '{desired.database}' was dropped while the operator looked at it; trying again",
        stage=ConditionType.DATABASE_READY,
    )


def refuse_another(desired: Desired, orders: Orders, before: Observed | None, observed: Observed) -> None:
    """Raise Disconnected where a run that looks again finds another marker because it is at another server."""
    if before is None or before.server.started == observed.server.started:
        return
    try:
        watched(desired, orders, observed)
    except Failure:
        raise another_server("was looked at", "written", ConditionType.ACCESS_GRANTED) from None


def another_server(looked_at: str, spared: str, stage: ConditionType) -> Failure:
    """Return what ends work for which another server answers than was looked at: there, nobody has looked."""
    return Failure(
        Reason.DISCONNECTED,
        f"another server answers than the one that {looked_at} a moment ago: a failover, a restart, or a host name "
        f"whose addresses lead to several servers. Nothing was {spared} on it; trying again",
        stage=stage,
    )
