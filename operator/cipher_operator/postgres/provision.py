"""Observe, plan, apply and observe again, over the two databases that this takes."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace

import psycopg

from cipher_operator.api.failures import STAGES, ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.desired import Desired
from cipher_operator.core.observed import Observed
from cipher_operator.core.ownership import database_gone
from cipher_operator.core.plan.extensions import unavailable
from cipher_operator.core.plan.foresight import after
from cipher_operator.core.plan.plan import Plan, plan, settle
from cipher_operator.core.steps import CreateDatabase, CreateExtension, CreateIndex, DropInvalidIndex, Step, is_alone
from cipher_operator.postgres.apply import apply
from cipher_operator.postgres.errors import Attempt, classify, is_race
from cipher_operator.postgres.inspect import observe
from cipher_operator.postgres.mend import mend
from cipher_operator.postgres.session import Session

Connect = Callable[[str], AbstractAsyncContextManager[Session]]
"""Opens an admin session in the named database; raises Failure."""
Prove = Callable[[Desired], Awaitable[None]]
"""Tests the login of a storage whose roles and database exist; raises Failure."""

Extend = Callable[[float], None]
"""Gives the run so many seconds from now."""
INDEX_SECONDS = 3600.0
"""For an index on a large table, built without stopping its writers."""

ROUNDS = 8
"""Tries against others who write the same objects; each that loses a race observes again."""
RACE_PAUSE = 0.05
"""Seconds at most, before a lost race is looked at again."""
DEFAULT_MAINTENANCE = "postgres"
EXTENSION_REFUSED = frozenset({"42501", "0A000", "58P01", "22023", "F0000"})
"""SQLSTATE of CREATE EXTENSION where the privilege, or the extension's files, are not there."""


@dataclass(slots=True)
class Converged:
    """What a run found and did. `changes` are the SQL lines that ran, verifiers as '***'."""

    desired: Desired
    """With the login decided, and without what has been done."""
    observed: Observed
    ssl_in_use: bool
    statements: int = 0
    connections: int = 0
    changes: list[str] = field(default_factory=list)
    warnings: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    """Observe mode: what would have run."""
    proven: bool = False
    """`prove` has succeeded."""


async def converge(
    connect: Connect,
    desired: Desired,
    *,
    maintenance: str | None,
    write: bool = True,
    prove: Prove | None = None,
    extend: Extend = lambda seconds: None,
) -> Converged:
    """Make the server as desired and return what is there; with `write` false, only plan.

    An established storage goes straight to its database; a new one asks the maintenance database first,
    because a login to a missing database costs a connection and says nothing of the roles. In a database that this
    run created, `prove` runs beside the schema: everything of the login is there before. `extend` is told how long
    an index on a large table may take, which no limit of the run must cut off half-way. Raises Failure.
    """
    run = _Run(connect, desired, write, extend)
    if not desired.established or desired.recreate:
        await run.prepare(maintenance)
        if run.result is not None and run.result.pending:
            return run.result
    if prove is None or not run.desired.database_made:
        return await run.finish()
    converged, refused = await asyncio.gather(run.finish(), prove(run.desired), return_exceptions=True)
    if isinstance(converged, BaseException):
        raise converged
    converged.proven = refused is None
    return converged


class _Run:
    def __init__(self, connect: Connect, desired: Desired, write: bool, extend: Extend) -> None:
        self.connect, self.desired, self.write, self.extend = connect, desired, write, extend
        self.result: Converged | None = None
        self.refused: Failure | None = None

    async def prepare(self, maintenance: str | None) -> None:
        """Make roles and database where the database is missing."""
        for database in maintenance_databases(maintenance, self.desired.database):
            try:
                async with self.connect(database) as session:
                    await self._converge_in(session, only_missing_database=True)
                    return
            except Failure as failure:
                if failure.reason not in (Reason.DATABASE_MISSING, Reason.INSUFFICIENT_PRIVILEGE, Reason.ACCESS_DENIED):
                    raise
                if failure.stage is not ConditionType.CONNECTED:
                    raise
                self.refused = failure

    async def finish(self) -> Converged:
        """Make everything else, inside the database."""
        try:
            async with self.connect(self.desired.database) as session:
                await self._converge_in(session, only_missing_database=False)
        except Failure as failure:
            if failure.reason is Reason.DATABASE_MISSING and self.result is not None:
                # Seen a moment ago: the next look, with both eyes on what is there then, comes soon.
                raise Failure(
                    Reason.DISCONNECTED,
                    f"database '{self.desired.database}' was dropped while the operator looked at it; trying again",
                    stage=ConditionType.DATABASE_READY,
                    reached=STAGES[:1],
                ) from failure
            if failure.reason is Reason.DATABASE_MISSING:
                # Without a database to create it from, what keeps us out of that one is what must be mended.
                gone = database_gone(self.desired)
                gone.reached = STAGES[:1]
                raise self.refused or gone from failure
            raise
        assert self.result is not None  # set by the session above
        self.result.desired = self.desired
        return self.result

    async def _converge_in(self, session: Session, *, only_missing_database: bool) -> None:
        result = self._result(session, await _observe(session, self.desired))
        if only_missing_database and result.observed.database is not None:
            return
        self.desired = settle(self.desired, result.observed)
        lost: Failure | None = None
        for attempt in range(ROUNDS):
            missing = self._plan(result)
            result.warnings = missing.warnings
            if not missing and not (missing.mends and self.write):
                result.pending = missing.lines()
                return
            if not missing:
                return await self._mend(session, missing, result)
            if not self.write:
                result.pending = missing.lines()
                if result.observed.database is None:
                    created = replace(self.desired.carried_out(), database_made=True)
                    rest = plan(created, after(self.desired, result.observed, missing))
                    result.pending += rest.lines()
                return
            lost = await self._apply(session, missing, result, attempt)
            if only_missing_database and result.observed.database is not None:
                return
        if lost is not None:
            raise lost
        raise Failure(
            Reason.INSUFFICIENT_PRIVILEGE,
            "the server took these statements without effect; run them as a role that may: "
            + " ".join(plan(self.desired, result.observed).lines()),
            reached=_reached(result.observed),
        )

    def _plan(self, result: Converged) -> Plan:
        try:
            return plan(self.desired, result.observed)
        except Failure as failure:
            failure.reached = tuple(stage for stage in _reached(result.observed) if stage is not failure.stage)
            raise

    async def _apply(self, session: Session, missing: Plan, result: Converged, attempt: int) -> Failure | None:
        """Run the plan and observe again; return the Failure of a lost race, which is worth another round."""
        done: list[Step] = []
        if any(isinstance(step, CreateIndex | DropInvalidIndex) and is_alone(step) for step in missing.steps):
            self.extend(INDEX_SECONDS)
        try:
            observed, count = await apply(session, missing, self.desired, done=done)
        except psycopg.Error as error:
            # Which statement of the message it was is not told: nothing from the first stage on is proven.
            stage = min((step.stage for step in missing.steps), key=STAGES.index)
            server = result.observed.server
            failure = classify(error, Attempt(server.database, server.admin.name)).at(stage)
            refused = [step.extension for step in missing.steps if isinstance(step, CreateExtension)]
            if refused and error.sqlstate in EXTENSION_REFUSED:
                failure = unavailable(self.desired, refused, error.sqlstate)
            failure.reached = STAGES[: STAGES.index(stage)]
            if not is_race(error) or session.closed:
                raise failure from None
            await asyncio.sleep(random.uniform(0, RACE_PAUSE) * (attempt + 1))  # noqa: S311 - spreads, hides nothing
            result.observed = await _observe(session, self.desired)
            return failure
        finally:
            if any(isinstance(step, CreateDatabase) for step in done):
                self.desired = replace(self.desired, database_made=True)
        result.statements += count
        result.changes.extend(missing.lines())
        self.desired = self.desired.carried_out()
        assert observed is not None
        result.observed = observed
        return None

    async def _mend(self, session: Session, missing: Plan, result: Converged) -> None:
        """Try what nothing depends on, and look again."""
        mended = await mend(session, missing)
        result.statements += len(mended.lines)
        result.changes.extend(mended.lines)
        result.observed = await _observe(session, self.desired)
        left = plan(self.desired, result.observed)
        result.warnings = (*left.warnings, *mended.warnings)

    def _result(self, session: Session, observed: Observed) -> Converged:
        if self.result is None:
            self.result = Converged(self.desired, observed, session.ssl_in_use)
        self.result.observed = observed
        self.result.connections += 1
        return self.result


def _reached(observed: Observed) -> tuple[ConditionType, ...]:
    """Return the stages that an observation proves."""
    return STAGES[:1] if observed.database is None else STAGES[:2]


async def _observe(session: Session, desired: Desired) -> Observed:
    try:
        return await observe(session, desired)
    except psycopg.Error as error:
        raise classify(error) from None


def maintenance_databases(given: str | None, target: str) -> list[str]:
    """Return where to look before the database exists: the URL's own database, else `postgres`."""
    candidates = [given, DEFAULT_MAINTENANCE]
    return list(dict.fromkeys(name for name in candidates if name and name != target))
