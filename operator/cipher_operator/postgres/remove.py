"""The deletion of one storage on the server."""

import asyncio
import random
from dataclasses import replace

import psycopg
from psycopg import sql

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import ANNOTATION_FORCE_DELETE
from cipher_operator.api.reasons import Reason
from cipher_operator.core.desired import Desired
from cipher_operator.core.marker import CLOSING, DATABASE
from cipher_operator.core.plan.plan import Plan
from cipher_operator.core.plan.removal import SHOWN, claimed, made_extensions, plan_inside, plan_outside
from cipher_operator.postgres.apply import apply
from cipher_operator.postgres.errors import Attempt, classify, is_race
from cipher_operator.postgres.inspect import PREFIX, observe
from cipher_operator.postgres.provision import RACE_PAUSE, ROUNDS, Connect, maintenance_databases
from cipher_operator.postgres.session import Session

_FOREIGN = sql.SQL(
    """SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
  AND pg_get_userbyid(c.relowner) <> ALL ({roles}::name[])
  AND NOT EXISTS (SELECT 1 FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1 LIMIT 200"""
)


async def remove(connect: Connect, desired: Desired, *, maintenance: str | None) -> list[str]:
    """Drop what the storage created and return the SQL lines that ran. Raises Failure.

    Looks inside the database first, since relations of others block the deletion; a database that is gone has
    nothing to look into. Nothing is touched where the marker is missing or another's.
    """
    lines: list[str] = []
    outside, unseen = True, None
    try:
        async with connect(desired.database) as session:
            outside = await _inside(session, desired, lines)
    except Failure as failure:
        # A database that an earlier try closed says that it is not ready; so does a server that starts.
        if failure.reason not in (Reason.DATABASE_MISSING, Reason.SERVER_NOT_READY) or lines:
            raise
        unseen = failure
    if outside:
        await _outside(connect, desired, maintenance, lines, unseen)
    return lines


async def _inside(session: Session, desired: Desired, lines: list[str]) -> bool:
    """Drop what is inside; return whether the rest must be dropped from another database.

    Storages that share a database write the same rows of its catalogs: one that loses a race looks again.
    """
    attempt = 0
    while True:
        try:
            return await _drop_inside(session, desired, lines)
        except psycopg.Error as error:
            attempt += 1
            if attempt == ROUNDS or session.closed or not is_race(error):
                raise _explained(error, desired) from None
        await asyncio.sleep(random.uniform(0, RACE_PAUSE) * attempt)  # noqa: S311 - spreads, hides nothing


async def _drop_inside(session: Session, desired: Desired, lines: list[str]) -> bool:
    observed = await observe(session, desired)
    marker = claimed(desired, observed)
    if marker is not None and (unasked := made_extensions(marker) - set(desired.extensions)):
        desired = replace(desired, extensions=(*desired.extensions, *sorted(unasked)))
        observed = await observe(session, desired)
        marker = claimed(desired, observed)
    if marker is None:
        return False
    roles = sql.Literal([desired.owner, *desired.logins])
    rows = (await session.execute(PREFIX + _FOREIGN.format(roles=roles)))[-1]
    await _execute(session, plan_inside(desired, observed, marker, tuple(row[0] for row in rows)), desired, lines)
    return DATABASE in marker.created


async def _outside(
    connect: Connect, desired: Desired, maintenance: str | None, lines: list[str], unseen: Failure | None
) -> None:
    """Drop database and roles. `unseen` is why nobody looked inside: then only what an earlier try looked into and
    closed, or a database that is gone, is dropped."""
    for position, database in enumerate(candidates := maintenance_databases(maintenance, desired.database)):
        try:
            async with connect(database) as session:
                observed = await observe(session, desired)
                if (marker := claimed(desired, observed)) is not None:
                    if unseen is not None and observed.database is not None and CLOSING not in marker.created:
                        raise unseen
                    await _execute(session, plan_outside(desired, observed, marker), desired, lines)
                return
        except psycopg.Error as error:
            raise _explained(error, desired) from None
        except Failure as failure:
            if failure is unseen or failure.reason is not Reason.DATABASE_MISSING or position == len(candidates) - 1:
                raise


async def _execute(session: Session, plan: Plan, desired: Desired, lines: list[str]) -> None:
    if plan:
        await apply(session, plan, desired, observe=False)
        lines.extend(plan.lines())


def _one_line(text: str | None) -> str:
    return "; ".join((text or "the server does not say which").splitlines()[:SHOWN])


def _explained(error: psycopg.Error, desired: Desired) -> Failure:
    """Return DeletionBlocked for what others made dependent on our objects, else the usual failure."""
    if error.sqlstate == "2BP01":
        return Failure(
            Reason.DELETION_BLOCKED,
            f"other objects depend on schema '{desired.schema}' or role '{desired.owner}': "
            f"{_one_line(error.diag.message_detail)}. Drop or move them, or let go of everything on the server with "
            f'annotation `{ANNOTATION_FORCE_DELETE}: "true"`',
            stage=ConditionType.SCHEMA_APPLIED,
            sqlstate="2BP01",
        )
    return classify(error, Attempt(desired.database)).at(ConditionType.DATABASE_READY)
