"""What is said of an API server that does not answer, and of a watch that it breaks off: one line when that begins, and
one when it ends."""

import asyncio
import logging
from http import HTTPStatus

LASTS = 2.0
"""Seconds in which an API server that does not answer a watch has no outage: where a CRD was changed, as at each
upgrade, it refuses with 429 for one."""

logger = logging.getLogger(__name__)


def is_everybodys(status: int | None) -> bool:
    """Return whether an API server that answers so, None for not at all, refuses everybody. A 500 may be about one
    object that cannot be read."""
    return status != HTTPStatus.INTERNAL_SERVER_ERROR


class ApiOutage:
    """The outages of the API server, which everybody meets who asks it: the first one says it for all, and so does the
    first one that is answered again. Who is refused after that is named."""

    def __init__(self) -> None:
        self._out: set[str] = set()
        self._named: dict[str, float] = {}
        """Who was refused while others were answered, and since when."""
        self._since: float | None = None

    def begin(self, who: str, why: str) -> None:
        """Note that somebody was not answered; `who` is as it stands at the begin of a sentence. May be repeated."""
        now = asyncio.get_running_loop().time()
        if not self._out:
            self._since = now
            logger.warning("the Kubernetes API does not answer: %s; trying again", why)
        elif self._since is None and who not in self._named:
            self._named[who] = now
            logger.warning("%s is interrupted: %s; trying again", who, why)
        self._out.add(who)

    def end(self, who: str) -> None:
        """Note that somebody is answered. May be repeated."""
        if who not in self._out:
            return
        now = asyncio.get_running_loop().time()
        self._out.discard(who)
        if (since := self._named.pop(who, None)) is not None:
            logger.info("%s goes on after %.0f s", who, now - since)
        elif self._since is not None:
            logger.info("the Kubernetes API answers again, after %.0f s", now - self._since)
            self._since = None


class Outage:
    """The outages of one watch: its own, and what it meets of `api`. A watch that the next try brings back is none."""

    def __init__(self, what: str, api: ApiOutage | None = None) -> None:
        self._who, self._failures = f"the watch of {what}", 0
        self._api = api or ApiOutage()
        self._since: float | None = None
        self._everybody, self._first = False, 0.0

    def note(self, why: str, *, at_once: bool = False, everybody: bool = False) -> None:
        """Note a failure, `everybody` where it is the API server's, which is said where it lasts; else it is said where
        it is the second in a row, or `at_once`.

        An API server that begins knows no rights for a moment: after one of the one sort, one of the other is the first
        in a row.
        """
        now = asyncio.get_running_loop().time()
        if everybody is not self._everybody or not self._failures:
            self._failures, self._everybody, self._first = 0, everybody, now
        self._failures += 1
        if everybody:
            if now - self._first >= LASTS:
                self._api.begin(self._who, why)
        elif (at_once or self._failures > 1) and self._since is None:
            self._since = now
            logger.warning("%s is interrupted: %s; trying again", self._who, why)

    def end(self) -> None:
        """Note that the watch lives."""
        self._failures = 0
        self._api.end(self._who)
        if self._since is not None:
            seconds = asyncio.get_running_loop().time() - self._since
            self._since = None
            logger.info("%s goes on after %.0f s", self._who, seconds)
