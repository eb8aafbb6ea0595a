"""A TCP proxy that misbehaves on request: latency, silence, resets, half-open and cut connections.

It runs in a thread of its own with its own event loop, so synchronous tests, asyncio tests and threads can all use it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Literal, TypeVar

Mode = Literal["forward", "black-hole", "reset", "half-open"]
_CHUNK = 65536
_T = TypeVar("_T")


class FaultProxy:
    """A proxy from a free port of 127.0.0.1 to `host:port`; starts at once, ends with `close` or its `with` block.

    `latency` (seconds, each way), `mode` and `cut_after` may be changed at any time and act at once, on open
    connections too.

    - `forward`: pass everything on.
    - `black-hole`: accept connections and swallow what is sent; nothing is answered.
    - `reset`: answer every new connection, and open ones at the change, with a TCP reset.
    - `half-open`: what the server sends is lost; what clients send still arrives.
    - `cut_after`: a number of bytes from the server, counted per connection, after which it is reset; None never.

    Counts since the last `reset_counts`: `connections`; `round_trips`, the times a client spoke after the server had
    (a client's first words count as one); `bytes_to_server`, `bytes_to_client`.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        port: int,
        host: str = "127.0.0.1",
        *,
        latency: float = 0.0,
        mode: Mode = "forward",
        cut_after: int | None = None,
    ) -> None:
        self.target = (host, port)
        self.latency = latency
        self.cut_after = cut_after
        self.connections = self.round_trips = self.bytes_to_server = self.bytes_to_client = 0
        self._mode: Mode = mode
        self._open: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        self._server: asyncio.Server = self._run(asyncio.start_server(self._serve, self.host, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def mode(self) -> Mode:
        """What happens to connections; see the class."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "reset":
            self.reset_open()

    def reset_open(self) -> None:
        """Reset every open connection now, in whatever it is doing; new ones are treated as `mode` says."""

        async def reset() -> None:
            for each in list(self._open):
                each.reset()

        self._run(reset())

    def reset_counts(self) -> None:
        """Set all counts to zero."""
        self.connections = self.round_trips = self.bytes_to_server = self.bytes_to_client = 0

    def close(self) -> None:
        """Reset what is open, stop listening and end the thread. The port then refuses connections."""
        if self._loop.is_closed():
            return

        async def stop() -> None:
            self._server.close()
            for each in list(self._open):
                each.reset()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._run(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = _Connection(self, writer)
        self._open.add(connection)
        try:
            if self._mode == "reset":
                connection.reset()
            elif self._mode == "black-hole":
                # No connection to the server: it must not notice anything.
                await connection.swallow(reader)
            else:
                await connection.forward(reader)
        except OSError:
            connection.reset()
        finally:
            self._open.discard(connection)


class _Connection:
    def __init__(self, proxy: FaultProxy, client: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._upstream: asyncio.StreamWriter | None = None
        self._server_spoke = True
        self._received = 0

    def reset(self) -> None:
        for writer in (self._client, self._upstream):
            if writer is not None:
                handle = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    # A linger time of zero makes the kernel send RST instead of FIN.
                    handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

    async def swallow(self, reader: asyncio.StreamReader) -> None:
        while await reader.read(_CHUNK):
            pass
        self._client.close()

    async def forward(self, reader: asyncio.StreamReader) -> None:
        try:
            from_server, self._upstream = await asyncio.open_connection(*self._proxy.target)
        except OSError:
            self.reset()
            return
        await asyncio.gather(
            self._pump(reader, self._upstream, self._to_server), self._pump(from_server, self._client, self._to_client)
        )

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: Callable[[bytes], bool]
    ) -> None:
        # Reading goes on while earlier data waits its time, so that latency does not become a limit on throughput.
        queue: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if data is None:
                    self.reset()
                    return
                if not data:
                    with contextlib.suppress(OSError, RuntimeError):
                        writer.write_eof()
                    return
                if passes(data) and not writer.is_closing():
                    writer.write(data)
                    await writer.drain()

        delivery = asyncio.create_task(deliver())
        try:
            data: bytes | None = b"anything"
            while data:
                try:
                    data = await reader.read(_CHUNK)
                except OSError:
                    # A reset does not overtake what was sent before it.
                    data = None
                queue.put_nowait((time.monotonic() + self._proxy.latency, data))
            await delivery
        finally:
            delivery.cancel()
            if reader.at_eof() and self._client.is_closing():
                writer.close()

    def _to_server(self, data: bytes) -> bool:
        if self._proxy.mode == "black-hole":
            return False
        if self._server_spoke:
            self._proxy.round_trips += 1
            self._server_spoke = False
        self._proxy.bytes_to_server += len(data)
        return True

    def _to_client(self, data: bytes) -> bool:
        self._server_spoke = True
        if self._proxy.mode in ("black-hole", "half-open"):
            return False
        self._received += len(data)
        self._proxy.bytes_to_client += len(data)
        if self._proxy.cut_after is not None and self._received > self._proxy.cut_after:
            self.reset()
            return False
        return True
