"""An event loop whose seconds pass at once: it jumps to what is due next whenever nothing else is to be done."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """For work that waits for timers alone."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 1_000.0

    def time(self) -> float:
        return self._virtual

    def _run_once(self) -> None:
        due = [handle._when for handle in self._scheduled if not handle._cancelled]  # type: ignore[attr-defined]
        if due and not self._ready:  # type: ignore[attr-defined]
            self._virtual = max(self._virtual, min(due))
        super()._run_once()  # type: ignore[misc]


def in_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end, however many of its seconds that takes."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
