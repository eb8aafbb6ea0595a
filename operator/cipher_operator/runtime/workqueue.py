"""What Prometheus reads of a queue, under the names that controller-runtime gave these metrics."""

import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cipher_operator.queue.following import Next
from cipher_operator.queue.needs import Busy
from cipher_operator.queue.ticket import Ticket

SECONDS = (0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

K = TypeVar("K", bound=Hashable)


class Families:
    """The metrics of all queues; the label `name` is the queue's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        names = ["name"]
        self.depth = Gauge("workqueue_depth", "Keys that wait to be run.", names, registry=registry)
        self.adds = Counter("workqueue_adds", "Keys that came to wait.", names, registry=registry)
        self.retries = Counter("workqueue_retries", "Runs that failed and are backed off.", names, registry=registry)
        self.waited = Histogram(
            "workqueue_queue_duration_seconds",
            "How long a key waited before its run.",
            names,
            buckets=SECONDS,
            registry=registry,
        )
        self.worked = Histogram(
            "workqueue_work_duration_seconds", "How long a run took.", names, buckets=SECONDS, registry=registry
        )
        self.unfinished = Gauge(
            "workqueue_unfinished_work_seconds",
            "Seconds that all runs under way have taken so far.",
            names,
            registry=registry,
        )
        self.longest = Gauge(
            "workqueue_longest_running_processor_seconds",
            "Seconds that the longest of the runs under way has taken so far.",
            names,
            registry=registry,
        )


class Workqueue(Generic[K]):
    """One queue's, to which it is an observer. `ended` is called with every key whose run has ended."""

    def __init__(
        self,
        families: Families,
        name: str,
        ended: Callable[[K], None] = lambda key: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ended, self._clock = ended, clock
        self._waiting: dict[K, float] = {}
        self._working: dict[K, float] = {}
        self._depth, self._unfinished, self._longest = (
            family.labels(name=name) for family in (families.depth, families.unfinished, families.longest)
        )
        self._adds, self._retries = families.adds.labels(name=name), families.retries.labels(name=name)
        self._waited, self._worked = families.waited.labels(name=name), families.worked.labels(name=name)

    @property
    def working(self) -> int:
        """Return how many runs are under way."""
        return len(self._working)

    def added(self, key: K) -> None:
        """Count a key that waits."""
        self._adds.inc()
        self._waiting[key] = self._clock()

    def taken(self, key: K) -> None:
        """Measure how long it waited."""
        self._waited.observe(self._clock() - self._waiting.pop(key))

    def dropped(self, key: K) -> None:
        """Forget that it waits."""
        del self._waiting[key]

    async def run(self, work: Callable[[K, Ticket], Awaitable[Next]], key: K, ticket: Ticket) -> Next:
        """Do the work of one key, and count it."""
        started = self._working[key] = self._clock()
        failed = True
        try:
            following = await work(key, ticket)
            failed = following.failed
            return following
        except Busy:
            failed = False
            raise
        finally:
            del self._working[key]
            self._worked.observe(self._clock() - started)
            if failed:
                self._retries.inc()
            self._ended(key)

    def refresh(self) -> None:
        """Bring the gauges up to now."""
        now = self._clock()
        self._depth.set(len(self._waiting))
        self._unfinished.set(sum(now - since for since in self._working.values()))
        self._longest.set(max((now - since for since in self._working.values()), default=0.0))
