"""kopf, reduced to what it is best at: lists and watches that survive everything."""

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import Any

import aiohttp
import kopf

from cipher_operator.api.names import CRD_NAME, GROUP, PLURAL
from cipher_operator.kube.access import USER_AGENT, Access
from cipher_operator.kube.client import Count
from cipher_operator.kube.outage import ApiOutage, Outage, is_everybodys
from cipher_operator.runtime.gateways import NotAnswered, read_whole, wait_as_asked
from cipher_operator.runtime.handlers import register
from cipher_operator.runtime.settings import Settings
from cipher_operator.runtime.streams import Streams
from cipher_operator.runtime.triggers import Triggers

CONNECTIONS = 64
"""Without a limit kopf opens one per object that waits for an answer."""
LOGIN_PAUSE = 5.0
"""Seconds between two logins: with a token that stays refused kopf would log in 80 times a second."""
WATCH_SECONDS = 300
IDENTITY = "cipher-operator"

logger = logging.getLogger(__name__)


class NoDiffBase(kopf.DiffBaseStorage):
    """Keeps no last state: generations are compared instead, and no annotation is ever written."""

    def build(self, **_: Any) -> Any:
        """Return nothing, instead of a deep copy of every object in every event."""
        return {}

    def fetch(self, **_: Any) -> Any:
        """Return that nothing is stored."""
        return None

    def store(self, **_: Any) -> None:
        """Store nothing."""


class Backoffs:
    """Seconds between tries of kopf's requests: without end, at most 5 s, so that an outage is over when it is."""

    def __iter__(self) -> Iterator[float]:
        for base in itertools.chain((0.2, 0.5, 1.0, 2.0), itertools.repeat(5.0)):
            yield base * random.uniform(0.7, 1.0)  # noqa: S311 - spreads retries


def kopf_settings() -> kopf.OperatorSettings:
    """Return kopf's settings for an informer that writes nothing."""
    wanted = kopf.OperatorSettings()
    # kopf removes its finalizer wherever it finds it without a need: it must not be ours.
    wanted.persistence.finalizer = f"kopf.{GROUP}/unused"
    wanted.persistence.diffbase_storage = NoDiffBase()
    wanted.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=f"kopf.{GROUP}", v1=False)
    wanted.posting.enabled = False
    wanted.posting.loggers = False
    wanted.networking.error_backoffs = Backoffs()  # iterated anew for each request
    wanted.networking.connect_timeout = 10
    wanted.networking.request_timeout = 60
    wanted.networking.enforce_retry_after = True
    wanted.watching.chunk_size = 100
    # A worker holds its object's last event until it ends: five seconds of a first list are thousands of objects.
    wanted.queueing.idle_timeout = 0.5
    wanted.watching.server_timeout = WATCH_SECONDS
    wanted.watching.client_timeout = WATCH_SECONDS + 10
    wanted.watching.connect_timeout = 10
    wanted.process.ultimate_exiting_timeout = 60
    # kopf would look once at each event of a CRD, and never again where the API server's discovery comes later.
    wanted.scanning.disabled = True
    return wanted


class KindNotServed(aiohttp.ClientConnectionError):
    """The API server does not know our kind: its CRD is away. kopf tries again after this, while a 404 ends it."""


class Informer:
    """One term of kopf. `ended` is set when it stops; where nobody asked it to, it has given up and hangs."""

    def __init__(self, settings: Settings, access: Access, triggers: Triggers, count: Count, outage: ApiOutage) -> None:
        self._settings, self._access, self._count = settings, access, count
        # What exists of them is watched beside it.
        self._outage = Outage(f"{PLURAL} with their contents", outage)
        self._registry = kopf.OperatorRegistry()
        self._logged_in = -LOGIN_PAUSE
        self._streams = Streams(triggers.status, triggers.listed)
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        register(self._registry, triggers, self._login, self.ended.set)

    @property
    def alive(self) -> bool:
        """Return whether it runs, or has not been started."""
        return not self.ended.is_set() and (self._task is None or not self._task.done())

    def start(self, after_start: Callable[[], None]) -> None:
        """Run kopf in a task; `after_start` is called when it has taken the process's signal handlers.

        Tasks made before this call live on when kopf stops; those made later are waited for and cancelled by it.
        """
        watcher = asyncio.create_task(self._when_started(after_start), name="informer start")
        self._task = asyncio.create_task(self._run(watcher), name="informer")

    async def stop(self, seconds: float) -> bool:
        """Stop kopf; return whether it ended within `seconds`."""
        self._stop.set()
        if self._task is None:
            return True
        done, _ = await asyncio.wait({self._task}, timeout=seconds)
        return bool(done)

    async def _when_started(self, after_start: Callable[[], None]) -> None:
        await self.started.wait()
        after_start()

    async def _run(self, watcher: "asyncio.Task[None]") -> None:
        try:
            await kopf.operator(
                registry=self._registry,
                # Its default asks for the user's name, which a numeric user in a Pod has not.
                identity=IDENTITY,  # type: ignore[arg-type]
                settings=kopf_settings(),
                clusterwide=not self._settings.namespaces,
                namespaces=self._settings.namespaces,
                standalone=True,
                stop_flag=self._stop,
                ready_flag=self.started,
            )
        except Exception:
            logger.exception("the watch of the cluster ended unexpectedly")
        finally:
            watcher.cancel()
            self.ended.set()

    async def _login(self) -> kopf.AiohttpSession:
        """Return a new session; kopf closes the old one when the server refuses its token."""
        pause = self._logged_in + LOGIN_PAUSE - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        self._logged_in = time.monotonic()
        self._access.expire()
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=self._access.ssl_context()),
            headers={"User-Agent": USER_AGENT},
            middlewares=(
                wait_as_asked,
                self._counted,
                self._authorise,
                _outlast_the_kind,
                self._streams,
                read_whole,
            ),
            proxy=self._access.proxy,
            trust_env=False,
        )
        return kopf.AiohttpSession(
            server=self._access.server, aiohttp_session=session, default_namespace=self._access.namespace
        )

    async def _counted(
        self,
        request: aiohttp.ClientRequest,
        handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
    ) -> aiohttp.ClientResponse:
        status = None
        try:
            response = await handler(request)
            status = response.status
            if status < HTTPStatus.BAD_REQUEST:
                # One that has just started refuses for a moment what it allows later, and is not back by that.
                self._outage.end()
            return response
        except NotAnswered as error:
            status = error.status
            self._outage.note(str(error), everybody=is_everybodys(status))
            raise
        except KindNotServed:
            status = 404
            raise
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            self._outage.note(type(error).__name__, everybody=is_everybodys(None))
            raise
        finally:
            self._count(request.method, status)

    async def _authorise(
        self,
        request: aiohttp.ClientRequest,
        handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
    ) -> aiohttp.ClientResponse:
        authorization = await self._access.authorization()
        if authorization is not None:
            request.headers["Authorization"] = authorization
        return await handler(request)


async def _outlast_the_kind(
    request: aiohttp.ClientRequest,
    handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
) -> aiohttp.ClientResponse:
    """Raise KindNotServed for a 404 of our kind's lists and watches.

    kopf is started when the kind is there, and does not hear that its CRD is deleted, nor that it comes again.
    """
    response = await handler(request)
    if response.status == 404 and request.url.path.endswith(f"/{PLURAL}"):
        response.release()
        raise KindNotServed(f"{CRD_NAME} is not installed")
    return response
