"""How late the event loop is: what waits for it, probes and the Lease too, is late by as much."""

import asyncio
from collections.abc import Callable

EVERY = 0.25
"""Seconds between two looks."""


class LoopLag:
    """Calls `observe` with the seconds by which a timer of the running loop was late, four times a second."""

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, on the loop that runs now."""
        loop = asyncio.get_running_loop()
        due = loop.time() + EVERY
        self._timer = loop.call_at(due, self._look, loop, due)

    def stop(self) -> None:
        """End; harmless where it has not begun."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._observe(max(0.0, loop.time() - due))
        self.start()
