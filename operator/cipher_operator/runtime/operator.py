"""The operator process: what is started in which order, what ends it, and how it ends."""

import asyncio
import contextlib
import logging
import math
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from cipher_operator import __version__
from cipher_operator.api.names import CRD_NAME, PLURAL, SERVER_PLURAL
from cipher_operator.kube.access import Access
from cipher_operator.kube.cipherstorages import storage_keys
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.port import ApiError, ApiUnavailable
from cipher_operator.reconcile.inputs import Key
from cipher_operator.reconcile.storage import Reconciler
from cipher_operator.runtime.health import HealthServer
from cipher_operator.runtime.informer import Informer
from cipher_operator.runtime.kinds import Kinds
from cipher_operator.runtime.leader import Elector
from cipher_operator.runtime.metrics import Metrics
from cipher_operator.runtime.parts import MakeRuns, Parts
from cipher_operator.runtime.rights import Rights
from cipher_operator.runtime.settings import Settings

GIVEN_UP_SECONDS = 5.0
"""How long an informer that gave up may take to end."""
EXIT_SECONDS = 10.0
"""After the runs have ended, how long the rest may take before the process is ended by force."""
INFORMER_EXIT_SECONDS = 8.0
"""Of these kopf itself gives five to a task that it did not start."""
API_PAUSE = 1.0
REFUSED_SECONDS = 15.0
"""How long refusals are not believed at the start: an API server that starts answers 403 before it knows its roles."""

logger = logging.getLogger(__name__)


Watchdog = Callable[[float, int], None]
"""Ends the process with an exit code after so many seconds, whatever hangs."""


class StartError(Exception):
    """The operator cannot start; the message says what to do."""


class Operator:
    """One process. `run` returns its exit code: 0 after a signal, 1 where the watch of the cluster gave up.

    `known` is called once, when all storages of the cluster are known, and before any of them is run.
    """

    def __init__(
        self,
        settings: Settings,
        access: Access,
        *,
        make_runs: MakeRuns = Reconciler,
        watchdog: Watchdog | None = None,
        known: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._access, self._make_runs, self._known = settings, access, make_runs, known
        self._watchdog = watchdog or (lambda seconds, code: None)
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._informer: Informer | None = None
        self._elector: Elector | None = None
        self._not_ready: str | None = "the operator is starting"
        self._awaited: set[Key] | None = None
        """Storages of the first list that the informer has not seen yet."""
        self.metrics = Metrics()
        self._rights = Rights(settings, self._lease_namespace, lambda: KubeClient(access, count=self.metrics.request))
        self.health = HealthServer(
            settings.health_address, settings.metrics_address, self._alive, lambda: self._not_ready, self.metrics
        )

    def stop(self) -> None:
        """End it: the runs under way finish. A second call does not wait for them."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def run(self) -> int:
        """Run until a signal or `stop`. Raises StartError, AddressError."""
        self._take_signals()
        await self.health.start()
        try:
            async with contextlib.AsyncExitStack() as clients, _task(self._rights.follow(), "rights"):
                if self._settings.leader_election:
                    # Of its own: no renewal waits behind the requests of runs.
                    own = KubeClient(self._access, count=self._count)
                    self._elector = self._make_elector(await clients.enter_async_context(own))
                client = KubeClient(self._access, self._permit, self._count)
                kube = await clients.enter_async_context(client)
                instance_id = await self._instance_id(kube)
                if instance_id is None:
                    return 0
                return await self._serve(kube, instance_id)
        finally:
            await self.health.stop()

    async def _serve(self, kube: KubeClient, instance_id: str) -> int:
        parts = self._parts = Parts.of(self._settings, kube, instance_id, self.metrics, self._make_runs, self._permit)
        informer = self._informer = Informer(self._settings, self._access, parts.triggers, self._count, parts.outage)
        logger.info("cipher-operator %s serves %s", __version__, self._settings.served, extra={"instance": instance_id})
        # Until all storages are known: runs would hold up the lists, and each page of a list has its time.
        await parts.follow()
        if self._elector is not None:
            self._elector.start(lambda warm: self._lead(parts, warm=warm), parts.follow)
        kinds = Kinds(kube, (PLURAL, SERVER_PLURAL) if self._settings.cluster_servers else (PLURAL,))
        first_lists = _task(self._first_lists(kube, parts), "first lists")
        async with parts.reflecting(), first_lists, _task(kinds.follow(), "kinds"):
            await _first(self._stop.wait(), kinds.served.wait())
            if self._stop.is_set():
                await self._leave(parts)
                return 0
            informer.start(self._take_signals)
            ends = [self._stop.wait(), informer.ended.wait(), parts.rewound.wait()]
            await _first(*ends, *([self._elector.ended.wait()] if self._elector is not None else ()))
            if not self._stop.is_set():
                if informer.ended.is_set():
                    logger.error("the watch of the cluster gave up; this process ends, to be started again")
                elif parts.rewound.is_set():
                    # kopf's are as deaf as ours were, and nothing tells it.
                    logger.error(
                        "the cluster was restored from a backup: its resourceVersions have gone back, and its watches "
                        "tell nothing; this process ends, to be started again"
                    )
                self._watchdog(GIVEN_UP_SECONDS + 2, 1)
                await asyncio.gather(informer.stop(GIVEN_UP_SECONDS), parts.queue.drain(GIVEN_UP_SECONDS - 1))
                await self._leave(parts)
                return 1
            await self._shut_down(parts, informer)
            return 0

    async def _shut_down(self, parts: Parts, informer: Informer) -> None:
        """End in an order in which nobody waits for anybody: kopf waits 5 s for every task made after its start."""
        self._not_ready = "the operator is ending"
        patience = self._settings.reconcile_timeout
        logger.info("ending; %d runs are under way", parts.queue.running)
        self._watchdog(patience + EXIT_SECONDS, 1)
        if self._elector is not None:
            self._elector.retire()
        draining = asyncio.create_task(parts.queue.drain(patience))
        await _first(self._hurry.wait(), asyncio.shield(draining))
        if not draining.done():
            await parts.queue.drain(0)
            await draining
        await self._leave(parts)
        await self.health.stop()
        if not await informer.stop(INFORMER_EXIT_SECONDS):
            alive = sorted(task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task())
            logger.warning("the watch of the cluster did not end in time; at work still: %s", ", ".join(alive))
        logger.info("ended")

    def _lead(self, parts: Parts, *, warm: bool) -> None:
        """Begin to work."""
        self.metrics.begin_pass(parts.triggers.storages, takeover=self._elector is not None)
        parts.lead(warm)

    async def _leave(self, parts: Parts) -> None:
        """End what goes on beside the runs, which have ended; then another replica may lead."""
        await parts.close()
        if self._elector is not None:
            await self._elector.release()

    @property
    def _lease_namespace(self) -> str | None:
        """Return where the Lease is; None where there is none, or nobody says."""
        if not self._settings.leader_election:
            return None
        return self._settings.leader_election_namespace or self._access.namespace

    def _count(self, method: str, status: int | None) -> None:
        self.metrics.request(method, status)
        self._rights.count(method, status)

    def _permit(self) -> float:
        """Return for how many seconds this process may write. Raises NotLeading."""
        return math.inf if self._elector is None else self._elector.permit()

    def _make_elector(self, kube: KubeClient) -> Elector:
        namespace = self._lease_namespace
        if namespace is None:
            raise StartError("the namespace of the Lease is not known; set --leader-election-namespace")
        # A process that is started again must not take the claim of its former life for its own.
        identity = f"{socket.gethostname()}_{secrets.token_hex(4)}"
        elector = Elector(kube, namespace, identity)
        self.metrics.watch_leadership(lambda: elector.leading)
        return elector

    def _alive(self) -> str | None:
        if self._informer is not None and not self._informer.alive and not self._stop.is_set():
            return "the watch of the cluster gave up"
        return None

    def _take_signals(self) -> None:
        """Handle SIGTERM and SIGINT here. kopf takes them over when it starts, and leaves them dead when it ends."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            # Not in the main thread there are none to take.
            try:
                loop.add_signal_handler(number, self.stop)
            except (ValueError, RuntimeError):
                return

    async def _instance_id(self, kube: KubeClient) -> str | None:
        """Return whose storages these are; None where the operator was stopped before it is known."""
        if self._settings.instance_id is not None:
            return self._settings.instance_id
        refused_at: float | None = None
        while not self._stop.is_set():
            try:
                return str((await kube.get("/api/v1/namespaces/kube-system"))["metadata"]["uid"])
            except ApiError as error:
                now = time.monotonic()
                refused_at = now if refused_at is None else refused_at
                if now - refused_at >= REFUSED_SECONDS:
                    raise StartError(
                        f"namespace kube-system, whose uid is the default of --instance-id, cannot be read ({error}); "
                        "allow `get` on it, or set --instance-id"
                    ) from None
            except ApiUnavailable as error:
                logger.warning("the Kubernetes API does not answer: %s; trying again", error)
            self._not_ready = "the Kubernetes API does not answer"
            await self._pause(API_PAUSE)
        return None

    async def _first_lists(self, kube: KubeClient, parts: Parts) -> None:
        """Become ready when every storage that exists has been seen by the informer, and the inputs are watched."""
        pause = 0.1
        while not self._stop.is_set():
            self._not_ready = await self._unseen(kube, parts)
            if self._not_ready is None:
                parts.triggers.complete()
                self._known()
                if self._elector is not None:
                    self._elector.compete()
                else:
                    self._lead(parts, warm=False)
                logger.info("ready: all storages of the cluster are known")
                return
            await self._pause(pause)
            pause = min(2.0, pause * 2)

    async def _unseen(self, kube: KubeClient, parts: Parts) -> str | None:
        listed: set[Key] = set()
        try:
            for namespace in self._settings.namespaces or (None,):
                listed |= {key async for key in storage_keys(kube, namespace)}
        except ApiError as error:
            if error.status == 404:
                return f"the CRD {CRD_NAME} is not installed; install it with kubectl apply"
            return f"CipherStorages cannot be listed: {error}"
        except ApiUnavailable:
            return "the Kubernetes API does not answer"
        # Those of the first list: others come all the time, and by the watch.
        awaited = listed if self._awaited is None else listed & self._awaited
        self._awaited = {key for key in awaited if not parts.triggers.knows(key)}
        if self._awaited:
            return "the first lists are not complete"
        if self._informer is None or not self._informer.started.is_set():
            return "the watch of the cluster is starting"
        return parts.unwatched()

    async def _pause(self, seconds: float) -> None:
        await _first(self._stop.wait(), asyncio.sleep(seconds))


async def _first(*waits: Coroutine[Any, Any, object] | asyncio.Future[Any]) -> None:
    """Return when the first of several waits ends; cancel the others."""
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


@contextlib.asynccontextmanager
async def _task(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Run something beside a block, and end it with the block."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
