"""Observe, plan, apply and observe again, over the two databases that this takes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import psycopg

from cipher_operator.api.failures import STAGES, ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import Excess
from cipher_operator.core.desired import Desired
from cipher_operator.core.lost import database_gone
from cipher_operator.core.marker import taken_over
from cipher_operator.core.observed import Observed
from cipher_operator.core.orders import Orders
from cipher_operator.core.ownership import marker_changed, watched
from cipher_operator.core.plan.extensions import unavailable
from cipher_operator.core.plan.foresight import after
from cipher_operator.core.plan.plan import Plan, plan, settle
from cipher_operator.core.sql.step import Kind, Step, lines_of
from cipher_operator.core.tenure import exceeded, refuse_beyond
from cipher_operator.postgres.apply import apply
from cipher_operator.postgres.databases import (
    Connect,
    maintenance_databases,
    not_let_in,
    refuse_another,
    refuse_standby,
)
from cipher_operator.postgres.errors import Attempt, classify, is_fence
from cipher_operator.postgres.inspect import observe
from cipher_operator.postgres.mend import mend
from cipher_operator.postgres.races import in_rounds
from cipher_operator.postgres.session import Session

Prove = Callable[[Orders, Awaitable[None]], Awaitable[Failure | None]]
"""Tests the login of these orders and returns what refuses it. It may log in at once; the second argument tells when
the tables stand. Raises nothing."""

EXTENSION_REFUSED = frozenset({"42501", "0A000", "58P01", "22023", "F0000"})
"""SQLSTATE of CREATE EXTENSION where the privilege, or the extension's files, are not there."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found and did, however it ended."""

    orders: Orders
    """With the login settled, and without what was carried out."""
    observed: Observed | None
    """The last observation; None where there was no session. Of another database where `local` is None in it."""
    executed: tuple[str, ...] = ()
    """The SQL lines that ran, passwords as '***'."""
    statements: int = 0
    taken_over: tuple[str, ...] = ()
    """What of others belongs to this storage since this run, for people."""
    pending: tuple[str, ...] = ()
    """`write` False: what would have run."""
    warnings: tuple[str, ...] = ()
    deferred: tuple[Step, ...] = ()
    """Indexes of large tables, to be built beside the run by `build_indexes`."""
    building: tuple[str, ...] = ()
    """Those that some session builds already: nothing to do but wait."""
    ssl_in_use: bool | None = None
    tested: bool = False
    """`prove` ran to its end."""
    refusal: Failure | None = None
    """What it said."""
    failure: Failure | None = None
    """Why the run stopped; `observed` is what was seen before."""


async def converge(
    connect: Connect,
    desired: Desired,
    orders: Orders,
    *,
    maintenance: str | None,
    write: bool = True,
    prove: Prove | None = None,
    cut: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Make the server as desired and return what was found and done; with `write` False, only plan.

    An established storage goes straight to its database; a new one asks the maintenance database first,
    because a login to a missing database costs a connection and says nothing of the roles; so does a tenant's that is
    beyond his limits, for the database that his status names may be another's. In a database that this
    run created, `prove` runs beside the schema: everything of the login is there before. Raises no Failure: it is in
    the report. A run that is cancelled, or ends by anything else, hands its report to `cut`.
    """
    run = _Run(connect, desired, orders, maintenance=maintenance, write=write)
    failure: Failure | None = None
    try:
        if not orders.established or orders.recreate or run.beyond:
            await run.prepare()
        if not run.pending:
            await run.finish(prove)
    except Failure as raised:
        failure = raised
    except BaseException:
        cut(run.report(None))
        raise
    return run.report(failure)


class _Run:
    """One run while it goes on; `report` is what is left of it."""

    def __init__(
        self, connect: Connect, desired: Desired, orders: Orders, *, maintenance: str | None, write: bool
    ) -> None:
        self._connect, self._desired, self._orders, self._write = connect, desired, orders, write
        self._others = maintenance_databases(maintenance, desired.database)
        self._observed: Observed | None = None
        self._missing: Plan | None = None
        self._executed: list[str] = []
        self._statements = 0
        self._ssl_in_use: bool | None = None
        self._tested = False
        self._refusal: Failure | None = None
        self._kept_out: Failure | None = None
        self._seen_from: str | None = None
        self._stood: str | None = None
        self.pending: tuple[str, ...] = ()

    @property
    def beyond(self) -> tuple[Excess, ...]:
        """Return what a tenant asks for beyond his limits."""
        return self._desired.tenant.beyond if self._desired.tenant is not None else ()

    def report(self, failure: Failure | None) -> Report:
        """Return what the run found and did."""
        missing = self._missing if self._missing is not None else Plan()
        return Report(
            orders=self._orders,
            observed=self._observed,
            executed=tuple(self._executed),
            statements=self._statements,
            taken_over=taken_over(self._stood, self._orders.standing) if self._executed else (),
            pending=self.pending,
            warnings=missing.warnings,
            deferred=missing.deferred,
            building=missing.building,
            ssl_in_use=self._ssl_in_use,
            tested=self._tested,
            refusal=self._refusal,
            failure=failure,
        )

    async def prepare(self) -> None:
        """Make roles and database where the database is missing."""
        for database in self._others:
            try:
                async with self._connect(database) as session:
                    self._seen_from = database
                    await self._converge_in(session, only_missing_database=True)
                    return
            except Failure as failure:
                if failure.reason not in (Reason.DATABASE_MISSING, Reason.INSUFFICIENT_PRIVILEGE, Reason.ACCESS_DENIED):
                    raise
                if failure.stage is not ConditionType.CONNECTED:
                    raise
                self._kept_out = failure

    async def finish(self, prove: Prove | None) -> None:
        """Make everything else, inside the database; and prove the login where this run created that."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        proving: asyncio.Future[Failure | None] | None = None
        try:
            async with self._connect(self._desired.database) as session:
                if prove is not None and self._orders.database_made:
                    # Not before: it may wait, with the last free connection, for tables that this session makes.
                    proving = asyncio.ensure_future(prove(self._orders, ready))
                await self._converge_in(session, only_missing_database=False)
            ready.set_result(None)
            if proving is not None:
                self._refusal, self._tested = await proving, True
        except Failure as failure:
            if failure.reason is Reason.DATABASE_MISSING and failure.stage is ConditionType.CONNECTED:
                raise await self._without_database() from failure
            raise
        finally:
            if proving is not None and not proving.done():
                proving.cancel()
                await asyncio.wait([proving])

    async def _without_database(self) -> Failure:
        """Return why there is no way into the database, which may have been seen from another a moment ago."""
        if self._observed is None and self.beyond:
            return exceeded(self.beyond[0])
        tenant = self._desired.tenant
        if self._observed is None and tenant is not None and tenant.heir is not None:
            # Only with its marker there is more to say.
            await self.prepare()
            if self._observed is None:
                return exceeded(tenant.heir)
        if self._observed is None and self._kept_out is not None:
            # Without a database to create it from, what keeps us out of that one is what must be mended.
            return self._kept_out
        if self._observed is None:
            # A standby that says so may not have heard of it.
            await refuse_standby(self._connect, self._others, self._desired)
            return database_gone(self._desired, self._orders)
        return await not_let_in(self._connect, self._seen_from, self._desired)

    async def _converge_in(self, session: Session, *, only_missing_database: bool) -> None:
        self._ssl_in_use = session.ssl_in_use
        observed: Observed | None = None

        async def look_and_act() -> bool:
            nonlocal observed
            if observed is None:
                self._missing, before = None, self._observed
                observed = self._observed = await observe(session, self._desired, inside=not only_missing_database)
                refuse_another(self._desired, self._orders, before, observed)
            self._orders = watched(self._desired, self._orders, observed)
            self._stood = self._orders.standing if self._stood is None else self._stood
            refuse_beyond(self._desired, self._orders, observed)
            if only_missing_database and observed.database is not None:
                return True
            self._orders = settle(self._desired, self._orders, observed)
            missing = self._missing = plan(self._desired, self._orders, observed)
            if not missing and missing.mends and self._write:
                self._observed = await self._mend(session, missing)
                return True
            if not missing or not self._write:
                self.pending = self._lines(missing, observed) if not self._write else ()
                return True
            # Where that fails, what stands there now is not known.
            observed = None
            observed = self._observed = await self._apply(session, missing, inside=not only_missing_database)
            return False

        try:
            finished = await in_rounds(session, look_and_act)
        except psycopg.Error as error:
            raise self._explained(error, session.role) from None
        if not finished:
            assert self._missing is not None  # there was something left in the last round
            raise Failure(
                Reason.INSUFFICIENT_PRIVILEGE,
                "the server took these statements without effect; run them as a role that may: "
                + " ".join(self._missing.lines()),
            )

    def _lines(self, missing: Plan, observed: Observed) -> tuple[str, ...]:
        """Return the plan for people, with what follows inside a database that it creates."""
        if observed.database is not None:
            return missing.lines()
        orders = replace(self._orders.carried_out(), database_made=True)
        return missing.lines() + plan(self._desired, orders, after(self._desired, observed, missing)).lines()

    async def _apply(self, session: Session, missing: Plan, *, inside: bool) -> Observed:
        """Run the plan and return what is observed then; note what has run, also where a later message fails."""
        done: list[Step] = []
        try:
            observed = await apply(session, missing, self._desired, inside=inside, done=done)
        finally:
            self._executed.extend(lines_of(done))
            self._statements += sum(len(step.statements) for step in done)
            marked = missing.marked.comment if missing.marked is not None else ""
            self._orders = self._orders.after({step.kind for step in done}, marked)
        self._orders = self._orders.carried_out()
        assert observed is not None  # asked for
        return observed

    async def _mend(self, session: Session, missing: Plan) -> Observed:
        """Try what nothing depends on, and return what is observed then."""
        self._missing = None
        lines: list[str] = []
        try:
            refused = await mend(session, missing, done=lines, words=self._desired.tenant is None)
        finally:
            self._executed.extend(lines)
            self._statements += len(lines)
        observed = await observe(session, self._desired)
        left = plan(self._desired, self._orders, observed)
        self._missing = replace(left, warnings=(*left.warnings, *refused))
        return observed

    def _explained(self, error: psycopg.Error, login: str) -> Failure:
        """Return the Failure, at the first stage that the plan works on: which statement of a message it was is not
        told, so nothing from there on is proven."""
        if self._missing is None or self._observed is None:
            return classify(error, Attempt(self._desired.database, login))
        if is_fence(error):
            return marker_changed()
        steps, server = self._missing.steps, self._observed.server
        stage = min((step.stage for step in steps), key=STAGES.index, default=ConditionType.SCHEMA_APPLIED)
        refused = [step.on for step in steps if step.kind is Kind.CREATE_EXTENSION]
        if refused and error.sqlstate in EXTENSION_REFUSED:
            return unavailable(self._desired, refused, error.sqlstate)
        return classify(error, Attempt(server.database, server.admin.name)).at(stage)
