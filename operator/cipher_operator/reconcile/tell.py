"""What a run tells of itself: the status if it changed, then Events and the log line."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from cipher_operator.api.failures import ConditionType
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import Resource, parse_resource
from cipher_operator.core.permit import NotLeading
from cipher_operator.kube.cipherstorages import patch_status
from cipher_operator.kube.events import Recorder
from cipher_operator.kube.objects import Standing
from cipher_operator.kube.port import ApiError, ApiUnavailable, Kube
from cipher_operator.reconcile.report import log
from cipher_operator.reconcile.report.events import WARNING, Event, ended, events
from cipher_operator.reconcile.report.metrics import Sample, sample
from cipher_operator.reconcile.report.status import OVERDUE, next_status, progressing, summary
from cipher_operator.reconcile.result import Ended, Result

SAY_AFTER = 1.0
"""Seconds after which a run that goes on says so."""

logger = logging.getLogger("cipher_operator.reconcile")


class Teller:
    """Tells of one run of one storage."""

    def __init__(
        self, kube: Kube, recorder: Recorder, resource: Resource, now: Callable[[], datetime], progress_deadline: float
    ) -> None:
        self._kube, self._recorder, self._resource = kube, recorder, resource
        self._now, self._deadline = now, progress_deadline
        self._standing = Standing.of(resource)

    def stored(self, version: str) -> None:
        """Note the resourceVersion that the run itself gave the storage."""
        self._standing = replace(self._standing, resource_version=version)

    @asynccontextmanager
    async def saying(self, reason: Reason) -> AsyncIterator[None]:
        """Say that a run is at work, once, where the block takes longer than a second."""
        word = asyncio.create_task(self._say(reason), name="progress")
        try:
            yield
        finally:
            word.cancel()
            await asyncio.wait({word})

    async def tell(self, result: Result, seconds: float) -> Sample:
        """Write, post and log, and return what is counted. Raises ApiError, ApiUnavailable."""
        resource = self._resource
        standing = self._standing.status
        status = next_status(result, standing, resource.generation, self._time(), progress_deadline=self._deadline)
        if status != standing:
            await patch_status(self._kube, resource.namespace, resource.name, self._standing, status)
        message = next(c["message"] for c in status["conditions"] if c["type"] == "Ready")
        now, before = summary(status), summary(resource.status)
        late = OVERDUE if (ConditionType.STALLED, Reason.PROGRESS_DEADLINE_EXCEEDED) in now else ""
        told = tuple(events(resource, result, message))
        # What was done, or refused, beside the outcome: Events are gone after an hour.
        done = tuple(f"{event.reason}: {event.note}" for event in told if event.reason != result.reason)
        level, text, details = log.line(result, message, seconds, news=now != before, late=late, done=done)
        logger.log(level, text, extra={"storage": "/".join(resource.key), **details})
        for event in told:
            await self._post(event, "Reconcile")
        return sample(result, status, seconds)

    async def farewell(self, end: Ended) -> None:
        """Post what is told of a storage that was let go."""
        for event in ended(end):
            # The object is gone, and its Events soon: the line is what is left of them.
            level = logging.WARNING if event.type == WARNING else logging.INFO
            logger.log(level, "%s: %s", event.reason, event.note, extra={"storage": "/".join(self._resource.key)})
            await self._post(event, "Finalize")

    async def _post(self, event: Event, action: str) -> None:
        await self._recorder.post(self._resource, type_=event.type, reason=event.reason, note=event.note, action=action)

    async def _say(self, reason: Reason) -> None:
        await asyncio.sleep(SAY_AFTER)
        status = progressing(self._standing.status, self._resource.generation, self._time(), reason)
        if status is None:
            return
        writing = asyncio.ensure_future(self._write(status))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            # A write that has begun may arrive after the run's own: it is waited for.
            await writing
            raise

    async def _write(self, status: dict[str, Any]) -> None:
        resource = self._resource
        try:
            body = await patch_status(self._kube, resource.namespace, resource.name, self._standing, status)
            if body is not None:
                self._standing = Standing.of(parse_resource(body))
        except (ApiError, ApiUnavailable, NotLeading) as error:
            logger.debug("progress was not said: %s", error, extra={"storage": "/".join(resource.key)})

    def _time(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
