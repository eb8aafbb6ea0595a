"""Builds of indexes on large tables: beside the run that found them missing, in a session of their own."""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import ADVISORY_LOCK_PREFIX
from cipher_operator.api.reasons import Reason
from cipher_operator.core.sql.step import Step
from cipher_operator.postgres.catalog_started import STARTED
from cipher_operator.postgres.databases import another_server
from cipher_operator.postgres.errors import Attempt, classify, is_race
from cipher_operator.postgres.limits import own_limits, standing_limit
from cipher_operator.postgres.preamble import LOOKING
from cipher_operator.postgres.session import Session

LOCK_MS, ONLY_SLOT_LOCK_MS = 600_000, 20_000
"""A concurrent build waits for every transaction that is older than it, and nobody waits for it meanwhile; where it has
the only connection to the server, everybody does."""
_STARTED = sql.SQL("SELECT ") + STARTED
TIMED_OUT = frozenset({"57014", "55P03", "25P04"})
"""SQLSTATE of a statement, a lock and a transaction that took too long."""


async def build_indexes(
    session: Session, steps: Sequence[Step], *, only_slot: bool = False, started: float | None = None
) -> None:
    """Build what a run deferred, one after another; the session is the caller's to close, and to be used no more.
    `only_slot`: all others wait for it. `started` is when the server was on which the run found them missing.

    What another session has built meanwhile is left alone. Raises Failure, stage SchemaApplied: BuildingIndex where
    another session is at it, Disconnected on another server: the table there may be another's.
    """
    try:
        if started not in (None, float((await session.execute(LOOKING + _STARTED))[-1][0][0])):
            raise another_server("lacked an index", "built", ConditionType.SCHEMA_APPLIED)
        own = await own_limits(session, lock_ms=ONLY_SLOT_LOCK_MS if only_slot else LOCK_MS)
    except psycopg.Error as error:
        raise _explained(session, error) from None
    for step in steps:
        try:
            await _build(session, step, own=own)
        except psycopg.Error as error:
            if is_race(error):
                # Somebody else made or dropped it, or its table: the next run sees what is so.
                continue
            raise await _stopped(session, step, error, own=own) from None


async def _build(session: Session, step: Step, *, own: bool) -> None:
    # The lock goes with the session: it outlives an operator that was killed, as its statement does.
    if own and not await _locked(session, step):
        raise Failure(
            Reason.BUILDING_INDEX,
            f"index '{step.on}' is being built by another session, one of an operator that was ended for one. "
            "Wait: it is looked at again",
            stage=ConditionType.SCHEMA_APPLIED,
        )
    if step.guard is not None and not (await session.execute(LOOKING + step.guard))[-1]:
        return
    for statement in step.statements:
        # The caller's limit is the only one: a large table takes longer than any other message.
        await session.execute(statement, seconds=None)


async def _locked(session: Session, step: Step) -> bool:
    """Take the lock of this index until the session ends; return whether it was free."""
    key = f"{ADVISORY_LOCK_PREFIX}index:{step.statements[-1].as_string(None)}"
    question = sql.SQL("SELECT pg_try_advisory_lock(hashtextextended({key}, 0))").format(key=sql.Literal(key))
    return bool((await session.execute(LOOKING + question))[-1][0][0])


async def _stopped(session: Session, step: Step, error: psycopg.Error, *, own: bool) -> Failure:
    """Return why a build did not come to its end: a limit that is not the operator's is named."""
    if own or error.sqlstate not in TIMED_OUT or session.closed:
        return _explained(session, error)
    try:
        limit = await standing_limit(session)
    except psycopg.Error as lost:
        return _explained(session, lost)
    if limit is None:
        return _explained(session, error)
    named, remedy = limit
    return Failure(
        Reason.INSUFFICIENT_PRIVILEGE,
        f"index '{step.on}' of a large table was not built: {named}, ended it, and behind a connection pooler the "
        f"operator cannot lift that. Point the connection Secret at the server itself, or run: {remedy}",
        stage=ConditionType.SCHEMA_APPLIED,
        sqlstate=error.sqlstate,
    )


def _explained(session: Session, error: psycopg.Error) -> Failure:
    return classify(error, Attempt(login=session.role)).at(ConditionType.SCHEMA_APPLIED)
