"""What is on a server for storages that may not use it: their markers tell, which nobody of them can write."""

from collections.abc import Iterable

import psycopg
from psycopg import sql

from cipher_operator.core.marker import Marker, parse_marker
from cipher_operator.postgres.errors import classify
from cipher_operator.postgres.preamble import LOOKING
from cipher_operator.postgres.session import Session

_QUERY = "SELECT left(shobj_description(r.oid, 'pg_authid'), 4096) FROM pg_roles r WHERE r.rolname = ANY ({})"


async def claims(session: Session, owners: Iterable[str]) -> list[Marker]:
    """Return the markers of these owner roles, as far as they have one. Raises Failure."""
    try:
        rows = (await session.execute(LOOKING + sql.SQL(_QUERY).format(sql.Literal(sorted(owners)))))[-1]
    except psycopg.Error as error:
        raise classify(error) from None
    return [marker for (comment,) in rows if (marker := parse_marker(comment)) is not None]
