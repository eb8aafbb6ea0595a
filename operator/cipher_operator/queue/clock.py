"""Time as the queue sees it: a number of seconds that only grows, and callbacks at a moment."""

import asyncio
import contextvars
from collections.abc import Callable, Hashable
from typing import Protocol


class Timer(Protocol):
    """A callback that is still to come."""

    def cancel(self) -> None:
        """Take it back."""


class Clock(Protocol):
    """`now` is in monotonic seconds."""

    def now(self) -> float:
        """Return the time."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back at a moment, from the event loop."""


class LoopClock:
    """The event loop's own clock."""

    def __init__(self) -> None:
        # A timer made in an informer's callback would hold that callback's context, and with it an object.
        self._context = contextvars.copy_context()

    def now(self) -> float:
        """Return the time."""
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back at a moment, from the event loop."""
        return asyncio.get_running_loop().call_at(when, callback, context=self._context)


class Timers:
    """Callbacks that are still to come, one by what it is for. After `close` there are none any more."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timers: dict[Hashable, Timer] = {}
        self._closed = False

    def __contains__(self, what: Hashable) -> bool:
        return what in self._timers

    def at(self, what: Hashable, when: float, callback: Callable[[], None]) -> None:
        """Call back at a moment, in place of what was to come for this before."""
        self.cancel(what)
        if self._closed:
            return

        def due() -> None:
            self._timers.pop(what, None)
            callback()

        self._timers[what] = self._clock.call_at(when, due)

    def cancel(self, what: Hashable) -> None:
        """Take one back."""
        if (timer := self._timers.pop(what, None)) is not None:
            timer.cancel()

    def close(self) -> None:
        """Take all back."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
