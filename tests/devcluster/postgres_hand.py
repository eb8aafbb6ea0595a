"""A test's own hand on a server: a session of the superuser that stays open from one statement to the next."""

from __future__ import annotations

import contextlib
import select
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

Parameters = Sequence[Any] | Mapping[str, Any] | None


def run(connection: psycopg.Connection[Any], sql: str, parameters: Parameters) -> list[tuple[Any, ...]]:
    """Run SQL and return the rows of the last result. Raises psycopg.Error."""
    # SQL of a test's own making; psycopg wants a literal so that nobody builds SQL from strangers' input.
    cursor = connection.execute(sql.encode(), parameters)
    while cursor.nextset():
        pass
    return cursor.fetchall() if cursor.description else []


class Hand:
    """A session that is kept, because a new one costs a server more than most of what tests ask of it.

    Nothing stays in it from one statement to the next. Safe to use from any thread: a second one at the same time is
    given a connection of its own.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect = connect
        self._kept: psycopg.Connection[Any] | None = None
        self._free = threading.Lock()

    def execute(self, sql: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        """Run SQL outside a transaction block and return the rows of the last result. Raises psycopg.Error."""
        if not self._free.acquire(blocking=False):
            with self._connect() as connection:
                return run(connection, sql, parameters)
        try:
            with self._session() as connection:
                return run(connection, sql, parameters)
        finally:
            self._free.release()

    @contextlib.contextmanager
    def _session(self) -> Iterator[psycopg.Connection[Any]]:
        kept, self._kept = self._kept, None
        if kept is not None and _ended(kept):
            kept.close()
            kept = None
        kept = kept or self._connect()
        try:
            yield kept
            kept.execute("DISCARD ALL")
        except BaseException:
            kept.close()
            raise
        self._kept = kept

    def let_go(self) -> None:
        """End the session, where there is one."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None


def _ended(connection: psycopg.Connection[Any]) -> bool:
    """Return whether the server has said something, unasked: that is its end."""
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return connection.closed or bool(waiting.poll(0))
