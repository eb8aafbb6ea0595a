"""Runs of the reconcile layer against an API server in memory and a real PostgreSQL: milliseconds each."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from cipher_operator.identity.cloud import CloudTokens
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.login_keys import LoginKeys
from cipher_operator.postgres.probe import answers
from cipher_operator.queue.clock import LoopClock
from cipher_operator.queue.following import Next
from cipher_operator.queue.lanes import Lanes
from cipher_operator.queue.needs import API, Name
from cipher_operator.queue.references import References
from cipher_operator.queue.ticket import Ticket
from cipher_operator.reconcile.digest import Digest
from cipher_operator.reconcile.inputs import Key, Ref
from cipher_operator.reconcile.namespaces import Namespaces
from cipher_operator.reconcile.places import Places
from cipher_operator.reconcile.report.metrics import Sample
from cipher_operator.reconcile.rules import Rules
from cipher_operator.reconcile.storage import Reconciler
from cipher_operator.reconcile.surroundings import Surroundings
from cipher_operator.runtime.parts import generate_password
from devcluster import PostgresServer
from support.memory_api import MemoryApi
from support.status_versions import record

NAMESPACE = "ns"
SERVERS = "cipher-system"
"""Where the Secrets of CipherServers are."""
OPEN = DialPolicy(blocked=(), connect_timeout=2.0)


@dataclass
class Counts:
    """What runs are counted by."""

    connections: Counter[str] = field(default_factory=Counter)
    logins: Counter[tuple[str, str]] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)

    def run(self, key: Key, sample: Sample, following: Next) -> None:
        self.samples.append(sample)

    def suspended(self, key: Key) -> None:
        """Nothing is shown."""

    def login(self, purpose: str, result: str) -> None:
        self.logins[purpose, result] += 1

    def connection(self, purpose: str) -> None:
        self.connections[purpose] += 1

    def server(self, name: str, ready: bool | None) -> None:
        """Nothing is shown."""

    def forget(self, key: Key) -> None:
        """Nothing is shown."""

    def clear(self) -> None:
        """Nothing is shown."""


@dataclass
class Runs:
    """One operator's runs. `database` is what the storage `chat` lives in, unless a test says otherwise."""

    server: PostgresServer
    database: str
    instance: str = "instance-1"
    api: MemoryApi = field(default_factory=MemoryApi)
    counts: Counts = field(default_factory=Counts)
    policy: DialPolicy = OPEN
    login_test_interval: float = 21_600.0
    seconds: float = 0.0
    """What is added to both clocks."""
    started: list[Key] = field(default_factory=list)
    """Who is to be run again because an input changed, or work beside a run has ended."""
    outages: list[tuple[Name, bool]] = field(default_factory=list)
    base: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        record(self.api.store)
        self.lanes = Lanes(
            LoopClock(),
            self._probe,
            slots=8,
            outage=lambda name, over, cause, seconds: self.outages.append((name, over)),
        )
        self.inputs: References[Key, Ref] = References(self.started.append)
        self.namespaces = Namespaces(SERVERS)
        self.tokens = CloudTokens({})
        self.reconciler = self.make()

    def make(self) -> Reconciler:
        """Return runs that remember nothing: as after a new start of the operator."""
        rules = Rules(self.instance, login_test_interval=self.login_test_interval)
        self.around = Surroundings(
            kube=self.api,
            inputs=self.inputs,
            namespaces=self.namespaces,
            places=Places(self.inputs),
            policy=self.policy,
            tokens=self.tokens,
            keys=LoginKeys(),
            rules=rules,
            digest=Digest(),
            counters=self.counts,
            now=lambda: self.base + timedelta(seconds=self.seconds),
            monotonic=lambda: 1_000.0 + self.seconds,
            generate=generate_password,
            enqueue=self.started.append,
        )
        return Reconciler(self.around)

    async def _probe(self, name: Name) -> bool | float:
        if name == API:
            return True
        assert isinstance(name, tuple)
        return await answers(str(name[0]), int(name[1]), self.policy)

    # What people do.

    def admin_secret(self, name: str = "pg-admin", **changes: Any) -> None:
        self.api.secret(name, {"CIPHER_PG_URL": self.server.admin_url(sslmode="disable", **changes)})

    def storage(self, name: str = "chat", **spec: Any) -> dict[str, Any]:
        """Create a storage, with a database and a user name that no other test has."""
        user = {"name": f"app_{self.database}_{name}"} if spec.get("user", {}).get("mode") != "Shared" else {}
        spec["user"] = user | spec.get("user", {})
        return self.api.storage(name, {"database": {"name": self.database}, **spec})

    def spec(self, name: str = "chat", **changes: Any) -> None:
        self.api.change("cipherstorages", name, {"spec": changes})

    def ask(self, request: str = "reconcile", value: str = "1", name: str = "chat") -> None:
        self.api.annotate(name, f"{request}-requested-at", value)

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        return self.server.execute(statement, database=database)

    def app(self, name: str = "chat-cipher") -> "psycopg.Connection[tuple[Any, ...]]":
        """Log in as pods do."""
        return psycopg.connect(self.secret(name)["uri"], autocommit=True)

    def secret(self, name: str = "chat-cipher") -> dict[str, str]:
        found = self.api.data(name)
        assert found is not None, f"Secret {name} is missing"
        return found

    # Runs.

    async def run(self, name: str = "chat", reconciler: Reconciler | None = None) -> Next:
        """Run one storage once."""
        ticket = Ticket(self.lanes, NAMESPACE)
        try:
            return await (reconciler or self.reconciler).run((NAMESPACE, name), ticket)
        finally:
            ticket.close()

    async def ready(self, name: str = "chat", **spec: Any) -> None:
        """Have a storage Ready."""
        if self.api.read("secrets", "pg-admin") is None:
            self.admin_secret()
        self.storage(name, **spec)
        await self.until(lambda: self.condition(name)["status"] == "True", name)

    async def until(self, true: Callable[[], bool], name: str = "chat", most: int = 4) -> None:
        """Run a storage until it is true; AssertionError with what it says after so many runs."""
        for _ in range(most):
            await self.run(name)
            if true():
                return
        raise AssertionError(f"not after {most} runs; it says {self.condition(name)}")

    # What is seen.

    def condition(self, name: str = "chat", type_: str = "Ready") -> dict[str, Any]:
        found: dict[str, Any] = self.api.condition(name, type_)
        return found

    def says(self, name: str = "chat") -> tuple[str, str]:
        """Return status and reason of Ready."""
        ready = self.condition(name)
        return ready.get("status", ""), ready.get("reason", "")

    def message(self, name: str = "chat") -> str:
        return str(self.condition(name).get("message", ""))

    def writes(self) -> int:
        """Return how many requests changed something on the API server, Events not counted."""
        return self.api.count("POST", "PUT", "PATCH") - self.api.count("POST", path="/events")

    async def close(self) -> None:
        await self.reconciler.close()
        await self.lanes.close()
        await self.tokens.close()
