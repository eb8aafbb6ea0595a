"""The proof that a published login works."""

import psycopg
from psycopg import sql

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.desired import Desired
from cipher_operator.core.sql.composing import schemas_in
from cipher_operator.postgres.errors import classify
from cipher_operator.postgres.session import Session


async def prove_login(session: Session, desired: Desired, login: str) -> None:
    """Raise Failure AccessDenied unless this session, opened as the app would, acts as the owner role.

    `ALTER ROLE … SET role` without the membership fails silently at login (reference: ALTER ROLE), so a login that
    succeeds proves nothing yet. The path is read without the operator's own prefix, which sets another, and as the
    setting that it is: the schema may be created while this runs.
    """
    query = sql.SQL("SELECT current_user, pg_catalog.current_setting('search_path')")
    try:
        acting, path = (await session.execute(query))[-1][0]
    except psycopg.Error as error:
        raise classify(error).at(ConditionType.ACCESS_GRANTED) from None
    if acting != desired.owner:
        raise _unusable(login, f"acts as role '{acting}', must act as '{desired.owner}'")
    if schemas_in(path)[0] != desired.schema:
        raise _unusable(login, f"works with search_path '{path}', must work in schema '{desired.schema}'")


def _unusable(login: str, what: str) -> Failure:
    return Failure(
        Reason.ACCESS_DENIED,
        f"login '{login}' {what}: a setting on the server overrides the role's own; look for ALTER ROLE … SET and "
        "ALTER DATABASE … SET",
        stage=ConditionType.ACCESS_GRANTED,
    )
