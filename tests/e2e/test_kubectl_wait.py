"""`kubectl wait --for=condition=Ready` passes when what was asked for is true on the server, and never before.

kubectl compares the condition's own observedGeneration with the object's generation, and takes the root one of the
status only where the condition has none (kubectl pkg/cmd/wait/condition.go); where neither stands, an old True passes.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from devcluster import PostgresServer
from devcluster.controlplane import KubectlError
from devcluster.faults import FaultProxy
from support.cluster import AT_ONCE, PROMPT, Namespace, Operator, wait_until

SLOW = 0.15
"""Seconds that each message to the server takes: a run then lasts several."""
STANDS = 4.0
"""Seconds in which a wait must not pass."""


@dataclass
class Stage:
    """A storage on a slow server, whose login's connection limit tells which spec is true there."""

    namespace: Namespace
    server: PostgresServer
    operator: Operator
    said: set[tuple[str, str, int]] = field(default_factory=set)
    """Status, reason and generation of Ready, as they were seen while somebody waited."""

    @property
    def user(self) -> str:
        return self.namespace.name.replace("-", "_")

    def create(self, limit: int) -> None:
        self.namespace.storage(
            "chat",
            {"database": {"name": self.user}, "user": {"name": self.user, "connectionLimit": limit}, "interval": "1h"},
        )

    def limit(self, limit: int) -> None:
        self.namespace.patch("chat", {"spec": {"user": {"connectionLimit": limit}}})

    def suspend(self, suspend: bool) -> None:
        self.namespace.patch("chat", {"spec": {"suspend": suspend}})

    def on_the_server(self) -> int | None:
        rows = self.server.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = %s", [self.user])
        return int(rows[0][0]) if rows else None

    def wait(self, timeout: float) -> int | None:
        """Wait as a person does; return the limit on the server at the moment when that passes, None where it does not.

        Raises KubectlError for anything but a timeout.
        """
        try:
            self.namespace.plane.kubectl(
                "-n", self.namespace.name, "wait", "--for=condition=Ready", "cstore/chat", f"--timeout={timeout:g}s"
            )
        except KubectlError as error:
            if "timed out waiting for the condition" not in error.stderr:
                raise
            return None
        return self.on_the_server()

    @contextmanager
    def somebody_waits(self) -> Iterator[Callable[[], int | None]]:
        """Wait beside the block, which is given a function that returns what the wait came to."""
        with ThreadPoolExecutor(1) as pool:
            waiting: Future[int | None] = pool.submit(self.wait, PROMPT)

            def passed() -> int | None:
                wait_until(lambda: self._look() or waiting.done(), "the wait ends", 2 * PROMPT, pause=AT_ONCE)
                return waiting.result()

            yield passed

    def _look(self) -> bool:
        ready = self.namespace.condition("chat")
        if ready:
            self.said.add((ready["status"], ready["reason"], ready["observedGeneration"]))
        return False

    def ready(self, limit: int) -> None:
        self.create(limit)
        assert self.wait(PROMPT) == limit


@pytest.fixture
def stage(
    namespace: Namespace, server: PostgresServer, operator: Operator, fault_proxy: Callable[..., FaultProxy]
) -> Iterator[Stage]:
    port = fault_proxy(server.port, latency=SLOW).port
    url = server.admin_url(sslmode="disable").replace(f":{server.port}/", f":{port}/")
    namespace.secret("pg-admin", {"CIPHER_PG_URL": url})
    yield Stage(namespace, server, operator)
    if operator.returncode is not None:
        operator.start()


def created(stage: Stage) -> int:
    stage.create(3)
    return 3


def changed(stage: Stage) -> int:
    stage.limit(5)
    return 5


def changed_twice(stage: Stage) -> int:
    """The second change comes while the run of the first is under way."""
    stage.limit(5)
    wait_until(
        lambda: stage.namespace.condition("chat")["reason"] == "Progressing", "the first is at work", pause=AT_ONCE
    )
    stage.limit(6)
    return 6


def resumed(stage: Stage) -> int:
    stage.suspend(True)
    stage.limit(7)
    stage.suspend(False)
    return 7


SLOWLY: dict[str, tuple[Callable[[Stage], int], bool]] = {
    "create": (created, False),
    "a change of the spec": (changed, True),
    "a change during a change": (changed_twice, True),
    "resume": (resumed, True),
}


@pytest.mark.parametrize("case", list(SLOWLY))
def test_while_the_operator_is_slow(stage: Stage, case: str) -> None:
    act, exists = SLOWLY[case]
    if exists:
        stage.ready(3)
    expected = act(stage)
    generation = (stage.namespace.get("cipherstorages", "chat") or {})["metadata"]["generation"]
    with stage.somebody_waits() as passed:
        assert passed() == expected
    assert ("False", "Progressing", generation) in stage.said, "a run that lasts says so"
    assert not {said for said in stage.said if said[0] == "True" and said[2] > generation}


@pytest.mark.parametrize("case", ["create", "a change of the spec", "resume"])
def test_while_the_operator_is_down_and_another_takes_over(stage: Stage, case: str) -> None:
    act, exists = SLOWLY[case]
    if exists:
        stage.ready(3)
    stage.operator.stop()
    expected = act(stage)
    assert stage.wait(STANDS) is None
    with stage.somebody_waits() as passed:
        stage.operator.start()
        assert passed() == expected


def test_a_suspended_storage_is_not_waited_for_with_success_and_the_column_says_why(stage: Stage) -> None:
    stage.ready(3)
    before = (stage.namespace.get("cipherstorages", "chat") or {})["status"]
    stage.suspend(True)
    stage.limit(8)
    assert stage.wait(STANDS) is None
    storage = stage.namespace.get("cipherstorages", "chat") or {}
    assert storage["status"] == before, "suspend leaves the status as it was"
    heads, row = stage.namespace.plane.kubectl("-n", stage.namespace.name, "get", "cstore").splitlines()
    assert dict(zip(heads.split(), row.split(), strict=True))["SUSPENDED"] == "true"
    stage.suspend(False)
    assert stage.wait(PROMPT) == 8
