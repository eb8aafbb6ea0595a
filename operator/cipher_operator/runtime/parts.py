"""What one operator process is put together from: lanes, queues, references, reflectors, runs."""

import asyncio
import logging
import secrets
import string
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from cipher_operator.core.connection.password import Password
from cipher_operator.core.permit import NotLeading, Permit
from cipher_operator.identity.cloud import CloudTokens
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.outage import ApiOutage
from cipher_operator.kube.port import ApiError, ApiUnavailable, Kube
from cipher_operator.kube.reflector import (
    CONFIGMAPS,
    NAMESPACES,
    SECRETS,
    SERVERS,
    STORAGES,
    Changed,
    Reflector,
    Watched,
    reflectors,
)
from cipher_operator.kube.secrets import SecretObject
from cipher_operator.postgres.login_keys import LoginKeys
from cipher_operator.postgres.probe import answers
from cipher_operator.queue.clock import LoopClock
from cipher_operator.queue.following import Next
from cipher_operator.queue.lanes import Lanes
from cipher_operator.queue.needs import API
from cipher_operator.queue.queue import Queue
from cipher_operator.queue.references import References
from cipher_operator.queue.ticket import Ticket
from cipher_operator.reconcile.at_work import AtWork
from cipher_operator.reconcile.attempt import api_failed
from cipher_operator.reconcile.contents import read_input, version_of
from cipher_operator.reconcile.digest import Digest
from cipher_operator.reconcile.finalize import release_input
from cipher_operator.reconcile.inputs import Key, Ref
from cipher_operator.reconcile.namespaces import Namespaces
from cipher_operator.reconcile.places import Places
from cipher_operator.reconcile.server import ServerReconciler
from cipher_operator.reconcile.surroundings import Surroundings
from cipher_operator.runtime.lane_outages import LaneOutages
from cipher_operator.runtime.metrics import Metrics
from cipher_operator.runtime.settings import Settings
from cipher_operator.runtime.standby import Standby
from cipher_operator.runtime.tenants import Tenants
from cipher_operator.runtime.triggers import Triggers

PASSWORD_LENGTH = 32
INPUTS_AT_ONCE = 4
SERVERS_AT_ONCE = 8
_ALPHABET = string.ascii_letters + string.digits

logger = logging.getLogger(__name__)


class Runs(Protocol):
    """What runs storages, or servers."""

    async def run(self, key: Key, ticket: Ticket) -> Next:
        """Run one; return when to run it next."""

    async def close(self) -> None:
        """End what goes on beside the runs."""

    async def reset(self) -> None:
        """End that, and forget what was learnt of storages: another process works on them."""


MakeRuns = Callable[[Surroundings], Runs]


def generate_password() -> Password:
    """Return 32 letters and digits from the operating system's generator: nothing in it ever needs quoting."""
    return Password("".join(secrets.choice(_ALPHABET) for _ in range(PASSWORD_LENGTH)))


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a process that live as long as it serves."""

    queue: Queue[Key]
    servers_queue: Queue[Key]
    inputs_queue: Queue[Ref]
    lanes: Lanes
    tokens: CloudTokens
    triggers: Triggers
    tenants: Tenants
    reflectors: tuple[Reflector, ...]
    outage: ApiOutage
    runs: Runs
    server_runs: Runs
    rewound: asyncio.Event
    """Set where the cluster was restored from a backup: what was learnt of it is not so any more."""

    @classmethod
    def of(  # noqa: PLR0917 - each is there once in a process
        cls,
        settings: Settings,
        kube: KubeClient,
        instance: str,
        metrics: Metrics,
        make_runs: MakeRuns,
        permit: Permit,
    ) -> "Parts":
        """Put them together; nothing is started yet. `permit` is asked before each message to a server."""
        clock, api = LoopClock(), ApiOutage()
        lanes = Lanes(
            clock,
            lambda lane: _probe(kube, settings, lane),
            slots=settings.connections_per_server,
            share=max(1, settings.workers // 4),
            outage=LaneOutages(api),
        )
        digest = Digest()
        queue: Queue[Key] = Queue(
            lambda key, ticket: metrics.storages.run(runs.run, key, ticket),
            workers=settings.workers,
            workers_per_namespace=settings.workers_per_namespace,
            lanes=lanes,
            clock=clock,
            observer=metrics.storages,
        )
        servers_queue: Queue[Key] = Queue(
            lambda key, ticket: metrics.servers.run(server_runs.run, key, ticket),
            workers=SERVERS_AT_ONCE,
            workers_per_namespace=SERVERS_AT_ONCE,
            lanes=lanes,
            clock=clock,
            observer=metrics.servers,
        )
        # A CipherServer's key has no namespace.
        inputs: References[Key, Ref] = References(
            lambda key: (queue if key[0] else servers_queue).enqueue(key, changed=True)
        )
        tokens = CloudTokens()
        namespaces = Namespaces(settings.server_secrets_namespace if settings.cluster_servers else None)
        around = Surroundings(
            kube=kube,
            inputs=inputs,
            namespaces=namespaces,
            places=Places(inputs),
            policy=settings.dial_policy,
            tokens=tokens,
            keys=LoginKeys(),
            rules=settings.rules(instance),
            digest=digest,
            counters=metrics,
            now=lambda: datetime.now(UTC),
            monotonic=time.monotonic,
            generate=generate_password,
            enqueue=queue.enqueue,
            permit=permit,
            at_work=AtWork(lambda server: servers_queue.enqueue(("", server))),
        )
        runs, server_runs = make_runs(around), ServerReconciler(around)
        inputs_queue: Queue[Ref] = Queue(
            lambda ref, ticket: metrics.inputs.run(lambda ref, ticket: _look(around, ref, ticket), ref, ticket),
            workers=INPUTS_AT_ONCE,
            workers_per_namespace=INPUTS_AT_ONCE,
            lanes=lanes,
            clock=clock,
            observer=metrics.inputs,
        )
        standby = Standby(settings.interval, time.monotonic)
        tenants = Tenants(queue, servers_queue, inputs, namespaces, standby.touch)
        triggers = Triggers(queue, inputs, inputs_queue.enqueue, standby)
        metrics.watch_lanes(lanes.counts)
        kinds: list[tuple[Watched, Changed, tuple[str, ...]]] = [
            (SECRETS.selected(settings.secret_selector), triggers.input, settings.secret_namespaces),
            (CONFIGMAPS, triggers.input, settings.namespaces),
            (STORAGES, triggers.exists, settings.namespaces),
        ]
        if settings.cluster_servers:
            kinds += [(SERVERS, tenants.server, ()), (NAMESPACES, tenants.namespace, ())]
        rewound, restarted = asyncio.Event(), metrics.watch_restarted
        watching = [
            reflector
            for watched, changed, places in kinds
            for reflector in reflectors(kube, (watched,), changed, places, restarted, api=api, rewound=rewound.set)
        ]
        return cls(
            queue,
            servers_queue,
            inputs_queue,
            lanes,
            tokens,
            triggers,
            tenants,
            tuple(watching),
            api,
            runs,
            server_runs,
            rewound,
        )

    @asynccontextmanager
    async def reflecting(self) -> AsyncIterator[None]:
        """Watch the inputs, and which storages exist, while the block runs."""
        for reflector in self.reflectors:
            reflector.start()
        try:
            yield
        finally:
            await asyncio.gather(*(reflector.stop() for reflector in self.reflectors))

    def unwatched(self) -> str | None:
        """Return what is not watched yet; None where everything is."""
        if all(reflector.synced.is_set() for reflector in self.reflectors):
            return None
        return "the first lists are not complete"

    def lead(self, warm: bool) -> None:
        """Work: what there is in due order (see Standby), and what changes."""
        self.queue.resume()
        self.inputs_queue.resume()
        self.servers_queue.resume()
        self.triggers.lead(warm=warm)
        self.tenants.lead()
        # It has just granted the Lease.
        self.lanes.answers(API)

    async def follow(self) -> bool:
        """End what is under way at once and do no work from now on; return whether all of it has ended."""
        self.triggers.follow(self.inputs_queue.undone())
        self.tenants.follow()
        queues = (self.queue, self.servers_queue, self.inputs_queue)
        await asyncio.gather(*(queue.drain(0) for queue in queues))
        await asyncio.gather(self.runs.reset(), self.server_runs.reset())
        self.lanes.offers.clear()
        return not any(queue.running for queue in queues)

    async def close(self) -> None:
        """End what goes on beside the runs."""
        await asyncio.gather(self.inputs_queue.drain(1.0), self.servers_queue.drain(1.0))
        await self.runs.close()
        await self.lanes.close()
        await self.tokens.close()


async def _probe(kube: Kube, settings: Settings, lane: object) -> bool | float:
    """Return whether a lane's server answers; for the API server also the seconds that it asks to wait. Raises nothing:
    a lane whose probe ends so would stay down for good."""
    try:
        return await _asked(kube, settings, lane)
    except Exception:
        logger.exception("a probe failed unexpectedly")
        return False


async def _asked(kube: Kube, settings: Settings, lane: object) -> bool | float:
    if lane == API:
        try:
            await kube.get("/version")
        except ApiUnavailable as error:
            return error.retry_after or False
        except ApiError:
            return True
        return True
    assert isinstance(lane, tuple)
    host, port = lane
    return await answers(str(host), int(port), settings.dial_policy)


async def _look(around: Surroundings, ref: Ref, ticket: Ticket) -> Next:
    """Look at an input that the watch has told of: start who has read other content, and let it go where it is held for
    nobody."""
    kube, inputs = around.kube, around.inputs
    try:
        content = await read_input(kube, ref) if inputs.watched(ref) else None
        if content is not None:
            inputs.changed(ref, version_of(content, around.digest))
        elif inputs.watched(ref):
            inputs.gone(ref)
        if ref[0] == "Secret" and (content is None or (isinstance(content, SecretObject) and content.deleting)):
            await release_input(kube, ref, home=around.namespaces.servers)
    except ApiUnavailable as error:
        api_failed(ticket, error, {"input": "/".join(ref)})
        return Next(failed=True)
    except NotLeading:
        return Next(failed=True)
    except ApiError as error:
        logger.warning("%s %s/%s cannot be looked at: %s; trying again", *ref, error)
        return Next(failed=True)
    return Next(after=None)
