"""Name servers that say nothing: what they hold, and that nobody else waits for it."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import FailureClass, Reason
from cipher_operator.postgres import lookup
from cipher_operator.postgres.dial import DialPolicy, NotAsked, resolve
from cipher_operator.postgres.probe import answers

POLICY = DialPolicy((), 0.5)


class Zones:
    """DNS: names that begin with `silent` get no answer until the end, `none` no address, all others 127.0.0.1."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.asked: Counter[str] = Counter()
        self.under_way: Counter[str] = Counter()
        self.most = 0
        self.seconds = 0.0
        self._lock = threading.Lock()

    def getaddrinfo(self, host: bytes, port: int, **options: int) -> list[object]:
        if options.get("flags"):
            raise socket.gaierror(socket.EAI_NONAME, "not numeric")
        name = host.decode()
        with self._lock:
            self.asked[name] += 1
            self.under_way[name] += 1
            self.most = max(self.most, self.under_way.total())
        try:
            if name.startswith("silent"):
                self.over.wait(20)
            else:
                self.over.wait(self.seconds)
        finally:
            with self._lock:
                self.under_way[name] -= 1
        if name.startswith(("silent", "none")):
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


@pytest.fixture
def zones(monkeypatch: pytest.MonkeyPatch) -> Iterator[Zones]:
    made = Zones()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    yield made
    made.over.set()


async def failure_of(host: str, policy: DialPolicy = POLICY) -> Failure:
    with pytest.raises(Failure) as caught:
        await resolve(host, 5432, policy)
    assert caught.value.stage is ConditionType.CONNECTED
    assert host not in caught.value.message
    return caught.value


async def test_silent_zones_hold_up_no_healthy_name(zones: Zones) -> None:
    """A dozen storages whose zone is silent, each looked for again as soon as it failed."""

    async def probe(number: int) -> None:
        while True:
            await answers(f"silent-{number}.example", 5432, POLICY)
            await asyncio.sleep(0.05)

    probes = [asyncio.create_task(probe(number)) for number in range(12)]
    try:
        await asyncio.sleep(1.2)
        for _ in range(80):
            assert await resolve("healthy.example", 5432, POLICY) == ("127.0.0.1",)
            await asyncio.sleep(0.01)
    finally:
        for task in probes:
            task.cancel()
    assert max(zones.under_way.values()) == 1, "a silent name holds one thread"


async def test_all_who_ask_for_a_name_share_one_look_up(zones: Zones) -> None:
    zones.seconds = 0.2
    answered = await asyncio.gather(*(resolve("shared.example", port, POLICY) for port in range(1, 100)))
    assert set(answered) == {("127.0.0.1",)}
    assert zones.asked["shared.example"] == 1
    await resolve("SHARED.example", 5432, POLICY)
    assert sum(zones.asked.values()) == 2, "an answer is not kept: every session asks anew"


async def test_who_gives_up_takes_nobody_else_with_him(zones: Zones) -> None:
    zones.seconds = 0.3
    others = [asyncio.create_task(resolve("shared.example", 5432, POLICY)) for _ in range(3)]
    others[0].cancel()
    with pytest.raises(Failure):
        await resolve("shared.example", 5432, DialPolicy((), 0.05))
    assert await asyncio.gather(*others[1:]) == [("127.0.0.1",)] * 2
    assert zones.asked["shared.example"] == 1


@pytest.mark.parametrize("known", [True, False], ids=["a name that answered before", "a new name, after the flood"])
async def test_any_number_of_silent_names(zones: Zones, known: bool) -> None:
    if known:
        await resolve("healthy.example", 5432, POLICY)
    flood = [asyncio.create_task(resolve(f"silent-{number}.example", 5432, POLICY)) for number in range(500)]
    await asyncio.sleep(0.1)
    if known:
        assert await resolve("healthy.example", 5432, POLICY) == ("127.0.0.1",)
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    assert all(isinstance(outcome, Failure) for outcome in outcomes)
    assert zones.most <= lookup.MAX_THREADS
    if not known:
        # What is silent by now is let end; from then on those names have their own few threads.
        zones.over.set()
        await asyncio.sleep(0.1)
        zones.over.clear()
        again = [asyncio.create_task(resolve(f"silent-{number}.example", 5432, POLICY)) for number in range(40)]
        await asyncio.sleep(0.1)
        assert zones.under_way.total() <= lookup.MAX_THREADS
        assert await resolve("new.example", 5432, POLICY) == ("127.0.0.1",)
        await asyncio.gather(*again, return_exceptions=True)


async def test_waiting_for_a_thread_is_no_failure_of_the_host(zones: Zones) -> None:
    flood = [asyncio.create_task(resolve(f"silent-{number}.example", 5432, POLICY)) for number in range(100)]
    await asyncio.sleep(0.1)
    failure = await failure_of("new.example")
    assert isinstance(failure, NotAsked)
    assert failure.reason is Reason.UNKNOWN, "nothing that says that the server is down"
    assert failure.failure_class is FailureClass.TRANSIENT
    assert "tried again" in failure.message
    assert zones.asked["new.example"] == 0
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    reasons = Counter(type(outcome) for outcome in outcomes)
    assert reasons == {Failure: lookup.MAX_UNPROVEN, NotAsked: 100 - lookup.MAX_UNPROVEN}


async def test_who_waits_gets_a_thread_when_one_is_free(zones: Zones) -> None:
    patient = DialPolicy((), 5.0)
    flood = [asyncio.create_task(resolve(f"silent-{number}.example", 5432, POLICY)) for number in range(60)]
    await asyncio.sleep(0.1)
    waiting = asyncio.create_task(resolve("new.example", 5432, patient))
    await asyncio.sleep(0.8)
    assert not waiting.done()
    zones.over.set()
    assert await waiting == ("127.0.0.1",)
    await asyncio.gather(*flood, return_exceptions=True)


async def test_no_address_is_said_at_once(zones: Zones) -> None:
    begin = time.monotonic()
    failure = await failure_of("none.example")
    assert (failure.reason, type(failure)) == (Reason.DNS_FAILURE, Failure)
    assert time.monotonic() - begin < 0.3


async def test_what_is_remembered_is_bounded(zones: Zones, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "MAX_REMEMBERED", 20)
    for number in range(50):
        await resolve(f"name-{number}.example", 5432, POLICY)
    table = lookup._by_loop[asyncio.get_running_loop()]
    assert len(table._standings) == 20
    assert not table._under_way


def test_an_answer_after_the_loop_has_ended_harms_nobody(
    zones: Zones, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Failure):
        asyncio.run(resolve("silent-late.example", 5432, DialPolicy((), 0.05)))
    assert zones.under_way.total() == 1
    zones.over.set()
    assert asyncio.run(resolve("healthy.example", 5432, POLICY)) == ("127.0.0.1",)
    assert "Traceback" not in caplog.text + capfd.readouterr().err


async def test_a_machine_without_threads(zones: Zones, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        assert isinstance(await failure_of("healthy.example", DialPolicy((), 0.1)), NotAsked)
    assert await resolve("healthy.example", 5432, POLICY) == ("127.0.0.1",)
