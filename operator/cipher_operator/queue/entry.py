"""What the queue knows of one key."""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass

from cipher_operator.queue.clock import Timer
from cipher_operator.queue.needs import Need

AT_ONCE, GAP = 10, 5.0
"""So many runs of one key begin as soon as they are asked for, those beyond that many seconds apart: who changes an
object in a loop is served with what it is by then, and keeps no worker to himself. No person and no GitOps tool ever
comes so far."""


@dataclass(slots=True)
class Entry:
    """One key's."""

    needs: tuple[Need, ...] | None = None
    """What its last run entered; None where that is not known, or may have changed."""
    way: Hashable | None = None
    changed: bool = False
    """Its needs may be others than those that the run under way meets."""
    task: "asyncio.Task[None] | None" = None
    dirty: bool = False
    timer: Timer | None = None
    due: float = 0.0
    failures: int = 0
    rested: float = 0.0
    """When it may begin AT_ONCE times again."""

    @property
    def blank(self) -> bool:
        """Return whether nothing is planned or known of it that would not be of a new one, but how often it began."""
        return not (self.needs or self.way or self.task or self.dirty or self.timer or self.failures)

    def cancel(self) -> None:
        """Take back what is planned."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def rest(self, now: float) -> float:
        """Return for how many seconds it may not begin."""
        return max(0.0, self.rested - now - (AT_ONCE - 1) * GAP)

    def begin(self, now: float) -> None:
        """Note that it begins."""
        self.rested = max(now, self.rested) + GAP

    def began_in_vain(self) -> None:
        """Take that back: there was no room."""
        self.rested -= GAP
