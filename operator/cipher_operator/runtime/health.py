"""`/healthz`, `/readyz` and `/metrics`, served by the operator's own event loop: an answer shows that it turns."""

import errno
import logging
import socket
from collections.abc import Awaitable, Callable

from aiohttp import web

from cipher_operator.runtime.flags import Address
from cipher_operator.runtime.metrics import CONTENT_TYPE, Metrics

Check = Callable[[], str | None]
"""Returns what is wrong, None when nothing is."""

ANY = "::"
BACKLOG = 128
NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EADDRNOTAVAIL, errno.ENOPROTOOPT})
"""What a machine says that was started, or built, without IPv6."""

logger = logging.getLogger(__name__)


class AddressError(Exception):
    """An address cannot be had; the message names the flag that asks for it."""


class HealthServer:
    """The HTTP servers of one process. `addresses` are those it listens on, by what they serve."""

    def __init__(self, health: Address, metrics: Address, alive: Check, ready: Check, source: Metrics) -> None:
        self._wanted = {"health": health, "metrics": metrics}
        self._routes = {
            "health": {"/healthz": _check(alive), "/readyz": _check(ready)},
            "metrics": {"/metrics": _metrics(source)},
        }
        self._source = source
        self._runners: list[web.AppRunner] = []
        self.addresses: dict[str, Address] = {}

    async def start(self) -> None:
        """Listen. Raises AddressError."""
        self._source.loop_lag.start()
        served: dict[Address, list[str]] = {}
        for name, address in self._wanted.items():
            # Two servers on a free port each, but one where both want the same port.
            served.setdefault(address if address.port else Address(f"{address.host}#{name}", 0), []).append(name)
        for names in served.values():
            address = self._wanted[names[0]]
            application = web.Application()
            for name in names:
                for path, handler in self._routes[name].items():
                    application.router.add_get(path, handler)
            runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
            await runner.setup()
            self._runners.append(runner)
            try:
                bound = await _listen(runner, address)
            except OSError as error:
                flags = " and ".join(f"--{name}-address" for name in names)
                raise AddressError(f"{flags}: {address} cannot be had: {error.strerror}") from None
            for name in names:
                self.addresses[name] = bound
                logger.info("%s is served on http://%s%s", name, bound, next(iter(self._routes[name])))

    async def stop(self) -> None:
        """Close everything; a client that keeps its connection open is cut off after a second."""
        self._source.loop_lag.stop()
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()


async def _listen(runner: web.AppRunner, address: Address) -> Address:
    """Listen, and return where, with the port that was had. Raises OSError."""
    if address.host == ANY:
        listening = _any_address(address.port)
        await web.SockSite(runner, listening).start()
        return Address(*listening.getsockname()[:2])
    await web.TCPSite(runner, address.host, address.port).start()
    return Address(address.host, runner.addresses[0][1])


def _any_address(port: int) -> socket.socket:
    """Return a socket that listens on every address of both families, of IPv4 alone where there is no IPv6.

    asyncio's own way to listen on `::` leaves IPv4 out. Raises OSError where the port cannot be had.
    """
    try:
        return socket.create_server((ANY, port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    except (OSError, ValueError) as error:
        # ValueError: a platform without sockets for both. An OSError of the port's own is IPv4's too.
        if isinstance(error, OSError) and error.errno not in NO_IPV6:
            raise
    return socket.create_server(("0.0.0.0", port), backlog=BACKLOG)  # noqa: S104 - probes come from outside the Pod


_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _check(check: Check) -> _Handler:
    async def answer(_: web.Request) -> web.Response:
        wrong = check()
        return web.Response(text=f"{wrong or 'ok'}\n", status=503 if wrong else 200)

    return answer


def _metrics(source: Metrics) -> _Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=source.render(), headers={"Content-Type": CONTENT_TYPE})

    return answer
