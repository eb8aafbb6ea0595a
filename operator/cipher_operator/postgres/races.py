"""Others who write the same objects at the same moment: who loses looks again."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import psycopg

from cipher_operator.postgres.errors import is_race
from cipher_operator.postgres.session import Session

ROUNDS = 8
"""Tries against others who write the same objects; each that loses a race observes again."""
RACE_PAUSE = 0.05
"""Seconds at most, before a lost race is looked at again; longer each time."""


async def in_rounds(session: Session, look_and_act: Callable[[], Awaitable[bool]]) -> bool:
    """Look and act until that returns True for nothing left to do; return False where it never did.

    Raises psycopg.Error: what is no race at once, a lost race where it was the last round.
    """
    for number in range(1, ROUNDS + 1):
        try:
            if await look_and_act():
                return True
        except psycopg.Error as error:
            if number == ROUNDS or session.closed or not is_race(error):
                raise
            await asyncio.sleep(random.uniform(0, RACE_PAUSE) * number)  # noqa: S311 - spreads, hides nothing
    return False
