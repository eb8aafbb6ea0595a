"""Changes that bring tables back to what Cipher makes, and that what is in them may refuse: tried, and told."""

from dataclasses import replace

import psycopg

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.core.ownership import marker_changed
from cipher_operator.core.plan.flaws import Mend
from cipher_operator.core.plan.plan import Message, Plan
from cipher_operator.core.sql.step import MARKERS, lines_of
from cipher_operator.postgres.apply import render
from cipher_operator.postgres.errors import Attempt, classify, is_fence
from cipher_operator.postgres.session import Session

NULLS_LEFT = "23502"
"""SQLSTATE of SET NOT NULL where rows hold NULL."""


async def mend(session: Session, plan: Plan, *, done: list[str], words: bool = True) -> tuple[str, ...]:
    """Run each mend in a transaction of its own, fenced and within the operator's limits; return a warning for each
    that did not run. To `done` come the SQL lines that did, also where a later one ends it.

    A refused one keeps nothing from being Ready: Cipher has worked with the table as it is. Without `words` a warning
    has none of the server's own, which name anything. Raises Failure where the session is lost, or somebody else works
    on the storage.
    """
    warnings: list[str] = []
    for each in plan.mends:
        (line,) = lines_of((replace(each.step, acting=None),))
        try:
            await session.execute(render(Message((each.step,), plan.fence), plan.lock, None))
        except psycopg.Error as error:
            failure = classify(error, Attempt(login=session.role))
            if is_fence(error):
                raise marker_changed() from None
            if session.closed:
                raise failure.at(ConditionType.SCHEMA_APPLIED) from None
            warnings.append(_refused(each, line, failure, failure.message if words else str(failure.reason)))
        else:
            done.append(line)
    return tuple(warnings)


def _refused(mend: Mend, line: str, failure: Failure, why: str) -> str:
    where = f"table '{mend.table}'"
    if mend.step.kind in MARKERS:
        return f"{where} has no copy of the ownership marker yet: the server did not take it ({why})"
    if failure.sqlstate == NULLS_LEFT:
        return (
            f"column '{mend.column}' of {where} has lost NOT NULL, and some rows hold NULL: fill or delete them, then "
            f"run: {line}"
        )
    return f"{where} is not as Cipher makes it, and the server did not take: {line} ({why})"
