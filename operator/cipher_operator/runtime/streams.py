"""The lists and watches of kopf, so that what the server answers does not end kopf, and with it the process.

kopf survives an ERROR event of code 410 alone: it lists anew, at once. Any other code, as where an object cannot be
decrypted, and a line that is no event end it. So do the answers 400, 410 and their like to a list or a watch: a list in
pages that lasts longer than the server remembers its beginning (five minutes, etcd's compaction) ends in a 410. Here
all of them become that event, or its like for a list, after a pause that grows.

So does an object that is deeper than Python's decoder goes: what is too deep of it does not reach kopf. And a watch
that is ended as soon as it has begun begins again after a pause, too.

And so that kopf is not troubled for nothing: an event that its receiver has taken in by himself reaches
it as a bookmark, which moves its place and costs nothing.
"""

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import aiohttp

from cipher_operator.api.names import PLURAL
from cipher_operator.kube.backoff import Backoff
from cipher_operator.kube.decoding import flattened
from cipher_operator.kube.outage import Outage
from cipher_operator.kube.reflector import AWAY, BROKEN, SETTLED, SETTLED_AFTER_ERROR
from cipher_operator.runtime.gateways import SURVIVED

LIST_ANEW = b'{"type":"ERROR","object":{"kind":"Status","status":"Failure","reason":"Expired","code":410}}\n'
_OF_OBJECTS = frozenset({"ADDED", "MODIFIED", "DELETED"})

logger = logging.getLogger(__name__)

Takes = Callable[[str, Mapping[str, Any]], bool]
"""Called with type and object of each event, before kopf; returns whether it has taken it in, and kopf need not."""

Lists = Callable[[str | None], None]
"""Called when a list begins, with the namespace that it is of, None where it is of all."""


class ListAnew(aiohttp.ClientPayloadError):
    """A list was refused. kopf begins a new one after this, while any other error of a refusal ends it."""


class Streams:
    """A middleware of aiohttp: of the answers that pass, watches are looked through line by line."""

    def __init__(self, takes: Takes = lambda type_, body: False, lists: Lists = lambda namespace: None) -> None:
        self._takes, self._lists = takes, lists
        self._watches: dict[str, _Watch] = {}

    async def __call__(
        self,
        request: aiohttp.ClientRequest,
        handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
    ) -> aiohttp.ClientResponse:
        """Return the answer, its content replaced where it is that of a watch. Raises ListAnew where a list is
        refused."""
        path, watches = request.url.path, request.url.query.get("watch") == "true"
        if not path.endswith(f"/{PLURAL}"):
            return await handler(request)
        watch = self._watches.setdefault(path, _Watch(path.rpartition("/")[2]))
        await watch.turn()
        response = await handler(request)
        if response.status == 200:
            if watches:
                content: Any = Content(response.content, watch.broken, watch.begin, self._takes)
                response.content = content
            elif not request.url.query.get("continue"):
                self._lists(_namespace(path))
            return response
        if response.status < 400 or response.status in SURVIVED:
            return response
        why = f"{response.status} {response.reason or ''}".strip()
        response.release()
        await watch.broken(why)
        if not watches:
            raise ListAnew(why)
        # kopf would watch from the same place again.
        response.status = 200
        over: Any = _Over()
        response.content = over
        return response


class _Watch:
    """What is remembered of the watches of one path, one after the other."""

    def __init__(self, what: str) -> None:
        self._backoff, self._outage = Backoff(*BROKEN), Outage(what)
        self._away, self._began = Backoff(*AWAY), -math.inf

    async def turn(self) -> None:
        """Wait before the next list or watch where the last watch has hardly lived: kopf itself would not, however
        often what stands before the server lets one in and ends it."""
        began, self._began = self._began, -math.inf
        if asyncio.get_running_loop().time() - began < SETTLED:
            await asyncio.sleep(self._away.next())
        elif began > -math.inf:
            self._away.reset()

    def begin(self) -> asyncio.TimerHandle:
        """Note that a stream begins; whoever ends it cancels what is returned."""
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        return loop.call_later(SETTLED_AFTER_ERROR, self._settle)

    async def broken(self, why: str) -> None:
        """Wait before the next list."""
        self._began = -math.inf
        self._outage.note(why, at_once=True)
        await asyncio.sleep(self._backoff.next())

    def _settle(self) -> None:
        self._backoff.reset()
        self._outage.end()


class Content:
    """The content of a watch. Whole lines only, and none of them ends kopf; for the rest it is aiohttp's own."""

    def __init__(
        self,
        content: Any,
        broken: Callable[[str], Awaitable[None]],
        begin: Callable[[], asyncio.TimerHandle],
        takes: Takes = lambda type_, body: False,
    ) -> None:
        self._content, self._broken, self._begin, self._takes = content, broken, begin, takes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield whole lines as they come; where one says that the watch is broken, a pause and then a 410."""
        settled = self._begin()
        pending = bytearray()
        try:
            async for chunk in self._content.iter_chunked(size):
                end = chunk.rfind(b"\n") + 1
                pending += chunk[:end]
                if end:
                    for line in map(bytes, filter(None, pending.split(b"\n"))):
                        event, shown = _read_within_depth(line)
                        if isinstance(event, str):
                            settled.cancel()
                            await self._broken(event)
                            yield LIST_ANEW
                            return
                        yield self._passed(*event) or shown + b"\n"
                    pending = bytearray()
                pending += chunk[end:]
        finally:
            settled.cancel()

    def _passed(self, type_: str, body: Mapping[str, Any]) -> bytes | None:
        """Return the bookmark that stands for an event that was taken in; None where kopf shall have it itself."""
        if type_ not in _OF_OBJECTS:
            return None
        try:
            if not self._takes(type_, body):
                return None
        except Exception:
            # A watch that ended for this would be missed by everybody else.
            logger.exception("an event was not taken in")
            return None
        place = {"metadata": {"resourceVersion": body["metadata"].get("resourceVersion")}}
        return json.dumps({"type": "BOOKMARK", "object": place}).encode() + b"\n"


class _Over:
    """The content of a watch that was refused."""

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield that the place is lost."""
        yield LIST_ANEW


def _namespace(path: str) -> str | None:
    """Return the namespace of a list's path, None where it is of all."""
    parts = path.split("/")
    return parts[-2] if parts[-3:-2] == ["namespaces"] else None


def read(line: bytes) -> tuple[str, Mapping[str, Any]] | str:
    """Return type and object of a line of a watch; or why kopf would not survive it, with nothing of the content."""
    try:
        event = json.loads(line)
        type_, body = event["type"], event["object"]
        if type_ == "ERROR":
            code = int(body["code"])
            return (type_, body) if code == 410 else f"{code} {body.get('reason') or ''}".strip()
        known = type_ == "BOOKMARK" or bool(body["metadata"]["uid"])
    except (ValueError, TypeError, KeyError, AttributeError):
        known = False
    return (type_, body) if known else "something that is no event came"


def _read_within_depth(line: bytes) -> tuple[tuple[str, Mapping[str, Any]] | str, bytes]:
    """Return the same, and the line as kopf can decode it."""
    try:
        return read(line), line
    except RecursionError:
        try:
            line = flattened(line).encode()
        except ValueError:
            line = b""
        return read(line), line
