"""An operator whose session ends at one statement: before it, behind it, or before its answer."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

import psycopg
from psycopg import sql

from cipher_operator.postgres.session import Session
from support.provision import Provisioner

SLEEP = "SELECT pg_catalog.pg_sleep(60)"


class Moment(Enum):
    BEFORE = "before it"
    BEHIND = "behind it, in its transaction"
    UNANSWERED = "when it is done, before its answer"


class _Held:
    """A session that stops at the statement; what has no transaction is met before it and when it is done."""

    def __init__(self, session: Session, operator: "Interrupted") -> None:
        self._session, self._operator = session, operator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def execute(self, message: sql.Composable, **how: Any) -> list[list[tuple[Any, ...]]]:
        text, operator = message.as_string(None), self._operator
        found = operator.statement.search(text)
        if found is None or operator.met.is_set():
            return await self._session.execute(message, **how)
        operator.pid = self._session.backend_pid
        alone = not text.startswith("SET LOCAL")
        if operator.moment is Moment.UNANSWERED or (alone and operator.moment is Moment.BEHIND):
            await self._session.execute(message, **how)
            operator.done = True
            operator.met.set()
            await operator.over.wait()
            await self._session.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        operator.met.set()
        if alone:
            await self._session.execute(sql.SQL(SLEEP), **how)
        behind = text.find("; ", found.end())
        end = len(text) if behind < 0 else behind
        at = found.start() if operator.moment is Moment.BEFORE else end
        held = f"{text[:at]}{SLEEP}; {text[at:]}" if at < end else f"{text[:at]}; {SLEEP}{text[at:]}"
        return await self._session.execute(sql.Composed([sql.SQL(held)]), **how)


@dataclass
class Interrupted(Provisioner):
    """Its session waits, once, at the statement that begins like `statement`: `met` tells that it does; it goes on when
    `over`, where it is not ended meanwhile."""

    statement: re.Pattern[str] = field(default=re.compile("$^"))
    moment: Moment = Moment.BEFORE
    met: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    pid: int = 0
    done: bool = False
    """The statement has been committed."""

    @asynccontextmanager
    async def connect(self, database: str) -> AsyncIterator[Session]:
        async with super().connect(database) as session:
            yield cast(Session, _Held(session, self))
