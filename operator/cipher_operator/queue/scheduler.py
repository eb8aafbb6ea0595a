"""Runs storages by key: one run per key at a time, triggers coalesced, a bounded number of runs at once."""

import asyncio
import contextvars
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

BACKOFF_BASE, BACKOFF_CAP = 2.0, 60.0
"""Seconds after the first unexpected exception of a run, and at most."""

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=tuple[str, ...])
"""What is run by: names, written with slashes between in the log."""
Run = Callable[[K], Awaitable[float | None]]
"""Returns the seconds to the next run, or None where only a trigger starts another."""


@dataclass(slots=True)
class _Entry:
    task: asyncio.Task[None] | None = None
    running: bool = False
    dirty: bool = False
    forgotten: bool = False
    """Gone while its run was under way: what that run returns is not planned."""
    timer: asyncio.TimerHandle | None = None
    failures: int = 0


class Scheduler(Generic[K]):
    """Level-triggered: a trigger says that something may have changed, never what.

    A trigger during a run leads to exactly one more run after it; of several planned runs the earliest counts. A
    run that raises is a bug: it is logged and tried again after 2 s to 60 s.
    """

    def __init__(
        self, run: Run[K], concurrency: int, *, jitter: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._run, self._jitter = run, jitter
        self._slots = asyncio.Semaphore(concurrency)
        self._entries: dict[K, _Entry] = {}
        self._closed = False
        # A task or timer made in an informer's callback would hold that callback's context, and with it an object.
        self._context = contextvars.copy_context()

    @property
    def waiting(self) -> int:
        """Return how many keys wait for a free slot."""
        return sum(1 for entry in self._entries.values() if entry.task is not None and not entry.running)

    @property
    def running(self) -> int:
        """Return how many runs are under way."""
        return sum(1 for entry in self._entries.values() if entry.running)

    @property
    def known(self) -> int:
        """Return how many keys have a run now or planned."""
        return len(self._entries)

    def trigger(self, key: K, delay: float = 0.0) -> None:
        """Run a key now, or in `delay` seconds unless it is planned earlier. Ignored after `drain`."""
        if self._closed:
            return
        entry = self._entries.setdefault(key, _Entry())
        entry.forgotten = False
        if delay > 0:
            self._plan(key, entry, delay)
        elif entry.running:
            entry.dirty = True
        elif entry.task is None:
            self._cancel_timer(entry)
            entry.task = asyncio.get_running_loop().create_task(
                self._work(key, entry), name=f"run {'/'.join(key)}", context=self._context.copy()
            )

    def forget(self, key: K) -> None:
        """Drop what is planned for a key. A run under way ends by itself and is not repeated."""
        entry = self._entries.get(key)
        if entry is None:
            return
        self._cancel_timer(entry)
        if entry.running:
            # Kept, so that a trigger for a new object of that name waits for the end of this run.
            entry.dirty, entry.forgotten = False, True
            return
        if entry.task is not None:
            entry.task.cancel()
        del self._entries[key]

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109 - cancels what is left, which a caller cannot
        """Take no more triggers, let runs under way end within `timeout` seconds, cancel the rest.

        Returns whether nothing had to be cancelled.
        """
        self._closed = True
        tasks = set()
        for entry in self._entries.values():
            self._cancel_timer(entry)
            if entry.task is not None:
                tasks.add(entry.task)
                if not entry.running:
                    entry.task.cancel()
        if not tasks:
            return True
        _, late = await asyncio.wait(tasks, timeout=timeout)
        for task in late:
            task.cancel()
        if late:
            logger.warning("%d runs did not end within %g s and were cancelled", len(late), timeout)
            await asyncio.wait(late, timeout=5)
        return not late

    def _plan(self, key: K, entry: _Entry, delay: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + delay
        if entry.timer is not None and entry.timer.when() <= due:
            return
        self._cancel_timer(entry)
        entry.timer = loop.call_at(due, self._due, key, entry, context=self._context)

    def _due(self, key: K, entry: _Entry) -> None:
        entry.timer = None
        if self._entries.get(key) is entry:
            self.trigger(key)

    @staticmethod
    def _cancel_timer(entry: _Entry) -> None:
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None

    async def _work(self, key: K, entry: _Entry) -> None:
        delay: float | None = None
        try:
            while True:
                async with self._slots:
                    entry.running = True
                    entry.dirty = False
                    # What was planned before this run is what this run does.
                    self._cancel_timer(entry)
                    delay = await self._once(key, entry)
                entry.running = False
                if not entry.dirty or self._closed:
                    break
        finally:
            entry.running = False
            entry.task = None
            if self._entries.get(key) is entry:
                if delay is not None and not self._closed and not entry.forgotten:
                    self._plan(key, entry, delay)
                if entry.timer is None:
                    del self._entries[key]

    async def _once(self, key: K, entry: _Entry) -> float | None:
        try:
            delay = await self._run(key)
        except Exception:
            entry.failures += 1
            delay = self._jitter(0.5, 1.0) * min(BACKOFF_CAP, BACKOFF_BASE * 2 ** min(entry.failures - 1, 10))
            logger.exception("a run failed unexpectedly", extra={"storage": "/".join(key)})
        else:
            entry.failures = 0
        return delay
