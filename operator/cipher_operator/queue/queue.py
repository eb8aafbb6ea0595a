"""When each key is run: at once for what changed, later for what is due, and never while it would only wait.

Level-triggered: a trigger never says what has changed. One run per key at a time; a trigger during it leads to one
more. A worker is taken only for a key whose lanes have room: what waits holds nothing.
"""

import asyncio
import contextvars
import logging
import random
from collections.abc import Awaitable, Callable, Hashable, Set
from functools import partial
from typing import Generic, TypeVar

from cipher_operator.queue.blank import Blank
from cipher_operator.queue.clock import Clock
from cipher_operator.queue.entry import Entry
from cipher_operator.queue.following import Next, backoff
from cipher_operator.queue.lanes import Lanes
from cipher_operator.queue.needs import API, Busy, Name, Need, kept_free, lanes_of
from cipher_operator.queue.observer import Observer
from cipher_operator.queue.ready import Group, Ready
from cipher_operator.queue.residents import Residents
from cipher_operator.queue.share import Share
from cipher_operator.queue.ticket import Ticket
from cipher_operator.queue.waits import Waits
from cipher_operator.queue.ways import Ways

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=tuple[str, ...])
"""What is run by: names, the last but one the namespace."""


class Queue(Generic[K]):
    """Runs keys. `run(key, ticket)` brings one to where it shall be and returns when to come back.

    Keys that name the same `way` have the same needs: while the first one learns them, the others wait.
    """

    def __init__(
        self,
        run: Callable[[K, Ticket], Awaitable[Next]],
        *,
        workers: int,
        workers_per_namespace: int,
        lanes: Lanes,
        clock: Clock,
        namespace: Callable[[K], str] = lambda key: key[-2],
        jitter: Callable[[float, float], float] = random.uniform,
        observer: Observer[K] | None = None,
    ) -> None:
        self._run, self._workers, self._lanes, self._clock = run, workers, lanes, clock
        self._namespace, self._jitter = namespace, jitter
        self._entries: dict[K, Entry] = {}
        self._ready: Ready[K] = Ready(workers, workers_per_namespace, observer)
        self._ways: Ways[K] = Ways()
        self._residents: Residents[K] = Residents(namespace, self._ways.drop)
        self._waits: Waits[K] = Waits()
        self._blank: Blank[K] = Blank()
        self._running, self._share = 0, Share(workers)
        self._woken = self._closed = False
        self._context = contextvars.copy_context()
        lanes.attach(self)

    @property
    def waiting(self) -> int:
        """Return how many keys could be run if there were a worker and room in their lanes."""
        return len(self._ready)

    @property
    def running(self) -> int:
        """Return how many runs are under way."""
        return self._running

    @property
    def known(self) -> int:
        """Return how many keys are remembered."""
        return len(self._entries)

    def enqueue(
        self, key: K, *, urgent: bool = True, after: float = 0.0, changed: bool = False, way: Hashable | None = None
    ) -> None:
        """Run a key now, or in `after` seconds unless it is planned earlier. Ignored after `drain`.

        `changed` says that its needs may be others than before: those of all who name the same `way`.
        """
        if self._closed:
            return
        entry = self._entries.setdefault(key, Entry())
        if changed:
            entry.needs, entry.way, entry.changed = None, way or entry.way, True
            self._residents.go(key, entry.way, lanes_of(self._ways.needs(entry.way) or ()))
        after = max(after, entry.rest(self._clock.now()))
        if after > 0:
            self._plan(key, entry, after)
        elif entry.task is not None:
            entry.dirty = True
        else:
            entry.cancel()
            self._ready.put(key, self._namespace(key), self._group(entry), urgent=urgent)
            self._wake()

    def undone(self) -> list[K]:
        """Return what was asked for and is not done: keys that wait or run, and those whose last run failed."""
        return [key for key, entry in self._entries.items() if key in self._ready or entry.task or entry.failures]

    def forget(self, key: K) -> None:
        """Drop all that is planned and known of a key. A run under way ends by itself and is not repeated."""
        if (entry := self._entries.pop(key, None)) is None:
            return
        entry.cancel()
        self._residents.forget(key)
        self._waits.settle(key, frozenset())
        self._ready.remove(key)

    def relearn(self, through: Hashable) -> None:
        """Forget what is needed on the ways that lead through something: it has changed."""
        if self._ways.forget(through):
            self._wake()

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109 - cancels what is left, which a caller cannot
        """Let runs end within `timeout` seconds, cancel the rest, and run nothing until `resume`; triggers do not
        count. Returns whether nothing had to be cancelled."""
        self._closed = True
        self._ready.clear()
        for entry in self._entries.values():
            entry.cancel()
        tasks = {entry.task for entry in self._entries.values() if entry.task is not None}
        if late := (await asyncio.wait(tasks, timeout=timeout))[1] if tasks else set():
            for task in late:
                task.cancel()
            logger.warning("runs that did not end within %g s were cancelled: %d", timeout, len(late))
            await asyncio.wait(late, timeout=5)
        return not late

    def resume(self) -> None:
        """Take triggers again, after `drain`."""
        self._closed = False

    def freed(self) -> None:
        """Look again who may run."""
        self._wake()

    def opened(self, need: Need) -> None:
        """Run who waits for a lane, or for a credential of it; who was to begin with that goes on."""
        for key in list(self._waits.of(need)):
            self.enqueue(key)
        self._wake()

    def told(self, need: Need) -> None:
        """Run who lives on a lane, or uses a credential of it, so that all say what is wrong."""
        for key in self._residents.of(need[0]) - self._waits.of(need):
            if need[1] is None or need in (self._entries[key].needs or ()):
                self.enqueue(key)

    def needs(self, name: Name) -> bool:
        """Return whether any key is known to need a lane; none does while nothing is run."""
        return not self._closed and bool(self._residents.of(name))

    def shares(self, name: Name) -> bool:
        """Return whether keys of several namespaces are known to need a lane."""
        return self._residents.shared(name)

    def _group(self, entry: Entry) -> Group:
        if entry.needs is not None:
            return entry.needs
        known = self._ways.needs(entry.way)
        return () if entry.way is None else ("way", entry.way) if known is None else known

    def _admits(self, group: Group, namespace: str, full: set[tuple[Name, str]]) -> bool:
        if group[:1] == ("way",):
            return not self._ways.learnt_now(group[1])
        return self._lanes.admits(group, namespace, full)

    def _wake(self) -> None:
        if not self._woken and not self._closed:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._dispatch, context=self._context)

    def _dispatch(self) -> None:
        self._woken, full = False, set[tuple[Name, str]]()
        while self._running < self._workers and not self._closed and self._lanes.reachable:
            # What is new begins at once, not when a check has ended, and few checks begin that take its time from it.
            places = self._share.places(alone=self._running == self._ready.checks)
            picked = self._ready.pick(
                lambda group, namespace: self._admits(group, namespace, full),
                places=places,
                kept=kept_free(places) if self._residents.several else 0,
            )
            if picked is None:
                return
            self._start(*picked)

    def _start(self, key: K, group: Group, urgent: bool) -> None:
        entry, namespace = self._entries[key], self._namespace(key)
        entry.dirty = entry.changed = False
        entry.begin(self._clock.now())
        self._waits.settle(key, frozenset())
        # What was planned before this run is what this run does.
        entry.cancel()
        needs: tuple[Need, ...] = () if group[:1] == ("way",) else group
        # One slot of a lane, with however many credentials: a run has one session at a time.
        reserved = lanes_of(need for need in ((API, None), *needs) if self._lanes.cause(*need) is None)
        reserved = [name for name in reserved if self._lanes.take(name, namespace)]
        learns = group[1] if group[:1] == ("way",) else None
        if learns is not None:
            self._ways.begin(learns, key)
        wait = partial(self._wait, key, entry)
        ticket = Ticket(self._lanes, namespace, reserved, lambda: self._learnt(key, entry, ticket, learns), wait)
        self._running += 1
        self._ready.begin(namespace, urgent=urgent)
        loop = asyncio.get_running_loop()
        entry.task = loop.create_task(
            self._work(key, entry, ticket, learns, urgent), name=f"run {'/'.join(key)}", context=self._context.copy()
        )

    async def _work(self, key: K, entry: Entry, ticket: Ticket, learns: Hashable | None, urgent: bool) -> None:
        following, busy, began = None, False, self._clock.now()
        try:
            following = await self._run(key, ticket)
            if not (urgent or following.failed):
                self._share.took(ticket.needs, self._clock.now() - began, self._clock.now())
        except Busy:
            busy = True
        except Exception:
            logger.exception("a run failed unexpectedly", extra={"storage": "/".join(key)})
            following = Next(failed=True)
        finally:
            entry.task = None
            self._running -= 1
            self._ready.end(self._namespace(key), urgent=urgent)
            if learns is not None:
                self._ways.leave(learns, key)
            ticket.close()
            if self._entries.get(key) is entry:
                self._after(key, entry, ticket, following, busy=busy)
            self._wake()

    def _after(self, key: K, entry: Entry, ticket: Ticket, following: Next | None, *, busy: bool) -> None:
        if ticket.needs:
            self._settle(key, entry, ticket.needs)
        elif following is not None and not following.failed and not entry.changed:
            # It came to its end without a server, as where it is suspended.
            entry.needs = ()
            self._residents.forget(key)
        if busy:
            entry.began_in_vain()
        if following is not None and not following.failed:
            entry.failures = 0
        if entry.dirty or busy:
            self.enqueue(key)
        elif following is None:
            return
        elif following.gone:
            self.forget(key)
        elif following.failed:
            entry.failures += 1
            self._plan(key, entry, backoff(entry.failures, self._jitter))
        elif following.after is not None:
            self._plan(key, entry, following.after * self._jitter(1 - following.spread, 1 + following.spread))
        else:
            self._blank.add(key, entry)
            for over in self._blank.over(self._clock.now(), self._entries, self._ready):
                self.forget(over)

    def _learnt(self, key: K, entry: Entry, ticket: Ticket, learns: Hashable | None) -> None:
        """Let those of the same way go on with what is known now."""
        if self._entries.get(key) is entry:
            self._settle(key, entry, ticket.needs)
        if learns is not None and self._ways.learn(learns, key, ticket.needs):
            self._residents.learn(learns, lanes_of(ticket.needs))
            self._ready.regroup(("way", learns), ticket.needs)
            self._wake()

    def _wait(self, key: K, entry: Entry, needs: Set[Need]) -> None:
        """Note what a key waits for. Where that opens while its run is under way, one more follows."""
        if self._entries.get(key) is entry:
            self._waits.settle(key, needs)

    def _settle(self, key: K, entry: Entry, needs: tuple[Need, ...]) -> None:
        """Note what a key needs, unless that has changed since its run began."""
        if not entry.changed:
            entry.needs = needs
            self._residents.settle(key, lanes_of(needs))

    def _plan(self, key: K, entry: Entry, seconds: float) -> None:
        due = self._clock.now() + seconds
        if entry.timer is not None:
            if entry.due <= due:
                return
            entry.cancel()
        entry.due = due
        entry.timer = self._clock.call_at(due, lambda: self._due(key, entry))

    def _due(self, key: K, entry: Entry) -> None:
        entry.timer = None
        if self._entries.get(key) is entry:
            self.enqueue(key, urgent=False)
