"""Statements in the operator's own sessions, as text."""

import psycopg
import pytest
from psycopg import sql

from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.session import Session

POLICY = DialPolicy((), 5.0)


async def run(session: Session, text: str) -> list[list[tuple[object, ...]]]:
    return await session.execute(sql.SQL(text))


async def error_of(session: Session, text: str) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as caught:
        await run(session, text)
    return caught.value
