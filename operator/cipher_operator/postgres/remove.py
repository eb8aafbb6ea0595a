"""The deletion of one storage on the server."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import ANNOTATION_FORCE_DELETE
from cipher_operator.api.reasons import Reason
from cipher_operator.core.desired import Desired
from cipher_operator.core.lost import out_of_sight
from cipher_operator.core.marker import CLOSING, DATABASE, Marker
from cipher_operator.core.observed import Observed
from cipher_operator.core.orders import Orders
from cipher_operator.core.ownership import marker_changed, watched
from cipher_operator.core.plan.plan import Plan, refuse_read_only
from cipher_operator.core.plan.removal import (
    SHOWN,
    claimed,
    made_extensions,
    plan_inside,
    plan_outside,
    refuse_inherited,
)
from cipher_operator.core.schema import TABLE_NAMES
from cipher_operator.core.sql.step import Step, lines_of
from cipher_operator.postgres.apply import apply
from cipher_operator.postgres.bounded import Silent
from cipher_operator.postgres.databases import Connect, another_server, maintenance_databases
from cipher_operator.postgres.errors import Attempt, classify, is_fence
from cipher_operator.postgres.inspect import observe
from cipher_operator.postgres.preamble import LOOKING
from cipher_operator.postgres.races import in_rounds
from cipher_operator.postgres.session import STATEMENT_SECONDS, Session

_FOREIGN = sql.SQL(
    """SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
  AND pg_get_userbyid(c.relowner) <> ALL ({roles}::name[])
  AND NOT EXISTS (SELECT 1 FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
UNION ALL SELECT 'subscription ' || s.subname FROM pg_subscription s JOIN pg_database b ON b.oid = s.subdbid
WHERE b.datname = current_database()
ORDER BY 1 LIMIT 200"""
)
"""A subscription is never dropped with its database, and only from inside: that is closed by the time it shows."""

_UNSEEN = frozenset(
    {
        Reason.DATABASE_MISSING,
        Reason.DATABASE_LOST,
        Reason.SERVER_NOT_READY,
        Reason.DISCONNECTED,
        Reason.CONNECT_TIMEOUT,
    }
)
"""What says that nobody could look into a database. One that an earlier try closed is not ready; behind a pooler it
takes the login and never answers."""
MAX_DETAIL = 1_500
"""Characters of what a server says of dependent objects."""
HASTY_SECONDS = 3.0
"""How long the first look into a database may take: behind a pooler, one that an earlier try closed never answers."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What a deletion did: the SQL lines that ran, what it left on purpose (for people), and why it stopped."""

    lines: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    failure: Failure | None = None


async def remove(
    connect: Connect,
    desired: Desired,
    orders: Orders,
    *,
    maintenance: str | None,
    heir: str | None = None,
    cut: Callable[[tuple[str, ...]], None] = lambda lines: None,
) -> Removal:
    """Drop what the storage created. Raises no Failure: it is in what is returned.

    A deletion that is cancelled, or ends by anything else, hands the lines that ran to `cut`.

    Looks inside the database first, since relations of others block the deletion; a database that is gone has
    nothing to look into. Nothing is touched where the marker is missing or another's, nor where the tables are not
    those of `heir`, the storage that took them over.
    """
    removing = _Removing(connect, desired, orders, heir)
    try:
        await removing.run(maintenance)
    except Failure as failure:
        return Removal(tuple(removing.lines), removing.kept, failure)
    except BaseException:
        cut(tuple(removing.lines))
        raise
    return Removal(tuple(removing.lines), removing.kept)


class _Removing:
    """One deletion while it goes on."""

    def __init__(self, connect: Connect, desired: Desired, orders: Orders, heir: str | None) -> None:
        self._connect, self._desired, self._orders, self._heir = connect, desired, orders, heir
        self._unseen: Failure | None = None
        self._seconds, self._given_up = HASTY_SECONDS, False
        self._rest_outside = True
        self._started: float | None = None
        self.lines: list[str] = []
        self.kept: tuple[str, ...] = ()

    async def run(self, maintenance: str | None) -> None:
        """Drop what is inside the database, then the rest from another. Raises Failure."""
        candidates = maintenance_databases(maintenance, self._desired.database)
        try:
            await self._drop(candidates)
        except Failure as failure:
            if failure is not self._unseen or not self._given_up:
                raise
            # Nobody has closed it: the server is only slow.
            self._seconds, self._unseen = STATEMENT_SECONDS, None
            await self._drop(candidates)

    async def _drop(self, candidates: list[str]) -> None:
        try:
            async with self._connect(self._desired.database) as session:
                await self._in(session, self._inside)
        except Failure as failure:
            if failure.reason not in _UNSEEN or self.lines:
                raise
            self._unseen = failure
        if self._rest_outside:
            await self._from_outside(candidates)

    async def _from_outside(self, candidates: list[str]) -> None:
        """Drop database and roles, from the first other database that there is."""
        for position, database in enumerate(candidates):
            try:
                async with self._connect(database) as session:
                    return await self._in(session, self._outside)
            except Failure as failure:
                missing = failure.reason is Reason.DATABASE_MISSING and failure is not self._unseen
                if not missing or position == len(candidates) - 1:
                    raise

    async def _in(self, session: Session, drop: Callable[[Session], Awaitable[None]]) -> None:
        """Look and drop; storages that share a database write the same rows of its catalogs."""

        async def look_and_act() -> bool:
            await drop(session)
            return True

        try:
            await in_rounds(session, look_and_act)
        except psycopg.Error as error:
            raise _explained(error, self._desired, session.role) from None

    async def _inside(self, session: Session) -> None:
        desired, orders = self._desired, self._orders
        try:
            observed = await self._observe(session, self._seconds)
        except Silent:
            self._given_up = True
            raise
        marker = claimed(desired, orders, observed)
        if marker is not None and (unasked := made_extensions(marker) - set(desired.extensions)):
            desired = replace(desired, extensions=(*desired.extensions, *sorted(unasked)))
            observed = await observe(session, desired)
            marker = claimed(desired, orders, observed)
        if marker is None:
            self._rest_outside = False
            if not _is_others_business(desired):
                self.kept = (f"everything: nothing in database '{desired.database}' is marked as this storage's alone",)
            return
        if marker.dropping in observed.dropping:
            # An earlier try has renamed our database: this is another.
            return
        if self._heir is not None:
            refuse_inherited(desired, observed, self._heir)
        roles = sql.Literal([desired.owner, *desired.logins])
        rows = (await session.execute(LOOKING + _FOREIGN.format(roles=roles)))[-1]
        if DATABASE not in marker.created:
            self.kept = _kept(desired, marker)
        await self._execute(session, plan_inside(desired, observed, marker, tuple(row[0] for row in rows)))
        self._rest_outside = DATABASE in marker.created

    async def _outside(self, session: Session) -> None:
        """Drop the rest. Where nobody looked inside, only what an earlier try looked into and closed, or a database
        that is gone or in which nothing can be had any more, is dropped."""
        observed = await self._observe(session, STATEMENT_SECONDS, inside=False)
        marker, database = claimed(self._desired, self._orders, observed), observed.database
        if marker is None:
            if self._unseen is not None and self._desired.shared and database is not None and not database.invalid:
                # The marker stands in there: what nobody has seen is not what is not there.
                raise self._out_of_reach()
            return
        lost = database is None or (database.invalid and DATABASE in marker.created)
        if self._unseen is not None and not lost and CLOSING not in marker.created:
            raise self._out_of_reach()
        await self._execute(session, plan_outside(self._desired, observed, marker))

    def _out_of_reach(self) -> Failure:
        """Return why nobody could look into a database that is there."""
        assert self._unseen is not None  # else somebody has
        if self._unseen.reason is Reason.DATABASE_MISSING:
            self._unseen = out_of_sight(self._desired)
        return self._unseen

    async def _observe(self, session: Session, seconds: float, *, inside: bool = True) -> Observed:
        observed = await observe(session, self._desired, inside=inside, seconds=seconds)
        if self._started not in (None, observed.server.started):
            # With the same marker, as a copy has it; what others put inside there, nobody has seen.
            raise another_server("was looked into", "dropped", ConditionType.DATABASE_READY)
        self._started = observed.server.started
        if observed.server.standby and self._orders.established:
            # That it has no marker says nothing: it may not have heard of it.
            refuse_read_only(self._desired, observed)
        self._orders = watched(self._desired, self._orders, observed)
        return observed

    async def _execute(self, session: Session, plan: Plan) -> None:
        done: list[Step] = []
        try:
            await apply(session, plan, self._desired, observe=False, done=done)
        finally:
            self.lines.extend(lines_of(done))
            marked = plan.marked.comment if plan.marked is not None else ""
            self._orders = self._orders.after({step.kind for step in done}, marked)


def _is_others_business(desired: Desired) -> bool:
    """Return whether a tenant names a database that he may not have: that there is none is silent, too."""
    tenant = desired.tenant
    return tenant is not None and bool(tenant.beyond or tenant.heir is not None)


def _kept(desired: Desired, marker: Marker) -> tuple[str, ...]:
    """Return what stays of a storage in a database that it did not create."""
    adopted = (token for token in sorted(marker.adopted) if token in TABLE_NAMES)
    return (f"database '{desired.database}', which was there before", *(f"table '{name}'" for name in adopted))


def _one_line(text: str | None) -> str:
    return "; ".join((text or "the server does not say which")[:MAX_DETAIL].splitlines()[:SHOWN])


def _explained(error: psycopg.Error, desired: Desired, login: str) -> Failure:
    """Return DeletionBlocked for what others made dependent on our objects, else the usual failure."""
    if is_fence(error):
        return marker_changed()
    if error.sqlstate == "2BP01":
        return Failure(
            Reason.DELETION_BLOCKED,
            f"other objects depend on schema '{desired.schema}' or role '{desired.owner}': "
            f"{_one_line(error.diag.message_detail)}. Drop or move them, or let go of everything on the server with "
            f'annotation `{ANNOTATION_FORCE_DELETE}: "true"`',
            stage=ConditionType.SCHEMA_APPLIED,
            sqlstate="2BP01",
        )
    return classify(error, Attempt(desired.database, login)).at(ConditionType.DATABASE_READY)
