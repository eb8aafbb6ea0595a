"""Looking: the catalog query sent within limits of its own, and its answer as facts."""

import contextlib
import time
from typing import Any

import psycopg
from psycopg import sql

from cipher_operator.core.desired import Desired
from cipher_operator.core.observed import Observed, decode
from cipher_operator.core.plan.fitness import refuse_unsupported
from cipher_operator.postgres.catalog import catalog_query
from cipher_operator.postgres.preamble import LOOKING
from cipher_operator.postgres.session import STATEMENT_SECONDS, Session

COLD_TRIES, COLD_SECONDS = 4, 1.0
"""The first words of a new session take milliseconds, which such a limit may not give; the same words again do not."""

_IMITATED = frozenset({"0A", "22", "26", "42", "XX"})
"""Classes of SQLSTATE with which what only speaks PostgreSQL's protocol refuses the catalog query."""
_VERSION = sql.SQL("SELECT pg_catalog.version()")


def read(results: list[list[tuple[Any, ...]]]) -> Observed:
    """Return the observed state from the results of a message that ended with the catalog query."""
    return decode(results[-1][0][0])


async def observe(
    session: Session, desired: Desired, *, inside: bool = True, seconds: float = STATEMENT_SECONDS
) -> Observed:
    """Return the observed state in one round trip. Raises psycopg.Error, and Failure UnsupportedServer.

    With `inside` False only what every database of the server knows.

    A server that has not answered after `seconds` is given up: Silent.
    """
    refuse_unsupported(session.server_version)
    message, begun = LOOKING + catalog_query(desired, inside=inside), time.monotonic()
    try:
        for _ in range(COLD_TRIES - 1):
            with contextlib.suppress(psycopg.errors.QueryCanceled):
                return read(await session.execute(message, seconds=seconds))
            if time.monotonic() - begun > COLD_SECONDS:
                break
        return read(await session.execute(message, seconds=seconds))
    except psycopg.Error as error:
        if (error.sqlstate or "")[:2] in _IMITATED and not session.closed:
            await _refuse_imitation(session)
        raise


async def _refuse_imitation(session: Session) -> None:
    """Raise UnsupportedServer where what does not know the catalog says that it is another product."""
    with contextlib.suppress(psycopg.Error):
        product = (await session.execute(_VERSION))[-1][0][0]
        refuse_unsupported(session.server_version, str(product))
