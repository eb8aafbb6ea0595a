"""A door in front of an API server, through which a test lets requests pass or answers them itself."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

Judge = Callable[[web.Request], int | web.StreamResponse | None]
"""Returns the status with which a request is refused, or its answer, None where it passes."""


class _BrokenOff(web.StreamResponse):
    """An answer whose connection ends in the midst of it."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        self.content_length = 1_000
        self.content_type = "application/json"
        writer = await super().prepare(request)
        await self.write(b'{"kind":')
        assert request.transport is not None
        request.transport.close()
        return writer


def broken_off() -> web.StreamResponse:
    """Return an answer that breaks off."""
    return _BrokenOff()


@contextlib.asynccontextmanager
async def front(kubeconfig: Path, judge: Judge, written: Path) -> AsyncIterator[Path]:
    """Give a kubeconfig, in `written`, that leads through the door; what passes is streamed as it comes."""
    config = yaml.safe_load(kubeconfig.read_text())
    server = config["clusters"][0]["cluster"]["server"]

    async def pass_on(request: web.Request) -> web.StreamResponse:
        judged = judge(request)
        if isinstance(judged, web.StreamResponse):
            return judged
        if judged is not None:
            return web.json_response({"kind": "Status", "status": "Failure", "code": judged}, status=judged)
        headers = {key: value for key, value in request.headers.items() if key not in {"Host", "Accept-Encoding"}}
        sent = client.request(
            request.method, server + request.raw_path, headers=headers, data=await request.read() or None, ssl=False
        )
        async with sent as answer:
            response = web.StreamResponse(status=answer.status)
            response.content_type = answer.content_type
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", pass_on)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as client:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{port}"}
        written.write_text(yaml.safe_dump(config))
        try:
            yield written
        finally:
            await runner.cleanup()
