"""Execution of a plan: few messages, each an implicit transaction, each fenced and locked."""

from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import ADVISORY_LOCK_PREFIX
from cipher_operator.api.reasons import Reason
from cipher_operator.core.desired import Desired
from cipher_operator.core.observed import Observed
from cipher_operator.core.plan.plan import Fence, Message, Plan
from cipher_operator.core.sql.composing import PasswordOf, compose, leaves
from cipher_operator.core.sql.step import PASSWORDS, Step, statements_of
from cipher_operator.core.sql.steps import unchanged
from cipher_operator.postgres.catalog import catalog_query
from cipher_operator.postgres.errors import hashes_itself
from cipher_operator.postgres.inspect import read
from cipher_operator.postgres.limits import own_limits, taking_own
from cipher_operator.postgres.preamble import LIMITS, LOCK_TIMEOUT_MS, LOOKING, PREFIX
from cipher_operator.postgres.session import Session

_SEPARATOR = sql.SQL("; ")


async def apply(
    session: Session,
    plan: Plan,
    desired: Desired,
    *,
    observe: bool = True,
    inside: bool = True,
    done: list[Step] | None = None,
) -> Observed | None:
    """Execute the plan; return what is observed afterwards, `inside` the database or not.

    `done` receives the steps that have run, of use where a later message fails.
    The observation rides in the last message where that is a transaction, else takes one of its own; None
    where `observe` is false. Raises psycopg.Error; a division by zero (22012) means the fence did not hold.
    Raises Failure TLSRequired where a password would have to be sent itself, and there is no TLS.
    """
    observed: Observed | None = None
    look = catalog_query(desired, inside=inside) if observe else None
    messages, own = plan.messages(), False
    for position, message in enumerate(messages):
        last = position == len(messages) - 1
        if message.alone and not own:
            await own_limits(session, lock_ms=LOCK_TIMEOUT_MS)
        text = render(message, plan.lock, look if last else None)
        # What runs alone has them from the message before it, where there is one.
        own = not (message.alone or last) and messages[position + 1].alone
        if own:
            text = text + _SEPARATOR + taking_own(session, lock_ms=LOCK_TIMEOUT_MS)
        results = await _send(session, message, text)
        if done is not None:
            done.extend(message.steps)
        if last and look is not None and not message.alone:
            observed = read(results)
    if look is not None and observed is None:
        observed = read(await session.execute(LOOKING + look))
    return observed


async def _send(session: Session, message: Message, text: sql.Composed) -> list[list[tuple[Any, ...]]]:
    """Send a message with verifiers; where the server hashes passwords itself, with those, over TLS alone."""
    try:
        if message.alone:
            # Creating and dropping a database wait for a checkpoint; the run as a whole is limited.
            return await session.execute(text, seconds=None)
        return await session.execute(with_passwords(text, verifier))
    except psycopg.Error as error:
        if not (hashes_itself(error) and any(step.kind in PASSWORDS for step in message.steps)):
            raise
    if not session.ssl_in_use:
        raise Failure(
            Reason.TLS_REQUIRED,
            "The server hashes passwords itself (as Neon does) and takes no SCRAM verifier, and a password is not sent "
            "over a connection without TLS. Set `spec.connection.sslMode: require`, or verify-full",
            stage=ConditionType.ACCESS_GRANTED,
        )
    return await session.execute(with_passwords(text, lambda password: password.password.reveal()))


def render(message: Message, lock: str, look: sql.Composed | None) -> sql.Composed:
    """Return the SQL of one message. A step that runs alone stands alone: it names everything in full."""
    statements = statements_of(message.steps)
    if message.alone:
        return statements[0]
    parts: list[sql.Composable] = [PREFIX, LIMITS, _lock(lock)]
    if message.fence is not None:
        parts.append(_check(message.fence))
    parts.append(_SEPARATOR.join(statements))
    if look is not None:
        parts.extend((_SEPARATOR, look))
    return sql.Composed(parts)


def with_passwords(composed: sql.Composed, given: Callable[[PasswordOf], str]) -> sql.Composed:
    """Return the statement as it is sent: with what the server is given in the place of each password."""
    return sql.Composed(
        [sql.Literal(given(leaf)) if isinstance(leaf, PasswordOf) else leaf for leaf in leaves(composed)]
    )


def verifier(password: PasswordOf) -> str:
    """Return a new SCRAM-SHA-256 verifier of a login's password."""
    return Session.verifier(password.login, password.password)


def _lock(owner: str) -> sql.Composed:
    """Serialise writers of one storage. Advisory locks are per database: the fence covers the rest.

    Every login of the server may take it, in a database that is open to all: what another than the administrator holds,
    or a prepared transaction, which is nobody's, keeps no storage waiting.
    """
    return compose(
        "SELECT pg_advisory_xact_lock(k) FROM hashtextextended({key}, 0) k WHERE NOT EXISTS (SELECT FROM pg_locks l "
        "LEFT JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
        "AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) "
        "AND (l.classid::bigint << 32 | l.objid::bigint) = k AND a.usename IS DISTINCT FROM session_user); ",
        key=sql.Literal(ADVISORY_LOCK_PREFIX + owner),
    )


def _check(fence: Fence) -> sql.Composed:
    """Abort the message with a division by zero unless the comment is still the one observed."""
    if fence.schema is None:
        return unchanged(fence.on, fence.comment) + _SEPARATOR
    return compose(
        "SELECT 1 / (COALESCE((SELECT obj_description(c.oid, 'pg_class') FROM pg_class c JOIN pg_namespace n "
        "ON n.oid = c.relnamespace WHERE c.relname = {name} AND n.nspname = {schema}), '') = {comment})::int; ",
        name=sql.Literal(fence.on),
        schema=sql.Literal(fence.schema),
        comment=sql.Literal(fence.comment),
    )
