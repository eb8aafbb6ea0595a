"""Indexes of large tables, built beside the runs: they may take an hour, and nothing else waits for them."""

import asyncio
import logging
from collections.abc import Callable

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import ANNOTATION_RECONCILE
from cipher_operator.api.reasons import Reason
from cipher_operator.core.permit import NotLeading
from cipher_operator.postgres.indexes import build_indexes
from cipher_operator.postgres.provision import Report
from cipher_operator.reconcile.decide import Intent
from cipher_operator.reconcile.inputs import Key
from cipher_operator.reconcile.sessions import Sessions

BUILD_SECONDS = 3_600.0
"""How long one build may take."""
PER_SERVER, PER_NAMESPACE = 2, 1
"""Builds at once, and one less than the server gives sessions. Each keeps a slot of its server while it waits for the
transactions of whoever uses the table: with no end to them tenants' idle sessions would keep all slots."""

USED_UP = frozenset({"53000", "53100", "53200", "53400"})
"""SQLSTATEs of open files, disk, memory, and a limit such as `temp_file_limit`: a build takes much of each before it
fails, and others have to do with what is left. A disk that is full by a quota has none of its own."""
REST_SECONDS = 900.0

_NOT_ITS_OWN = frozenset(
    {Reason.SERVER_NOT_AVAILABLE, Reason.LIMIT_EXCEEDED, Reason.CONFLICT, Reason.TARGET_CHANGED, Reason.DATABASE_LOST}
)

OTHERS_FIRST = "an index of a large table waits until others on this server are built; wait, it goes on by itself"

logger = logging.getLogger(__name__)


def is_not_its_own(failure: Failure) -> bool:
    """Return whether this says that the storage has no business any more with what is built. That the pods' door leads
    elsewhere says nothing of where the operator builds."""
    at_door = failure.reason is Reason.TARGET_CHANGED and failure.stage is ConditionType.ACCESS_GRANTED
    return failure.reason in _NOT_ITS_OWN and not at_door


class Builds:
    """The builds under way, one per storage. Each holds a slot of its server's lane, and no worker; who finds no place
    is run again when a build ends."""

    def __init__(self, ended: Callable[[Key], None], monotonic: Callable[[], float]) -> None:
        self._ended, self._monotonic = ended, monotonic
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._failures: dict[Key, Failure] = {}
        self._rests: dict[Key, tuple[float, object]] = {}
        """Until when, in monotonic seconds, and for which way in, what failed is not tried again."""
        self._servers: dict[Key, object] = {}
        """Where the builds under way are."""
        self._waiting: set[Key] = set()

    def failure(self, key: Key) -> Failure | None:
        """Return what keeps the storage from being complete: that its build goes on, or why the last one failed."""
        if key in self._tasks:
            return Failure(Reason.BUILDING_INDEX, Reason.BUILDING_INDEX.advice, stage=ConditionType.SCHEMA_APPLIED)
        if key in self._waiting:
            return Failure(Reason.BUILDING_INDEX, OTHERS_FIRST, stage=ConditionType.SCHEMA_APPLIED)
        if key in self._rests and self._monotonic() < self._rests[key][0]:
            return self._failures.get(key)
        self._rests.pop(key, None)
        return self._failures.pop(key, None)

    def asked(self, key: Key) -> None:
        """Try at once what failed: somebody asks, or it is another matter."""
        if self._rests.pop(key, None) is not None:
            self._failures.pop(key, None)

    def start(self, key: Key, intent: Intent, report: Report, sessions: Sessions) -> None:
        """Build what a run has put off, unless that is under way or others come first."""
        steps = report.deferred
        self._waiting.discard(key)
        server, slots = sessions.lane(intent.admin), sessions.slots(intent.admin)
        if self._servers.get(key, server) != server:
            self.cancel(key)
        if key in self._rests and (not steps or self._rests[key][1] != _way(intent, sessions)):
            self.asked(key)
        if not steps or key in self._tasks or key in self._failures:
            return
        if not self._has_place(key, server, slots):
            self._waiting.add(key)
            return
        release = sessions.keep_slot(intent.admin)
        build = self._build(key, intent, report, sessions, only_slot=slots == 1)
        task = asyncio.create_task(build, name=f"index {'/'.join(key)}")
        self._tasks[key], self._servers[key] = task, server

        def ended(_: object) -> None:
            release()
            self._next_ones()

        task.add_done_callback(ended)

    def _has_place(self, key: Key, server: object, slots: int) -> bool:
        there = [other for other in self._tasks if self._servers[other] == server]
        same = [other for other in there if other[0] == key[0]]
        return len(there) < min(PER_SERVER, max(1, slots - 1)) and len(same) < PER_NAMESPACE

    def _next_ones(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for key in sorted(waiting):
            self._ended(key)

    def cancel(self, key: Key) -> None:
        """End a build: the storage goes, is left alone, or has another server."""
        self._failures.pop(key, None)
        self._rests.pop(key, None)
        self._waiting.discard(key)
        self._servers.pop(key, None)
        if (task := self._tasks.pop(key, None)) is not None:
            task.cancel()

    async def close(self) -> None:
        """End all, and forget why others failed."""
        tasks, self._tasks = set(self._tasks.values()), {}
        self._servers.clear()
        self._waiting.clear()
        self._failures.clear()
        self._rests.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _resting(self, key: Key, way: object, failure: Failure) -> Failure:
        """Return why a build failed, as it is told; one that used up what the server has rests before the next."""
        if failure.sqlstate not in USED_UP and failure.reason is not Reason.DISK_FULL:
            return failure
        self._rests[key] = self._monotonic() + REST_SECONDS, way
        return failure.saying(
            f"An index of a large table was not built: {failure.message.rstrip('.')}. It is tried again after "
            f"{REST_SECONDS / 60:g} min, and at once with a new value of annotation `{ANNOTATION_RECONCILE}`"
        )

    async def _build(self, key: Key, intent: Intent, report: Report, sessions: Sessions, *, only_slot: bool) -> None:
        this = asyncio.current_task()
        started = report.observed.server.started if report.observed is not None else None
        try:
            async with (
                asyncio.timeout(BUILD_SECONDS),
                sessions.beside(intent.admin, intent.desired.database) as session,
            ):
                await build_indexes(session, report.deferred, only_slot=only_slot, started=started)
        except TimeoutError:
            self._failures[key] = Failure(
                Reason.LOCK_TIMEOUT,
                f"an index of a large table was not built within {BUILD_SECONDS / 3_600:g} h; look at what keeps the "
                "server busy",
                stage=ConditionType.SCHEMA_APPLIED,
            )
        except Failure as failure:
            self._failures[key] = self._resting(key, _way(intent, sessions), failure.at(ConditionType.SCHEMA_APPLIED))
        except NotLeading:
            logger.info("an index build ended: this process does not lead any more")
        except Exception:
            logger.exception("an index build failed unexpectedly", extra={"storage": "/".join(key)})
        if self._tasks.get(key) is this:
            del self._tasks[key], self._servers[key]
            self._ended(key)


def _way(intent: Intent, sessions: Sessions) -> object:
    """Return which server a build is on, and as whom."""
    return sessions.lane(intent.admin), sessions.credential(intent.admin)
