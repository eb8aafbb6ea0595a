"""What Prometheus reads: one registry of our own, no label without bound, nothing of a server's address.

The number of series does not depend on how many storages there are: an object's own state is in its status, from where
kube-state-metrics takes it (manifests/components/monitoring).
"""

import time
from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from cipher_operator import __version__
from cipher_operator.kube.leases import LEASE_NAME
from cipher_operator.queue.counts import Counts
from cipher_operator.queue.following import Next
from cipher_operator.reconcile.inputs import Key, Ref
from cipher_operator.reconcile.report.metrics import Sample
from cipher_operator.reconcile.sessions import ACCEPTED
from cipher_operator.runtime.census import Census
from cipher_operator.runtime.looplag import LoopLag
from cipher_operator.runtime.workqueue import Families, Workqueue

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside every counter

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LAG_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
NO_ANSWER = "<error>"
"""The code of a request that was not answered, as client-go has it."""


class Metrics:
    """Counts of one operator process. `render` gives them in Prometheus's text format."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._census = Census()
        self._lanes: Callable[[], Counts] | None = None
        self._serving_since = time.monotonic()
        self._unseen: set[Key] | None = None
        self.families = families = Families(self.registry)
        self.storages: Workqueue[Key] = Workqueue(families, "cipherstorage", self._seen)
        self.inputs: Workqueue[Ref] = Workqueue(families, "input")
        self.servers: Workqueue[Key] = Workqueue(families, "cipherserver")
        self._of_runs()
        self._of_storages()
        self._of_servers()
        self._of_the_process()

    def _of_runs(self) -> None:
        self._reconciles = self._counter("reconcile", "Runs that ended, by the reason of Ready.", "result")
        self._seconds = Histogram(
            "cipher_operator_reconcile_duration_seconds",
            "How long a run took that was told of in a status.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._retries = self._counter(
            "reconcile_retries", "Runs of storages whose run before had failed, by the reason of that.", "reason"
        )
        self._statements = self._counter("statements", "Statements that changed something in PostgreSQL.", "kind")
        self._statements.labels(kind="change")
        self._busy = self._gauge("workers_busy", "Runs of storages that are under way.")
        self._first_pass = self._gauge(
            "first_pass_seconds",
            "Seconds from the start of the process, or from taking over, until every storage was looked at once; "
            "0 before that.",
        )

    def _of_storages(self) -> None:
        self._standing = self._gauge(
            "storages",
            "Storages by state (ready, reconciling, stalled, suspended) and the reason of Ready.",
            "state",
            "reason",
        )
        self._oldest_check = self._gauge(
            "oldest_check_timestamp_seconds",
            "When the storage that was checked with success least lately was; 0 where none was.",
        )
        self._overdue = self._gauge(
            "check_overdue_seconds", "By how much the look at a Ready storage that is latest is late."
        )
        self._oldest_password = self._gauge(
            "oldest_password_timestamp_seconds",
            "When the oldest published password was set; 0 where there is none of the operator's.",
        )
        self._ca_end = self._gauge(
            "earliest_ca_expiry_timestamp_seconds",
            "When the next certificate of a CA that a storage names ends; 0 where none names one.",
        )

    def _of_servers(self) -> None:
        self._connections = self._counter("postgres_connections", "Connections made to PostgreSQL.", "purpose")
        self._logins = self._counter(
            "logins", "Tries to log in to PostgreSQL, by their result: Accepted, or a reason.", "purpose", "result"
        )
        for purpose in ("admin", "login"):
            self._connections.labels(purpose=purpose)
            self._logins.labels(purpose=purpose, result=ACCEPTED)
        self._states = self._gauge(
            "lanes", "PostgreSQL servers by state: open, down, or refused (a credential).", "state"
        )
        self._server_ready = self._gauge("server_ready", "1 for a CipherServer that is Ready, 0 for others.", "server")
        self._full = self._gauge("lanes_full", "PostgreSQL servers of which a namespace has all slots that it may.")
        self._slots = self._gauge("lane_slots", "Connections that may be open at once now, over all servers.")
        self._held = self._gauge("lane_slots_used", "Slots of servers that runs hold.")

    def _of_the_process(self) -> None:
        self._api = self._gauge("kubernetes_api_up", "1 while the Kubernetes API answers, 0 while it does not.")
        self._api.set(1)
        self._requests = Counter(
            "rest_client_requests",
            f"Requests to the Kubernetes API, by method and code; `{NO_ANSWER}` without an answer.",
            ["code", "method"],
            registry=self.registry,
        )
        self._restarts = self._counter(
            "watch_restarts",
            "Watches of the Kubernetes API that begin anew: ended, expired, broken, unavailable, refused.",
            "kind",
            "reason",
        )
        for kind in ("CipherServer", "CipherStorage", "ConfigMap", "Namespace", "Secret"):
            for reason in ("ended", "expired", "broken", "unavailable", "refused"):
                self._restarts.labels(kind=kind, reason=reason)
        self._lag = Histogram(
            "cipher_operator_event_loop_lag_seconds",
            "How late the event loop is, measured four times a second.",
            buckets=LAG_SECONDS,
            registry=self.registry,
        )
        self.loop_lag = LoopLag(self._lag.observe)
        self._leading = Gauge(
            "leader_election_master_status",
            "1 where this process leads, 0 where it follows; 1 without leader election.",
            ["name"],
            registry=self.registry,
        )
        self._leading.labels(name=LEASE_NAME).set(1)
        self._gauge("build_info", "Always 1; the version is a label.", "version").labels(version=__version__).set(1)
        ProcessCollector(registry=self.registry)

    def watch_lanes(self, counts: Callable[[], Counts]) -> None:
        """Publish how the lanes are, asked for whenever the metrics are read."""
        self._lanes = counts

    def run(self, key: Key, sample: Sample, following: Next) -> None:
        """Count a run that ended; `following` says when the storage is looked at next."""
        self._reconciles.labels(result=sample.reason).inc()
        self._seconds.observe(sample.seconds)
        self._statements.labels(kind="change").inc(sample.statements)
        retried = self._census.run(key, sample, following, time.time())
        if retried is not None:
            self._retries.labels(reason=retried).inc()

    def suspended(self, key: Key) -> None:
        """Note that a storage is left alone by its spec."""
        self._census.suspended(key)

    def server(self, name: str, ready: bool | None) -> None:
        """Note whether a CipherServer is ready; None where it is gone."""
        if ready is not None:
            self._server_ready.labels(server=name).set(ready)
        else:
            self._server_ready.remove(name)

    def forget(self, key: Key) -> None:
        """Count a storage no more that is gone."""
        self._census.forget(key)

    def clear(self) -> None:
        """Count none any more: another process works on them."""
        self._unseen = None
        self._first_pass.set(0)
        self._census.clear()
        self._server_ready.clear()

    def connection(self, purpose: str) -> None:
        """Count a connection; `purpose` is `admin` or `login`."""
        self._connections.labels(purpose=purpose).inc()

    def login(self, purpose: str, result: str) -> None:
        """Count a try to log in, by its result."""
        self._logins.labels(purpose=purpose, result=result).inc()

    def request(self, method: str, status: int | None) -> None:
        """Count a request to the Kubernetes API; `status` is None where there was no answer."""
        self._requests.labels(code=NO_ANSWER if status is None else str(status), method=method).inc()

    def watch_restarted(self, kind: str, reason: str) -> None:
        """Count a watch that ended."""
        self._restarts.labels(kind=kind, reason=reason).inc()

    def watch_leadership(self, leading: Callable[[], bool]) -> None:
        """Publish whether this process leads, asked for whenever the metrics are read."""
        self._leading.labels(name=LEASE_NAME).set_function(leading)

    def begin_pass(self, storages: Iterable[Key], *, takeover: bool = False) -> None:
        """Measure how long it takes until each of these has been looked at: all that there are at this moment. It
        counts from the start of the process, from now in a `takeover`."""
        if takeover:
            self._serving_since = time.monotonic()
        self._first_pass.set(0)
        self._unseen = set(storages)
        self._pass_may_end()

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        self._refresh()
        return generate_latest(self.registry)

    def _seen(self, key: Key) -> None:
        if self._unseen is not None:
            self._unseen.discard(key)
            self._pass_may_end()

    def _pass_may_end(self) -> None:
        if self._unseen is not None and not self._unseen:
            self._unseen = None
            self._first_pass.set(time.monotonic() - self._serving_since)

    def _refresh(self) -> None:
        """Bring up to now what is only looked up."""
        now = time.time()
        for (state, reason), count in self._census.counts.items():
            self._standing.labels(state=state, reason=reason).set(count)
        self._oldest_check.set(self._census.oldest_check() or 0)
        self._overdue.set(self._census.overdue(now))
        self._oldest_password.set(self._census.oldest_password() or 0)
        self._ca_end.set(self._census.earliest_ca_end(now) or 0)
        self.storages.refresh()
        self.inputs.refresh()
        self.servers.refresh()
        self._busy.set(self.storages.working)
        if self._lanes is not None:
            lanes = self._lanes()
            for state, count in (("open", lanes.open), ("down", lanes.down), ("refused", lanes.refused)):
                self._states.labels(state=state).set(count)
            self._full.set(lanes.full)
            self._slots.set(lanes.slots)
            self._held.set(lanes.held)
            self._api.set(lanes.api)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"cipher_operator_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"cipher_operator_{name}", text, labels, registry=self.registry)
