"""An operator that falls asleep between two of its messages, as a paused or frozen process does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from psycopg import sql

from cipher_operator.postgres.session import Session
from support.provision import Provisioner


class _Watched:
    """A session that tells of each message before it is sent."""

    def __init__(self, session: Session, before: Callable[[str], Any]) -> None:
        self._session, self._before = session, before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def execute(self, message: sql.Composable, **how: Any) -> list[list[tuple[Any, ...]]]:
        await self._before(message.as_string(None))
        return await self._session.execute(message, **how)


@dataclass
class Sleeper(Provisioner):
    """Sleeps before the message with number `before` (from 0), over all its sessions, until it is woken."""

    before: int | None = None
    messages: list[str] = field(default_factory=list)
    asleep: asyncio.Event = field(default_factory=asyncio.Event)
    awake: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def connect(self, database: str) -> AsyncIterator[Session]:
        async with super().connect(database) as session:
            yield cast(Session, _Watched(session, self._pass))

    async def _pass(self, message: str) -> None:
        self.messages.append(message)
        if len(self.messages) - 1 == self.before:
            self.asleep.set()
            await self.awake.wait()
