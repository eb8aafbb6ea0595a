"""When a login is tested: the table of reasons, with a clock."""

from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.connection.password import Password
from cipher_operator.core.secret import AppCredentials
from cipher_operator.postgres.provision import Converged
from cipher_operator.queue.inputs import Inputs
from cipher_operator.reconcile import proof as module
from cipher_operator.reconcile.environment import Environment
from cipher_operator.reconcile.inventory import Memory
from cipher_operator.reconcile.proof import LoginProof
from support.provision import desired

INTERVAL = 21_600.0
CREDENTIALS = AppCredentials("app_chat", Password("one"))
ADMIN = AdminConnection("db.example.com", 5432, "admin", Password("two"), "postgres", SSLMode.REQUIRE)


@dataclass
class Seconds:
    """The clock of the process."""

    now: float = 1_000.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class World:
    clock: Seconds
    proof: LoginProof = field(init=False)

    def __post_init__(self) -> None:
        environment = Environment(
            kube=cast(Any, None),
            inputs=Inputs(),
            servers=cast(Any, None),
            instance_id="x",
            login_test_interval=INTERVAL,
            now=cast(Any, None),
        )
        memory = Memory("uid")
        self.proof = LoginProof(environment, ("ns", "chat"), memory)
        memory.proven = self.proof._digest(ADMIN, CREDENTIALS, desired().database)
        memory.proven_at = self.clock.now

    def due(self, credentials: AppCredentials = CREDENTIALS, **facts: Any) -> bool:
        admin = facts.pop("admin", ADMIN)
        published, asked = facts.pop("published", True), facts.pop("asked", False)
        converged = Converged(desired(), cast(Any, None), ssl_in_use=False, **facts)
        return self.proof.due(admin, credentials, converged, published=published, asked=asked)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    clock = Seconds()
    monkeypatch.setattr(module, "time", clock)
    return World(clock)


CASES: dict[str, tuple[float, dict[str, Any], bool]] = {
    "proven a moment ago": (1.0, {}, False),
    "just before the interval is over": (INTERVAL - 1, {}, False),
    "the interval is over": (INTERVAL + 1, {}, True),
    "somebody asks": (1.0, {"asked": True}, True),
    "something on the server was mended": (1.0, {"changes": ["ALTER ROLE x LOGIN;"]}, True),
    "the Secret is still to be published": (1.0, {"published": False}, True),
    "another password": (1.0, {"credentials": AppCredentials("app_chat", Password("two"))}, True),
    "the other login": (1.0, {"credentials": AppCredentials("app_chat_b", Password("one"))}, True),
    "another server, which may be an older copy": (1.0, {"admin": replace(ADMIN, host="copy.example.com")}, True),
    "another server on the same host": (1.0, {"admin": replace(ADMIN, port=5433)}, True),
    "another admin password": (1.0, {"admin": replace(ADMIN, password=Password("three"))}, False),
    "this very run has proven it": (INTERVAL + 1, {"proven": True, "asked": True}, False),
}


@pytest.mark.parametrize("case", list(CASES))
def test_due(world: World, case: str) -> None:
    later, facts, expected = CASES[case]
    world.clock.now += later
    assert world.due(**facts) is expected


def test_after_a_new_start_every_login_is_tested_once(world: World) -> None:
    world.proof._memory.proven = None
    assert world.due()
