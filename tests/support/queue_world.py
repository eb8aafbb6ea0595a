"""A queue with a clock that the test turns: no test of it sleeps."""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from cipher_operator.queue.following import Next
from cipher_operator.queue.lanes import Lanes
from cipher_operator.queue.needs import API, Name
from cipher_operator.queue.queue import Queue
from cipher_operator.queue.ticket import Ticket

Key = tuple[str, str]
SETTLE = 60
"""Turns of the event loop after which everything that follows from something has happened."""


@dataclass
class VirtualTimer:
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class VirtualClock:
    """Seconds pass when `advance` says so; what is due then runs in its order."""

    time: float = 1_000.0
    timers: list[tuple[float, int, VirtualTimer]] = field(default_factory=list)
    count: "itertools.count[int]" = field(default_factory=itertools.count)

    def now(self) -> float:
        return self.time

    def call_at(self, when: float, callback: Callable[[], None]) -> VirtualTimer:
        timer = VirtualTimer(callback)
        heapq.heappush(self.timers, (when, next(self.count), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        end = self.time + seconds
        await self.settle()
        while self.timers and self.timers[0][0] <= end:
            when, _, timer = heapq.heappop(self.timers)
            self.time = max(self.time, when)
            if not timer.cancelled:
                timer.callback()
                await self.settle()
        self.time = end
        await self.settle()

    async def sleep(self, seconds: float) -> None:
        """Sleep in this clock's time."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.call_at(self.time + seconds, lambda: None if future.done() else future.set_result(None))
        await future

    async def settle(self) -> None:
        for _ in range(SETTLE):
            await asyncio.sleep(0)


@dataclass
class World:
    """`servers` says how long a login takes in a lane, or None where it never answers within 5 s; `answers` is what
    its probe is told."""

    workers: int = 32
    share: int = 8
    slots: int = 8
    clock: VirtualClock = field(default_factory=VirtualClock)
    answers: dict[Name, bool | float] = field(default_factory=dict)
    run: Callable[["World", Key, Ticket], Awaitable[Next]] | None = None
    runs: list[tuple[float, Key]] = field(default_factory=list)
    probes: list[tuple[float, Name]] = field(default_factory=list)
    outages: list[tuple[Name, bool]] = field(default_factory=list)
    most: int = 0

    def __post_init__(self) -> None:
        self.lanes = Lanes(
            self.clock,
            self._probe,
            slots=self.slots,
            share=max(1, self.workers // 4),
            outage=lambda name, over, cause, seconds: self.outages.append((name, over)),
            jitter=lambda low, high: (low + high) / 2,
        )
        self.queue: Queue[Key] = Queue(
            self._run,
            workers=self.workers,
            workers_per_namespace=self.share,
            lanes=self.lanes,
            clock=self.clock,
            jitter=lambda low, high: (low + high) / 2,
        )

    async def _probe(self, name: Name) -> bool | float:
        self.probes.append((self.clock.now(), name))
        return self.answers.get(name, True)

    async def _run(self, key: Key, ticket: Ticket) -> Next:
        self.runs.append((self.clock.now(), key))
        self.most = max(self.most, self.queue.running)
        assert self.run is not None
        return await self.run(self, key, ticket)

    def count(self, key: Key) -> int:
        return sum(1 for _, run in self.runs if run == key)

    def free(self) -> bool:
        """Return whether nobody holds anything."""
        return self.lanes.counts().held == 0 and self.queue.running == 0 and self.lanes._of(API).held == 0
