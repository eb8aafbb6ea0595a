"""What is said of a watch that is interrupted: one line when an outage begins, and one when it ends."""

import asyncio
import logging

logger = logging.getLogger(__name__)


class Outage:
    """The outages of one watch. A watch that the next try brings back is none."""

    def __init__(self, what: str) -> None:
        self._what, self._failures = what, 0
        self._since: float | None = None

    def note(self, why: str, *, at_once: bool = False) -> None:
        """Note a failure; it is said where it is the second in a row, or `at_once`."""
        self._failures += 1
        if self._since is None and (at_once or self._failures > 1):
            self._since = asyncio.get_running_loop().time()
            logger.warning("the watch of %s is interrupted: %s; trying again", self._what, why)

    def end(self) -> None:
        """Note that the watch lives."""
        self._failures = 0
        if self._since is not None:
            seconds = asyncio.get_running_loop().time() - self._since
            self._since = None
            logger.info("the watch of %s goes on after %.0f s", self._what, seconds)
