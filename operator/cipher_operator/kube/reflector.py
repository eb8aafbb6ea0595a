"""A watch of Secrets or ConfigMaps by their metadata alone: that one changed, never what is in it.

Nobody's contents pass through this process, and what is kept of each object is a number. After a gap in the watch the
objects are listed again and compared with what was known, so that a deletion in the gap is told too.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from cipher_operator.api.names import IN_USE_FINALIZER
from cipher_operator.kube.port import METADATA_LIST, METADATA_ONLY, ApiError, ApiUnavailable, Watching

PAGE = "50"
"""Objects of one page: annotations of a quarter of a megabyte each are allowed."""
WATCH_SECONDS = 300.0
BACKOFF_BASE, BACKOFF_CAP = 0.5, 30.0
FIELDS = {
    "Secret": "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token",
    "ConfigMap": "metadata.name!=kube-root-ca.crt",
}
PLURALS = {"Secret": "secrets", "ConfigMap": "configmaps"}

Ref = tuple[str, str, str]
"""Kind, namespace and name."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the watch tells of an object: its resourceVersion as a number, whether it is held for a storage's deletion,
    whether it is being deleted, and whether it is gone."""

    revision: int
    held: bool = False
    deleting: bool = False
    gone: bool = False


class LostPlace(Exception):
    """The API server does not know any more where the watch was: the objects are to be listed again."""


class Reflector:
    """Watches one kind, of one namespace or (None) of all, and calls `changed` for each object that is not as it was.

    `run` goes on for ever: whatever the API server answers, it lists and watches again, backed off.
    """

    def __init__(
        self,
        kube: Watching,
        kind: str,
        namespace: str | None,
        changed: Callable[[Ref, Seen], None],
        *,
        selector: str | None = None,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._kube, self._kind, self._changed, self._pause = kube, kind, changed, pause
        scope = f"/namespaces/{namespace}" if namespace else ""
        self._path = f"/api/v1{scope}/{PLURALS[kind]}"
        self._query = {"fieldSelector": FIELDS[kind]}
        if selector and kind == "Secret":
            self._query["labelSelector"] = selector
        self._known: dict[tuple[str, str], int] = {}
        self._place: str | None = None
        self.synced = asyncio.Event()
        """Set when the first list is complete."""
        self.restarts = 0

    async def run(self) -> None:
        """Watch until cancelled."""
        failures = 0
        while True:
            try:
                if self._place is None:
                    await self._list()
                async for event in self._events():
                    if failures:
                        logger.info("the watch of %s goes on", PLURALS[self._kind])
                        failures = 0
                    self._take(event)
                if failures:
                    logger.info("the watch of %s goes on", PLURALS[self._kind])
                failures = 0
                continue
            except LostPlace as lost:
                self._place, why, wait = None, str(lost), 0.0
            except ApiUnavailable as error:
                why, wait = str(error), error.retry_after or 0.0
            except ApiError as error:
                self._place, why, wait = (None if error.status == 410 else self._place), str(error), 0.0
            self.restarts += 1
            failures += 1
            if failures == 1:
                logger.warning("the watch of %s broke off: %s; trying again", PLURALS[self._kind], why)
            backoff = min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(failures - 1, 10))
            await self._pause(max(wait, backoff * random.uniform(0.5, 1.0)))  # noqa: S311 - spreads retries

    async def _list(self) -> None:
        """List all, tell what differs from what was known, and what is not there any more."""
        found: set[tuple[str, str]] = set()
        query = {**self._query, "limit": PAGE}
        while True:
            page = await self._kube.get(self._path, accept=METADATA_LIST, **query)
            for item in page.get("items") or ():
                found.add(self._note(item["metadata"]))
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                break
            query["continue"] = metadata["continue"]
        for key in self._known.keys() - found:
            self._gone(key, self._known[key] + 1)
        self._place = str(metadata.get("resourceVersion") or "")
        self.synced.set()

    async def _events(self) -> AsyncIterator[dict[str, Any]]:
        query = {**self._query, "resourceVersion": self._place or "", "allowWatchBookmarks": "true"}
        seconds = WATCH_SECONDS * random.uniform(0.9, 1.1)  # noqa: S311 - spreads what begins anew
        async for event in self._kube.watch(self._path, accept=METADATA_ONLY, seconds=seconds, **query):
            yield event

    def _take(self, event: dict[str, Any]) -> None:
        type_, body = event.get("type"), event.get("object") or {}
        if type_ == "ERROR":
            code = body.get("code")
            raise LostPlace("it began too long ago" if code == 410 else f"{code} {body.get('reason') or 'error'}")
        metadata = body.get("metadata") or {}
        if type_ == "DELETED":
            self._gone((metadata["namespace"], metadata["name"]), _number(metadata))
        elif type_ in ("ADDED", "MODIFIED"):
            self._note(metadata)
        self._place = str(metadata.get("resourceVersion") or self._place)

    def _note(self, metadata: dict[str, Any]) -> tuple[str, str]:
        key, revision = (metadata["namespace"], metadata["name"]), _number(metadata)
        if self._known.get(key) != revision:
            self._known[key] = revision
            held = IN_USE_FINALIZER in (metadata.get("finalizers") or ())
            self._changed((self._kind, *key), Seen(revision, held, bool(metadata.get("deletionTimestamp"))))
        return key

    def _gone(self, key: tuple[str, str], revision: int) -> None:
        if self._known.pop(key, None) is not None:
            self._changed((self._kind, *key), Seen(revision, gone=True))


def _number(metadata: dict[str, Any]) -> int:
    text = str(metadata.get("resourceVersion", ""))
    return int(text) if text.isdecimal() else 1
