"""Names to addresses by the system's resolver, in threads that a silent DNS zone cannot take from others.

One look-up of a name is under way at a time, whoever asks. A thread cannot be ended: it holds its place until the
resolver gives up, long after whoever asked has. aiodns would need an own reading of resolv.conf, nsswitch.conf and
hosts, which cluster administrators set for the resolver that everything else uses.
"""

import asyncio
import contextvars
import socket
import threading
import time
from collections.abc import Callable
from enum import Enum
from weakref import WeakKeyDictionary

Address = str
"""A numeric IPv4 or IPv6 address, as getaddrinfo writes it."""

Look = Callable[[str, int], tuple[Address, ...]]

MAX_THREADS = 64
"""Look-ups at once. The last ones are for names that gave an answer last time: no flood of others takes those."""
MAX_UNPROVEN = 48
"""Of these, at most so many for all other names together."""
MAX_SILENT = 32
"""Of these, at most so many for names that gave no answer last time."""
MAX_REMEMBERED = 10_000
"""Names of which it is known how they answered."""


class _Standing(Enum):
    PROVEN = "gave an answer last time"
    NEW = "never asked"
    SILENT = "gave no answer last time"


_NEW = _Standing.NEW


class LookupsBusy(Exception):
    """All threads are taken by names that do not answer: that says nothing of this one."""


def addresses(host: str, port: int, flags: int = 0) -> tuple[Address, ...]:
    """Return the addresses of a name, in the resolver's order (RFC 6724). Blocks. Raises OSError, UnicodeError."""
    # Bytes keep Python's own IDNA codec out of the way; the parser lets only ASCII through.
    answers = socket.getaddrinfo(
        host.encode("ascii"), port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=flags
    )
    return tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))


async def look_up(host: str, timeout: float, look: Look) -> tuple[Address, ...]:  # noqa: ASYNC109
    """Return the addresses of a name, by `look` in a thread.

    Raises TimeoutError where the resolver does not answer within `timeout` seconds, LookupsBusy where there was no
    thread for it, OSError and UnicodeError as the resolver does.
    """
    loop = asyncio.get_running_loop()
    lookups = _by_loop.get(loop)
    if lookups is None:
        lookups = _by_loop[loop] = _Lookups(loop)
    return await lookups.of(host, timeout, look)


class _Lookups:
    """The look-ups of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._under_way: dict[str, asyncio.Future[tuple[Address, ...]]] = {}
        self._standings: dict[str, _Standing] = {}
        self._threads: dict[str, _Standing] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._context = contextvars.copy_context()

    async def of(self, host: str, seconds: float, look: Look) -> tuple[Address, ...]:
        host, deadline = host.lower(), time.monotonic() + seconds
        future = self._under_way.get(host)
        while future is None:
            if self._may_start(host):
                future = self._start(host, look)
                break
            await self._room(deadline)
            future = self._under_way.get(host)
        done, _ = await asyncio.wait({future}, timeout=max(0.0, deadline - time.monotonic()))
        if not done:
            if host in self._threads:
                self._threads[host] = _Standing.SILENT
            self._note(host, _Standing.SILENT)
            raise TimeoutError
        return future.result()

    def _may_start(self, host: str) -> bool:
        standing, running = self._standings.get(host, _NEW), list(self._threads.values())
        if standing is _Standing.SILENT and running.count(_Standing.SILENT) >= MAX_SILENT:
            return False
        unproven = len(running) - running.count(_Standing.PROVEN)
        return len(running) < MAX_THREADS and (standing is _Standing.PROVEN or unproven < MAX_UNPROVEN)

    async def _room(self, deadline: float) -> None:
        """Wait until a thread has ended. Raises LookupsBusy."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await waiter
        except TimeoutError:
            raise LookupsBusy from None

    def _start(self, host: str, look: Look) -> asyncio.Future[tuple[Address, ...]]:
        future: asyncio.Future[tuple[Address, ...]] = self._loop.create_future()

        def run() -> None:
            answer: tuple[Address, ...] | Exception
            try:
                answer = look(host, 0)
            except (OSError, UnicodeError) as error:
                answer = error
            try:
                self._loop.call_soon_threadsafe(self._ended, host, answer, context=self._context)
            except RuntimeError:
                return  # The loop has ended meanwhile.

        try:
            threading.Thread(target=run, name="dns", daemon=True).start()
        except RuntimeError:
            raise LookupsBusy from None  # The machine has no more threads to give.
        self._under_way[host] = future
        self._threads[host] = self._standings.get(host, _NEW)
        return future

    def _ended(self, host: str, answer: tuple[Address, ...] | Exception) -> None:
        future = self._under_way.pop(host)
        del self._threads[host]
        if not isinstance(answer, Exception):
            self._note(host, _Standing.PROVEN)
            future.set_result(answer)
        else:
            future.set_exception(answer)
            future.exception()  # seen, also where nobody waits for it any more
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _note(self, host: str, standing: _Standing) -> None:
        self._standings.pop(host, None)
        while len(self._standings) >= MAX_REMEMBERED:
            del self._standings[next(iter(self._standings))]
        self._standings[host] = standing


_by_loop: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Lookups]" = WeakKeyDictionary()
