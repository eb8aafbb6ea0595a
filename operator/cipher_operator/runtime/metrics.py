"""What Prometheus reads: one registry of our own, no label without bound, nothing of a server's address."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from cipher_operator import __version__
from cipher_operator.reconcile.inputs import Key
from cipher_operator.reconcile.report.metrics import Sample

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside every counter

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counts of one operator process. `render` gives them in Prometheus's text format."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._conditions: dict[Key, frozenset[tuple[str, str]]] = {}
        self._reconciles = Counter(
            "cipher_operator_reconcile",
            "Runs of storages that ended, by result: the reason of the Ready condition.",
            ["result"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "cipher_operator_reconcile_duration_seconds",
            "How long one run of one storage took.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._condition = Gauge(
            "cipher_operator_storage_condition",
            "1 for the status that each condition of a CipherStorage has now; other statuses have no series.",
            ["namespace", "name", "type", "status"],
            registry=self.registry,
        )
        self._connections = Counter(
            "cipher_operator_postgres_connections",
            "Connections made to PostgreSQL: as administrator, or to test a published login.",
            ["purpose"],
            registry=self.registry,
        )
        self._statements = Counter(
            "cipher_operator_statements",
            "Statements that changed something in PostgreSQL; none in a steady state.",
            ["kind"],
            registry=self.registry,
        )
        build = Gauge(
            "cipher_operator_build_info", "Always 1; the version is a label.", ["version"], registry=self.registry
        )
        build.labels(version=__version__).set(1)
        for purpose in ("admin", "login"):
            self._connections.labels(purpose=purpose)
        self._statements.labels(kind="change")

    def watch_queue(self, waiting: Callable[[], int], running: Callable[[], int], known: Callable[[], int]) -> None:
        """Publish the scheduler's counts, read whenever the metrics are."""
        for name, text, read in (
            ("waiting", "Storages that wait for a free worker.", waiting),
            ("running", "Storages that are worked on now.", running),
            ("known", "Storages that have a run now or planned.", known),
        ):
            gauge = Gauge(f"cipher_operator_queue_{name}", text, registry=self.registry)
            gauge.set_function(read)

    def watch_leadership(self, name: str, leading: Callable[[], bool]) -> None:
        """Publish whether this process leads, by the name of its Lease; read whenever the metrics are."""
        master = Gauge(
            "leader_election_master_status",
            "1 where this process leads, 0 where it follows.",
            ["name"],
            registry=self.registry,
        )
        master.labels(name=name).set_function(leading)

    def run(self, key: Key, sample: Sample) -> None:
        """Count a run that ended, and publish the storage's conditions in place of those before."""
        self._reconciles.labels(result=sample.reason).inc()
        self._seconds.observe(sample.seconds)
        self._statements.labels(kind="change").inc(sample.statements)
        before, now = self._conditions.get(key, frozenset()), sample.conditions
        for type_, status in before - now:
            self._condition.remove(*key, type_, status)
        for type_, status in now - before:
            self._condition.labels(*key, type_, status).set(1)
        self._conditions[key] = now

    def forget(self, key: Key) -> None:
        """Drop the series of a storage that is gone."""
        for type_, status in self._conditions.pop(key, frozenset()):
            self._condition.remove(*key, type_, status)

    def connection(self, purpose: str) -> None:
        """Count a connection; `purpose` is `admin` or `login`."""
        self._connections.labels(purpose=purpose).inc()

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)
