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
from weakref import WeakKeyDictionary

Address = str
"""A numeric IPv4 or IPv6 address, as getaddrinfo writes it."""

Look = Callable[[str, int], tuple[Address, ...]]

MAX_THREADS = 64
MAX_SILENT = MAX_THREADS // 2
"""Of these, at most so many for names that gave no answer last time."""
MAX_REMEMBERED = 10_000


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
        self._silent: dict[str, float] = {}
        self._threads: dict[str, bool] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._context = contextvars.copy_context()

    async def of(self, host: str, seconds: float, look: Look) -> tuple[Address, ...]:
        deadline = time.monotonic() + seconds
        future = self._under_way.get(host)
        while future is None:
            if self._may_start(host):
                future = self._start(host, look)
                break
            await self._room(deadline)
            future = self._under_way.get(host)
        done, _ = await asyncio.wait({future}, timeout=max(0.0, deadline - time.monotonic()))
        if not done:
            self._note_silent(host)
            raise TimeoutError
        return future.result()

    def _may_start(self, host: str) -> bool:
        if host in self._silent:
            return sum(self._threads.values()) < MAX_SILENT and len(self._threads) < MAX_THREADS
        return len(self._threads) < MAX_THREADS

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
        self._under_way[host] = future
        self._threads[host] = host in self._silent

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

        threading.Thread(target=run, name="dns", daemon=True).start()
        return future

    def _ended(self, host: str, answer: tuple[Address, ...] | Exception) -> None:
        future = self._under_way.pop(host)
        del self._threads[host]
        if not isinstance(answer, Exception):
            self._silent.pop(host, None)
            future.set_result(answer)
        else:
            future.set_exception(answer)
            future.exception()  # seen, also where nobody waits for it any more
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _note_silent(self, host: str) -> None:
        if host in self._threads:
            self._threads[host] = True
        while len(self._silent) >= MAX_REMEMBERED:
            del self._silent[next(iter(self._silent))]
        self._silent[host] = time.monotonic()


_by_loop: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Lookups]" = WeakKeyDictionary()
