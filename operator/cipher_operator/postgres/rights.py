"""What the administrator's login may do, asked without a storage in mind: for the status of a CipherServer."""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from cipher_operator.core.observed import Admin, admin_from
from cipher_operator.core.plan.fitness import refuse_unsupported
from cipher_operator.postgres.catalog import ADMIN
from cipher_operator.postgres.errors import Attempt, classify
from cipher_operator.postgres.preamble import LOOKING
from cipher_operator.postgres.session import Session

_QUERY = (
    """SELECT jsonb_build_object('version', current_setting('server_version_num')::int,
  'product', left(version(), 100),
  'read_only', pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
  """
    + ADMIN
    + ")"
)


@dataclass(frozen=True, slots=True)
class Rights:
    """A server and its administrator's login. `version` is server_version_num."""

    version: int
    read_only: bool
    admin: Admin


async def look(session: Session) -> Rights:
    """Return them, in one round trip. Raises Failure."""
    refuse_unsupported(session.server_version)
    try:
        answer = (await session.execute(LOOKING + sql.SQL(_QUERY)))[-1][0][0]
    except psycopg.Error as error:
        raise classify(error, Attempt(login=session.role)) from None
    refuse_unsupported(answer["version"], answer["product"])
    return Rights(answer["version"], answer["read_only"], admin_from(answer["admin"]))
