"""A proxy before an API server that answers 429 to everything while it is told to."""

import asyncio
import contextlib
import ssl
import threading
from collections import Counter
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
from aiohttp import web

from devcluster import ControlPlane

T = TypeVar("T")
_HOP = frozenset({"host", "connection", "content-length", "transfer-encoding", "content-encoding", "keep-alive"})
STATUS = {
    "apiVersion": "v1",
    "kind": "Status",
    "status": "Failure",
    "reason": "TooManyRequests",
    "message": "too many requests, please try again later",
    "code": 429,
}


class ThrottlingProxy:
    """A plain HTTP proxy on a free port of 127.0.0.1 before an API server, in a thread with its own event loop.

    `throttle` makes it answer 429; `counts` has what came since the last `reset`, by verb and kind of path.
    """

    def __init__(self, plane: ControlPlane, retry_after: int) -> None:
        self._url, self._ca, self._retry_after = plane.url, plane.ca.read_text(), retry_after
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="throttling-proxy", daemon=True)
        self._throttling = False
        self._passing: set[asyncio.Task[Any]] = set()
        self.counts: Counter[str] = Counter()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def throttle(self, on: bool) -> None:
        """Begin or end the outage; at its begin what is open is cut."""
        self._throttling = on
        if on:
            self._do(self._cut())

    def reset(self) -> None:
        self.counts = Counter()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self) -> None:
        tls = ssl.create_default_context(cadata=self._ca)
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        application = web.Application(client_max_size=0)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def _end(self) -> None:
        await self._cut()
        await self._runner.cleanup()
        await self._client.close()

    async def _cut(self) -> None:
        for each in list(self._passing):
            each.cancel()
        await asyncio.sleep(0.1)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.counts[_what(request)] += 1
        if self._throttling:
            return web.json_response(STATUS, status=429, headers={"Retry-After": str(self._retry_after)})
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        try:
            return await self._pass_on(request)
        finally:
            self._passing.discard(task)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        body = await request.read()
        target = self._url + request.raw_path
        async with self._client.request(request.method, target, headers=headers, data=body or None) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            if encoding := answer.headers.get("Content-Encoding"):
                response.headers["Content-Encoding"] = encoding
            await response.prepare(request)
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            return response


def _what(request: web.Request) -> str:
    watch = request.query.get("watch") in {"true", "1"}
    kinds = ("cipherstorages", "secrets", "configmaps", "events")
    resource = next((each for each in kinds if each in request.path), "other")
    return f"{'WATCH' if watch else request.method} {resource}"
