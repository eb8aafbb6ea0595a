"""Callbacks at a moment, each under a name: one that is set anew takes the place of the one before."""

from collections.abc import Callable, Hashable

from cipher_operator.queue.clock import Clock, Timer


class Timers:
    """Those of one owner, on its clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timers: dict[Hashable, Timer] = {}
        self._closed = False

    def __contains__(self, what: Hashable) -> bool:
        return what in self._timers

    def at(self, what: Hashable, when: float, callback: Callable[[], None]) -> None:
        """Call back at a moment. Ignored after `close`."""
        self.cancel(what)
        if self._closed:
            return

        def due() -> None:
            self._timers.pop(what, None)
            callback()

        self._timers[what] = self._clock.call_at(when, due)

    def cancel(self, what: Hashable) -> None:
        """Take one back, where there is one."""
        if (timer := self._timers.pop(what, None)) is not None:
            timer.cancel()

    def close(self) -> None:
        """Take all back, and set none any more."""
        self._closed = True
        for what in list(self._timers):
            self.cancel(what)
