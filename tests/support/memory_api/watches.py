"""Open watches: events of one kind since a version."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from copy import deepcopy

from cipher_operator.kube.port import Json
from support.memory_api.kinds import Place, address_api
from support.memory_api.selectors import selector
from support.memory_api.store import Change, Store

METADATA = "PartialObjectMetadata"
EXPIRED: Json = {
    "kind": "Status",
    "status": "Failure",
    "reason": "Expired",
    "code": 410,
    "message": "too old resource version",
}


class Watch:
    """One stream. `say` puts an event into it, `end` closes it."""

    def __init__(self, store: Store, where: Place, accept: str, query: Mapping[str, str]) -> None:
        self._store, self._where, self._accept = store, where, accept
        self._selects = selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        self._since = int(query["resourceVersion"])
        self._said: deque[Json | None] = deque()
        self._wake = asyncio.Event()

    def say(self, event: Json) -> None:
        self._said.append(event)
        self._wake.set()

    def end(self) -> None:
        self._said.append(None)
        self._wake.set()

    def bookmark(self) -> None:
        metadata = {"resourceVersion": str(self._store.version)}
        self.say({"type": "BOOKMARK", "object": {"kind": self._where.kind.kind, "metadata": metadata}})

    async def events(self) -> AsyncIterator[Json]:
        if self._since < self._store.oldest:
            yield {"type": "ERROR", "object": EXPIRED}
            return
        self._store.listeners.add(self._wake.set)
        try:
            while True:
                self._wake.clear()
                for change in [each for each in self._store.history if each.version > self._since]:
                    self._since = change.version
                    if (event := self._event(change)) is not None:
                        yield event
                while self._said:
                    said = self._said.popleft()
                    if said is None:
                        return
                    yield said
                await self._wake.wait()
        finally:
            self._store.listeners.discard(self._wake.set)

    def _event(self, change: Change) -> Json | None:
        api, namespace, _ = change.address
        if api != address_api(self._where.kind) or self._where.namespace not in ("", namespace):
            return None
        selected = change.after is not None and self._selects(change.after)
        was_selected = change.before is not None and self._selects(change.before)
        body = change.after if change.after is not None else change.before
        if body is None or not (selected or was_selected):
            return None
        type_ = ("MODIFIED" if was_selected else "ADDED") if selected else "DELETED"
        return {"type": type_, "object": as_asked(body, self._accept)}


def as_asked(body: Json, accept: str) -> Json:
    """Return an object whole, or its metadata alone where the Accept header asks for that."""
    if METADATA not in accept:
        return deepcopy(body)
    return {"kind": METADATA, "apiVersion": "meta.k8s.io/v1", "metadata": deepcopy(body["metadata"])}
