"""What a cloud issued, kept for as long as it may be used: one fetch at a time, ahead of need where there is time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cipher_operator.api.failures import Failure
from cipher_operator.identity.refusal import unavailable

T = TypeVar("T")

MARGIN = 60.0
"""Seconds that must be left of what is handed out: a connection takes some of them, and clocks differ."""
AHEAD = 300.0
"""Seconds before the end from which on a new one is fetched beside; a third of the lifetime where that is shorter."""
PAUSE = 2.0
"""Seconds for which a failure counts for all that ask, and after which a fetch beside is tried again."""

Clock = Callable[[], float]
"""Returns seconds that only grow, and go on while the machine sleeps where the system counts that."""


def boottime() -> float:
    """Return the Clock of this machine."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@dataclass(frozen=True, slots=True)
class Issued(Generic[T]):
    """A token, or what tokens are made with, and the seconds for which it can still be used."""

    value: T = field(repr=False)
    seconds: float


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    value: T = field(repr=False)
    until: float
    renew: float


class Kept(Generic[T]):
    """What was issued, by what it is valid for. `issuer` is how messages call who issues it; what has no more than
    `margin` seconds left is not handed out."""

    def __init__(self, issuer: str, clock: Clock = boottime, margin: float = MARGIN) -> None:
        self._issuer, self._clock, self._margin = issuer, clock, margin
        self._entries: dict[Hashable, _Entry[T]] = {}
        self._fetches: dict[Hashable, asyncio.Task[Issued[T] | Failure]] = {}
        self._failures: dict[Hashable, tuple[float, Failure]] = {}

    async def get(self, key: Hashable, fetch: Callable[[], Awaitable[Issued[T]]]) -> Issued[T]:
        """Return what is kept under a key, or what `fetch` gives, with more than the margin left.

        Raises the Failure of the fetch; again without a fetch where it is less than PAUSE old. Who is cancelled while
        waiting takes the fetch from nobody else.
        """
        now = self._clock()
        entry = self._entries.get(key)
        if entry is not None and now < entry.renew:
            return Issued(entry.value, entry.until - now)
        failed = self._recent_failure(key, now)
        if entry is not None and entry.until - now > self._margin:
            if failed is None:
                self._fetch(key, fetch)
            return Issued(entry.value, entry.until - now)
        outcome: Issued[T] | Failure
        outcome = failed if failed is not None else await asyncio.shield(self._fetch(key, fetch))
        if isinstance(outcome, Failure):
            # A copy: one that is raised again and again would gather tracebacks.
            raise outcome.saying(outcome.message)
        return outcome

    def forget(self, key: Hashable, value: T | None = None) -> bool:
        """Hand out no more what is kept under a key; with a `value` that one alone. Return whether it was there."""
        entry = self._entries.get(key)
        if entry is None or (value is not None and value != entry.value):
            return False
        del self._entries[key]
        return True

    async def close(self) -> None:
        """End the fetches that are under way, and forget everything."""
        fetches = list(self._fetches.values())
        for each in fetches:
            each.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)
        self._entries.clear()
        self._failures.clear()

    def _recent_failure(self, key: Hashable, now: float) -> Failure | None:
        at, failure = self._failures.get(key, (now - PAUSE, None))
        return failure if now - at < PAUSE else None

    def _fetch(self, key: Hashable, fetch: Callable[[], Awaitable[Issued[T]]]) -> "asyncio.Task[Issued[T] | Failure]":
        if key not in self._fetches:
            self._fetches[key] = asyncio.create_task(self._fetched(key, fetch), name="cloud identity")
            self._fetches[key].add_done_callback(lambda _: self._fetches.pop(key, None))
        return self._fetches[key]

    async def _fetched(self, key: Hashable, fetch: Callable[[], Awaitable[Issued[T]]]) -> Issued[T] | Failure:
        """Fetch and keep. A failure is returned: nobody may be waiting for what is fetched ahead."""
        # The lifetime is counted from before the question: how long the answer was on its way is not known.
        began = self._clock()
        try:
            issued = await fetch()
            left = issued.seconds - (self._clock() - began)
            if left <= self._margin:
                raise unavailable(
                    f"{self._issuer} gave something that ends within {self._margin:g} s, or has ended.",
                    "Compare the node's clock with the time; it is tried again.",
                )
        except Failure as failure:
            self._failures[key] = self._clock(), failure
            return failure
        self._keep(key, issued, began)
        return Issued(issued.value, left)

    def _keep(self, key: Hashable, issued: Issued[T], began: float) -> None:
        now = self._clock()
        self._entries = {each: entry for each, entry in self._entries.items() if entry.until > now}
        self._failures = {each: (at, failure) for each, (at, failure) in self._failures.items() if now - at < PAUSE}
        self._failures.pop(key, None)
        until = began + issued.seconds
        self._entries[key] = _Entry(issued.value, until, until - max(self._margin, min(AHEAD, issued.seconds / 3)))
