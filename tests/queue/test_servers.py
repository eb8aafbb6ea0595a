"""Slots, verdicts and probes. Logins are stand-ins here; the probed server is a real TCP listener."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.connection.password import Password
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.session import Session
from cipher_operator.queue import servers as module
from cipher_operator.queue.servers import Servers
from cipher_operator.reconcile.inventory import Key

A: Key = ("ns", "a")
B: Key = ("ns", "b")
ADMIN = AdminConnection("db.test", 5432, "admin", Password("right"), "app", SSLMode.DISABLE)
WRONG = replace(ADMIN, password=Password("wrong"))
POLICY = DialPolicy((), 1.0)


class OpenSession:
    connections_made = 1

    async def __aenter__(self) -> "OpenSession":
        return self

    async def __aexit__(self, *ended: object) -> None:
        return None


@dataclass
class Logins:
    """Stands for Session.open: counts tries, and fails as it is told."""

    failure: Callable[[AdminConnection], Failure | None] = lambda admin: None
    seconds: float = 0.0
    tries: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def open(
        self, admin: AdminConnection, database: str, policy: DialPolicy, *, app_login: bool = False
    ) -> OpenSession:
        self.tries.append(admin.password.reveal())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        if (failure := self.failure(admin)) is not None:
            raise failure
        return OpenSession()


def refuse_wrong(admin: AdminConnection) -> Failure | None:
    return Failure(Reason.AUTHENTICATION_FAILED, "refused") if admin.password.reveal() == "wrong" else None


@dataclass
class World:
    servers: Servers
    logins: Logins
    triggered: list[Key]
    connections: list[str]
    now: list[float]

    async def use(self, key: Key, admin: AdminConnection = ADMIN, seconds: float = 0.0) -> Reason | None:
        """Open a session, hold it, close it; return why not."""
        try:
            async with self.servers.session(key, admin, "app", purpose="admin"):
                await asyncio.sleep(seconds)
        except Failure as failure:
            return failure.reason
        return None


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    logins, now = Logins(), [1000.0]
    triggered: list[Key] = []
    connections: list[str] = []
    monkeypatch.setattr(Session, "open", logins.open)
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.05)
    servers = Servers(
        POLICY,
        3,
        lambda key, seconds: triggered.append(key),
        count=connections.append,
        clock=lambda: now[0],
    )
    yield World(servers, logins, triggered, connections, now)
    await servers.close()


async def test_no_more_sessions_at_once_than_slots(world: World) -> None:
    held: list[int] = []

    async def hold(number: int) -> None:
        async with world.servers.session(("ns", str(number)), ADMIN, "app", purpose="admin"):
            held.append(number)
            assert len(held) <= 3
            await asyncio.sleep(0.01)
            held.remove(number)

    await asyncio.gather(*(hold(number) for number in range(10)))
    assert world.connections == ["admin"] * 10


async def test_slots_are_per_host_and_port(world: World) -> None:
    world.logins.seconds = 0.02
    ports = [replace(ADMIN, port=port) for port in (5432, 5433)]
    for admin in ports:
        await world.use(A, admin)
    await asyncio.gather(*(world.use(A, admin, 0.02) for admin in ports for _ in range(3)))
    assert world.logins.most_at_once == 6


async def test_an_unproven_login_is_tried_once_however_many_want_it(world: World) -> None:
    world.logins.failure, world.logins.seconds = refuse_wrong, 0.01
    reasons = await asyncio.gather(*(world.use(("ns", str(n)), WRONG) for n in range(20)))
    assert set(reasons) == {Reason.AUTHENTICATION_FAILED}
    assert world.logins.tries == ["wrong"]


async def test_a_verdict_is_about_one_password_on_one_server(world: World) -> None:
    world.logins.failure = refuse_wrong
    await world.use(A, WRONG)
    assert await world.use(A, ADMIN) is None
    assert await world.use(A, replace(WRONG, host="other.test")) is Reason.AUTHENTICATION_FAILED
    assert await world.use(A, replace(WRONG, user="other")) is Reason.AUTHENTICATION_FAILED
    assert world.logins.tries == ["wrong", "right", "wrong", "wrong"]


async def test_one_try_a_minute_for_all(world: World) -> None:
    world.logins.failure = refuse_wrong
    for _ in range(3):
        await asyncio.gather(*(world.use(("ns", str(n)), WRONG) for n in range(5)))
        world.now[0] += 61
    assert world.logins.tries == ["wrong"] * 3


async def test_when_the_minute_is_over_those_who_wait_are_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERDICT_SECONDS", 0.0)
    world.logins.failure = refuse_wrong
    await world.use(A, WRONG)
    await until(lambda: world.triggered == [A])


async def test_the_first_success_releases_the_others(world: World) -> None:
    world.logins.failure = refuse_wrong
    await world.use(A, WRONG)
    await world.use(B, WRONG)
    world.now[0] += 61
    world.logins.failure = lambda admin: None
    assert await world.use(A, WRONG) is None
    assert world.triggered == [B]


async def test_a_forgotten_verdict_lets_the_next_try_through(world: World) -> None:
    world.logins.failure = refuse_wrong
    await world.use(A, WRONG)
    world.logins.failure = lambda admin: None
    world.servers.forget_verdict(WRONG)
    assert await world.use(A, WRONG) is None


async def test_a_missing_database_proves_the_login(world: World) -> None:
    world.logins.failure = lambda admin: Failure(Reason.DATABASE_MISSING, "missing")
    world.logins.seconds = 0.02
    await world.use(A)
    await asyncio.gather(world.use(A), world.use(B))
    assert world.logins.most_at_once == 2


async def test_those_who_waited_for_a_try_share_its_network_failure(world: World) -> None:
    async with listener() as port:
        admin = replace(ADMIN, host="127.0.0.1", port=port)
        world.logins.failure = lambda admin: Failure(Reason.CONNECT_TIMEOUT, "silence")
        world.logins.seconds = 0.02

        async def later(key: Key) -> Reason | None:
            return await world.use(key, admin)

        first = asyncio.create_task(later(A))
        others = [asyncio.create_task(later(("ns", str(number)))) for number in range(2)]
        await asyncio.sleep(0.01)
        world.now[0] += 1
        assert {await first, *[await other for other in others]} == {Reason.CONNECT_TIMEOUT}
        assert len(world.logins.tries) == 1


async def test_a_caller_may_change_the_failure_that_it_catches(world: World) -> None:
    world.logins.failure = refuse_wrong
    await world.use(A, WRONG)
    for _ in range(2):
        with pytest.raises(Failure) as raised:
            async with world.servers.session(A, WRONG, "app", purpose="admin"):
                pass
        assert raised.value.message == "refused"
        raised.value.message = "changed"


async def test_a_server_that_is_down_is_not_tried_and_releases_all_when_it_answers(world: World) -> None:
    async with listener() as port:
        pass
    admin = replace(ADMIN, host="127.0.0.1", port=port)
    world.logins.failure = lambda admin: Failure(Reason.CONNECTION_REFUSED, "refused")
    assert await world.use(A, admin) is Reason.CONNECTION_REFUSED
    await asyncio.sleep(0.1)
    assert await world.use(B, admin) is Reason.CONNECTION_REFUSED
    assert (len(world.logins.tries), world.triggered) == (1, [])
    async with listener(port):
        await until(lambda: sorted(world.triggered) == [A, B])
        world.logins.failure = lambda admin: None
        assert await world.use(A, admin) is None


async def test_a_server_that_stays_down_is_said_by_all_its_storages_once(world: World) -> None:
    async with listener() as port:
        pass
    admin = replace(ADMIN, host="127.0.0.1", port=port)
    gone, elsewhere = ("ns", "gone"), ("ns", "elsewhere")
    for key in (A, B, gone, elsewhere):
        assert await world.use(key, admin) is None
    world.servers.forget(gone)
    assert await world.use(elsewhere, ADMIN) is None
    world.logins.failure = lambda admin: Failure(Reason.CONNECTION_REFUSED, "refused") if admin.port == port else None
    assert await world.use(A, admin) is Reason.CONNECTION_REFUSED
    await asyncio.sleep(0.2)
    assert world.triggered == [], "a restart is no news"
    world.now[0] += module.TELL_SECONDS + 1
    await until(lambda: world.triggered == [B])
    await asyncio.sleep(0.2)
    assert world.triggered == [B]


async def test_a_server_that_takes_connections_is_not_down_so_that_back_off_counts(world: World) -> None:
    async with listener() as port:
        admin = replace(ADMIN, host="127.0.0.1", port=port)
        world.logins.failure = lambda admin: Failure(Reason.CONNECT_TIMEOUT, "silence")
        await world.use(A, admin)
        await asyncio.sleep(0.1)
        await world.use(A, admin)
        assert (len(world.logins.tries), world.triggered) == (2, [])


async def test_one_probe_for_all_who_wait(world: World) -> None:
    async with listener() as port:
        pass
    admin = replace(ADMIN, host="127.0.0.1", port=port)
    world.logins.failure = lambda admin: Failure(Reason.CONNECTION_REFUSED, "refused")
    await asyncio.gather(*(world.use(("ns", str(n)), admin) for n in range(5)))
    assert len([task for task in asyncio.all_tasks() if task.get_name() == "probe"]) == 1


async def test_nobody_is_released_who_was_forgotten_or_went_to_another_server(world: World) -> None:
    async with listener() as port:
        pass
    admin = replace(ADMIN, host="127.0.0.1", port=port)
    world.logins.failure = lambda admin: Failure(Reason.CONNECTION_REFUSED, "") if admin.port == port else None
    await world.use(A, admin)
    await world.use(B, admin)
    world.servers.forget(A)
    await world.use(B, ADMIN)
    # With nobody left to wait, the probe ends.
    await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name() == "probe"])
    assert world.triggered == []


async def test_what_is_unused_is_dropped(world: World) -> None:
    await world.use(A)
    world.now[0] += module.IDLE_SECONDS + 1
    world.servers.forget(A)
    assert not world.servers._servers


@contextlib.asynccontextmanager
async def listener(port: int = 0) -> AsyncIterator[int]:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", port)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def until(true: Callable[[], bool], seconds: float = 3.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)
