"""Execution of a plan: few messages, each an implicit transaction, each fenced and locked."""

from psycopg import sql

from cipher_operator.api.names import ADVISORY_LOCK_PREFIX
from cipher_operator.core.desired import Desired
from cipher_operator.core.observed import Observed
from cipher_operator.core.plan.plan import Fence, Plan
from cipher_operator.core.steps import CreateOwner, Step, WriteMarker, is_alone, statements_of, unchanged
from cipher_operator.postgres.inspect import LIMITS, PREFIX, catalog_query, read
from cipher_operator.postgres.session import Session

_SEPARATOR = sql.SQL("; ")


async def apply(
    session: Session, plan: Plan, desired: Desired, *, observe: bool = True, done: list[Step] | None = None
) -> tuple[Observed | None, int]:
    """Execute the plan; return what is observed afterwards and how many statements ran.

    `done` receives the steps that have run, of use where a later message fails.
    The observation rides in the last message where that is a transaction, else takes one of its own; None
    where `observe` is false. Raises psycopg.Error; a division by zero (22012) means the fence did not hold.
    """
    observed: Observed | None = None
    count = 0
    messages = plan.messages()
    fence = plan.fence
    for position, message in enumerate(messages):
        last = position == len(messages) - 1
        results = await session.execute(render(message, plan.lock, fence, desired if last and observe else None))
        if done is not None:
            done.extend(message)
        count += sum(len(step.statements()) for step in message)
        fence = _fence_after(fence, message)
        if last and observe and not is_alone(message[0]):
            observed = read(results)
    if observe and observed is None:
        observed = read(await session.execute(PREFIX + catalog_query(desired)))
    return observed, count


def render(message: tuple[Step, ...], lock: str, fence: Fence | None, then_observe: Desired | None) -> sql.Composable:
    """Return the SQL of one message. A step that runs alone stands alone: it names everything in full."""
    statements = statements_of(message)
    if is_alone(message[0]):
        return statements[0]
    parts: list[sql.Composable] = [PREFIX, LIMITS, _lock(lock)]
    if fence is not None:
        parts.append(_check(fence))
    parts.append(_SEPARATOR.join(statements))
    if then_observe is not None:
        parts.extend((_SEPARATOR, catalog_query(then_observe)))
    return sql.Composed(parts)


def _lock(owner: str) -> sql.Composed:
    """Serialise writers of one storage. Advisory locks are per database: the fence covers the rest."""
    return sql.SQL("SELECT pg_advisory_xact_lock(hashtextextended({key}, 0)); ").format(
        key=sql.Literal(ADVISORY_LOCK_PREFIX + owner)
    )


def _check(fence: Fence) -> sql.Composed:
    """Abort the message with a division by zero unless the comment is still the one observed."""
    if fence.schema is None:
        return unchanged(fence.on, fence.comment) + _SEPARATOR
    return sql.SQL(
        "SELECT 1 / (COALESCE((SELECT obj_description(c.oid, 'pg_class') FROM pg_class c JOIN pg_namespace n "
        "ON n.oid = c.relnamespace WHERE c.relname = {name} AND n.nspname = {schema}), '') = {comment})::int; "
    ).format(name=sql.Literal(fence.on), schema=sql.Literal(fence.schema), comment=sql.Literal(fence.comment))


def _fence_after(fence: Fence | None, message: tuple[Step, ...]) -> Fence | None:
    """Return the fence for the next message: a marker written by this one is the one to expect."""
    for step in message:
        if isinstance(step, CreateOwner | WriteMarker):
            return Fence(step.owner, step.marker)
    return fence
