"""A table of failures: a row breaks something for real, says how it must read in the status, and mends it.

A row is a generator: what comes before its `yield` breaks, what comes after mends, and what comes after a second one
clears away. The operator goes on all the while. All rows of a table are played at once (support/played_rows.py).
"""

import json
import re
import secrets
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from cipher_operator.api.failures import ConditionType
from cipher_operator.api.reasons import FailureClass, Reason
from devcluster import FaultProxy, PostgresServer
from support.cluster import PATIENCE, PROMPT, Namespace, Operator, wait_until
from support.faulty_servers import FaultyServers, Kind, remedy_sql

Record = Callable[[str, object], None]
Steps = Callable[["Scene"], Generator[None]]


@dataclass(frozen=True)
class Row:
    """`words` all stand in the message; `gone` says that the mended storage is one that was being deleted."""

    case: str
    reason: Reason
    words: tuple[str, ...]
    stage: ConditionType
    sqlstate: str | None
    gone: bool
    steps: Steps


class Table:
    """The rows of one file, by case. Used as a decorator."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def __call__(
        self,
        case: str,
        reason: Reason,
        *words: str,
        stage: ConditionType = ConditionType.CONNECTED,
        sqlstate: str | None = None,
        gone: bool = False,
    ) -> Callable[[Steps], Steps]:
        def add(steps: Steps) -> Steps:
            assert case not in self.rows
            self.rows[case] = Row(case, reason, words, stage, sqlstate, gone, steps)
            return steps

        return add


@dataclass
class Scene:
    """One storage in a namespace of its own, with an administrator of its own on a server, and what is done to them."""

    namespace: Namespace
    operator: Operator
    servers: FaultyServers
    name: str = "chat"
    hidden: set[str] = field(default_factory=set)
    """What must never be said: hosts, ports, passwords."""
    closing: ExitStack = field(default_factory=ExitStack)
    """What is open for this scene."""
    _server: PostgresServer | None = None
    _asked: int = 0

    def __post_init__(self) -> None:
        self.database = self.namespace.name.replace("-", "_")
        self.admin = f"admin_{self.database}"
        self.password = secrets.token_hex(12)

    @property
    def server(self) -> PostgresServer:
        return self._server or self.on(self.servers("shared"))

    def on(self, server: PostgresServer, attributes: str = "CREATEROLE CREATEDB") -> PostgresServer:
        """Make the administrator on this server, which is the storage's from now on."""
        self._server = server
        self.sql(f"CREATE ROLE {self.admin} LOGIN {attributes} PASSWORD '{self.password}'")
        return server

    def alone(self, kind: Kind = "shared") -> PostgresServer:
        """Have the storage on a server of its own, where what is done meets nobody else."""
        return self.on(self.another(kind))

    def another(self, kind: Kind = "shared") -> PostgresServer:
        """Return a server that nobody has been on, for this scene only."""
        return self.closing.enter_context(self.servers.new(kind))

    def proxy(self) -> FaultProxy:
        """Return a proxy before the server."""
        return self.closing.enter_context(FaultProxy(self.server.port))

    def close(self) -> None:
        """Let go of the storages, so that the operator is done with them, and close what is open."""
        try:
            self.namespace.let_go()
        finally:
            self.closing.close()

    def situation(self) -> str:
        """Return whether the server runs, and what the operator said last of this scene."""
        state = "runs" if self._server is not None and self._server.running else "does not run"
        return f"its server {state}; the operator said last:\n{self.operator.said_of(self.namespace.name)}"

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement as the server's superuser."""
        assert self._server is not None
        return self._server.execute(statement, database=database)

    def secret(
        self,
        *,
        user: str | None = None,
        password: str | None = None,
        host: str | None = None,
        port: int | None = None,
        database: str = "postgres",
        **query: str,
    ) -> None:
        """Write the connection Secret: the administrator's, without TLS, unless told otherwise."""
        word = password or self.password
        where, door = host or self.server.host, port or self.server.port
        self.hidden |= {word, where, str(door)}
        parameters = urlencode({"sslmode": "disable"} | query)
        login = f"{quote(user or self.admin, safe='')}:{quote(word, safe='')}"
        url = f"postgresql://{login}@{where}:{door}/{database}?{parameters}"
        self.namespace.secret("pg-admin", {"CIPHER_PG_URL": url})

    def create(self, spec: dict[str, Any] | None = None) -> None:
        self.namespace.storage(self.name, {"database": {"name": self.database}, **(spec or {})})

    def ready(self, spec: dict[str, Any] | None = None, **secret: Any) -> None:
        """Have the storage Ready."""
        self.secret(**secret)
        self.create(spec)
        self.namespace.wait_ready(self.name, PATIENCE)

    def patch(self, **spec: Any) -> None:
        self.namespace.patch(self.name, {"spec": spec})

    def ask(self) -> None:
        """Ask for a look now: nothing in the cluster changes when something on the server does."""
        self._asked += 1
        self.namespace.annotate(self.name, "reconcile-requested-at", str(self._asked))

    def remedy(self, database: str = "postgres") -> str:
        """Run the SQL in the message, as a superuser, and return it."""
        statement = remedy_sql(self.namespace.condition(self.name)["message"])
        self.sql(statement, database)
        return statement

    def remedies(self, database: str = "postgres", most: int = 4) -> list[str]:
        """Do as the messages say, one after the other, until there is no more to do; return the SQL."""
        taken: list[str] = []
        while len(taken) < most:
            taken.append(self.remedy(database))
            self.ask()
            wait_until(
                lambda: taken[-1] not in self.namespace.condition(self.name).get("message", ""),
                lambda: f"running it helps: {taken[-1]}",
                PATIENCE,
            )
            if self.namespace.condition(self.name)["reason"] != Reason.INSUFFICIENT_PRIVILEGE:
                break
        return taken

    def write_ca(self, text: str, kind: str = "ConfigMap", key: str = "ca.crt") -> None:
        plural, field = {"ConfigMap": ("configmaps", "data"), "Secret": ("secrets", "stringData")}[kind]
        self.namespace.apply(plural, "pg-ca", {field: {key: text}})


def produce(row: Row, scene: Scene, record: Record) -> None:
    """Break, look at the status, mend, wait for Ready; record the case, its reason, and the seconds of both.

    The seconds to Ready include what the mend itself takes: a server to start, several statements.
    """
    begin, pid = len(scene.operator.log()), scene.operator.pid
    steps = row.steps(scene)
    try:
        _produce(row, steps, scene, begin, record)
    finally:
        steps.close()
    assert (scene.operator.pid, scene.operator.returncode) == (pid, None)


def _produce(row: Row, steps: Generator[None], scene: Scene, begin: int, record: Record) -> None:
    next(steps)
    broken = time.monotonic()
    storage = _with_reason(scene, row.reason)
    to_status = time.monotonic() - broken
    _check(row, storage, scene, begin)
    mending = time.monotonic()
    next(steps, None)
    # What waits for somebody must go on because of the mend, not because its minute is over.
    limit = PROMPT if row.reason.failure_class is FailureClass.WAITING else PATIENCE
    if row.gone:
        gone = lambda: scene.namespace.get("cipherstorages", scene.name) is None  # noqa: E731
        wait_until(gone, lambda: f"it is gone; it says {scene.namespace.condition(scene.name)}", limit)
    else:
        scene.namespace.wait_ready(scene.name, limit)
    to_ready = time.monotonic() - mending
    record("failure", [row.case, str(row.reason), round(to_status, 1), round(to_ready, 1)])
    next(steps, None)


def _with_reason(scene: Scene, reason: Reason) -> dict[str, Any]:
    """Return the storage as it is when it first says the reason."""
    seen: dict[str, Any] = {}

    def says() -> bool:
        seen.update(scene.namespace.get("cipherstorages", scene.name) or {})
        return bool(_conditions(seen).get("Ready", {}).get("reason") == reason)

    wait_until(says, lambda: f"it says {reason}; it says {_conditions(seen).get('Ready')}", PATIENCE)
    return seen


def _conditions(storage: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {condition["type"]: condition for condition in storage.get("status", {}).get("conditions", [])}


def _check(row: Row, storage: dict[str, Any], scene: Scene, begin: int) -> None:
    conditions = _conditions(storage)
    ready = conditions["Ready"]
    message = ready["message"]
    assert ready["status"] == "False"
    stalled = row.reason.failure_class is FailureClass.STALLED
    standing, absent = ("Stalled", "Reconciling") if stalled else ("Reconciling", "Stalled")
    assert (conditions[standing]["status"], conditions[standing]["reason"]) == ("True", row.reason)
    assert absent not in conditions
    stage = conditions[row.stage]
    assert (stage["status"], stage["reason"]) == ("False", row.reason), conditions
    for word in row.words:
        assert word in message, message
    assert ".." not in message
    said = set(re.findall(r"\(SQLSTATE (\w+)\)", message))
    assert said <= {row.sqlstate}
    notes = [item.get("note", "") for item in _events(scene) if item["reason"] == row.reason]
    assert notes, f"no event says {row.reason}"
    log = scene.operator.log()[begin:]
    if row.sqlstate is not None:
        own = [line for line in log.splitlines() if f"{scene.namespace.name}/" in line]
        assert any(f'"sqlstate": "{row.sqlstate}"' in line for line in own)
    for hidden in scene.hidden:
        pattern = re.compile(rf"(?<![\w.]){re.escape(hidden)}(?!\w)")
        for text in (json.dumps(storage["status"]), *notes, log):
            found = pattern.search(text)
            assert found is None, f"{hidden} stands in {text[max(0, found.start() - 200) : found.end() + 50]}"


def _events(scene: Scene) -> list[dict[str, Any]]:
    """Return the storage's events; the one of a status comes a moment after it."""
    path = f"/apis/events.k8s.io/v1/namespaces/{scene.namespace.name}/events"
    found: list[dict[str, Any]] = []

    def posted() -> bool:
        items = scene.namespace.request("GET", path)["items"]
        found[:] = [item for item in items if item["regarding"]["name"] == scene.name]
        reason = scene.namespace.condition(scene.name)["reason"]
        return any(item["reason"] == reason for item in found)

    wait_until(posted, "the event is posted")
    return found
