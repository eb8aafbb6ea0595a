"""Indexes of large tables, built beside the runs: they may take an hour, and nothing else waits for them."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.permit import NotLeading
from cipher_operator.core.sql.step import Step
from cipher_operator.postgres.indexes import build_indexes
from cipher_operator.reconcile.decide import Intent
from cipher_operator.reconcile.inputs import Key
from cipher_operator.reconcile.sessions import Sessions

BUILD_SECONDS = 3_600.0
"""How long one build may take."""

logger = logging.getLogger(__name__)


class Builds:
    """The builds under way, one per storage. Each holds a slot of its server's lane, and no worker."""

    def __init__(self, ended: Callable[[Key], None]) -> None:
        self._ended = ended
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._failures: dict[Key, Failure] = {}

    def failure(self, key: Key) -> Failure | None:
        """Return what keeps the storage from being complete: that its build goes on, or why the last one failed."""
        if key in self._tasks:
            return Failure(Reason.BUILDING_INDEX, Reason.BUILDING_INDEX.advice, stage=ConditionType.SCHEMA_APPLIED)
        return self._failures.pop(key, None)

    def start(self, key: Key, intent: Intent, steps: Sequence[Step], sessions: Sessions) -> None:
        """Build what a run has put off, unless that is under way."""
        if not steps or key in self._tasks or key in self._failures:
            return
        release = sessions.keep_slot(intent.admin)
        task = asyncio.create_task(self._build(key, intent, tuple(steps), sessions), name=f"index {'/'.join(key)}")
        self._tasks[key] = task
        task.add_done_callback(lambda _: release())

    def cancel(self, key: Key) -> None:
        """End a build: the storage goes, or is left alone."""
        self._failures.pop(key, None)
        if (task := self._tasks.pop(key, None)) is not None:
            task.cancel()

    async def close(self) -> None:
        """End all, and forget why others failed."""
        tasks, self._tasks = set(self._tasks.values()), {}
        self._failures.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _build(self, key: Key, intent: Intent, steps: tuple[Step, ...], sessions: Sessions) -> None:
        this = asyncio.current_task()
        try:
            async with (
                asyncio.timeout(BUILD_SECONDS),
                sessions.beside(intent.admin, intent.desired.database) as session,
            ):
                await build_indexes(session, steps)
        except TimeoutError:
            self._failures[key] = Failure(
                Reason.LOCK_TIMEOUT,
                f"an index of a large table was not built within {BUILD_SECONDS / 3_600:g} h; look at what keeps the "
                "server busy",
                stage=ConditionType.SCHEMA_APPLIED,
            )
        except Failure as failure:
            self._failures[key] = failure.at(ConditionType.SCHEMA_APPLIED)
        except NotLeading:
            logger.info("an index build ended: this process does not lead any more")
        except Exception:
            logger.exception("an index build failed unexpectedly", extra={"storage": "/".join(key)})
        if self._tasks.get(key) is this:
            del self._tasks[key]
            self._ended(key)
