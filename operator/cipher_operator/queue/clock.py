"""Time as the queue sees it: a number of seconds that only grows, and callbacks at a moment."""

import asyncio
import contextvars
from collections.abc import Callable
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
