"""Which addresses are dialled: every spelling of a blocked one is found, and names are resolved once."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.postgres import dial, lookup
from cipher_operator.postgres.dial import DEFAULT_BLOCKED, DialPolicy, is_blocked, parse_blocked_ranges, resolve

DEFAULT = DialPolicy(parse_blocked_ranges(DEFAULT_BLOCKED), 2.0)
OPEN = DialPolicy((), 2.0)

BLOCKED_SPELLINGS = [
    "127.0.0.1", "127.1", "127.255.255.254", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "017700000001",
    "0", "0.0.0.0", "0.1.2.3", "169.254.169.254", "2852039166", "0xa9fea9fe", "::1", "::", "::ffff:127.0.0.1",
    "::ffff:7f00:1", "::ffff:169.254.169.254", "::ffff:0.0.0.0", "::127.0.0.1", "fe80::1", "febf::1",
    "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    "2001:0:7f00:1::", "localhost",
]  # fmt: skip


@pytest.mark.parametrize("host", BLOCKED_SPELLINGS)
async def test_every_spelling_is_blocked(host: str) -> None:
    with pytest.raises(Failure) as caught:
        await resolve(host, 5432, DEFAULT)
    assert caught.value.reason is Reason.BLOCKED_ADDRESS
    assert caught.value.stage is ConditionType.CONNECTED
    assert "`--blocked-ranges none`" in caught.value.message
    assert host not in caught.value.message or host == "0"


@pytest.mark.parametrize(
    "host",
    ["10.0.0.1", "192.168.1.1", "8.8.8.8", "172.16.5.4", "2001:db8::1", "fd00::1", "64:ff9b::808:808", "167772161"],
)
async def test_routable_addresses_pass(host: str) -> None:
    assert len(await resolve(host, 5432, DEFAULT)) == 1


async def test_numbers_are_written_out() -> None:
    assert await resolve("0x7f.1", 5432, OPEN) == ("127.0.0.1",)
    assert await resolve("2130706433", 5432, OPEN) == ("127.0.0.1",)


@pytest.mark.parametrize(
    "host", ["does-not-exist.invalid", "a" * 64 + ".example", "a..b", "256.256.256.256.invalid"],
    ids=["no such name", "label too long", "empty label", "not an address"],
)  # fmt: skip
async def test_unknown_names(host: str) -> None:
    with pytest.raises(Failure) as caught:
        await resolve(host, 5432, DialPolicy((), 5.0))
    assert caught.value.reason is Reason.DNS_FAILURE
    assert host not in caught.value.message


def answer(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let DNS give these addresses: real names with several do not exist on every machine."""
    real = socket.getaddrinfo

    def getaddrinfo(host: bytes, port: int, **options: int) -> list[object]:
        if host != b"several.example":
            return list(real(host, port, **options))
        if options.get("flags"):
            raise socket.gaierror(socket.EAI_NONAME, "not numeric")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


async def test_blocked_addresses_are_dropped_and_the_rest_kept_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "10.0.0.2", "127.0.0.1", "10.0.0.1", "10.0.0.2", "::ffff:127.0.0.1", "2001:db8::1")
    assert await resolve("several.example", 1, DEFAULT) == ("10.0.0.2", "10.0.0.1", "2001:db8::1")


async def test_the_number_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, *[f"10.0.0.{number}" for number in range(100)])
    assert len(await resolve("several.example", 1, DEFAULT)) == dial.MAX_ADDRESSES


@pytest.mark.parametrize(("addresses", "each"), [(1, 6.0), (4, 6.0), (6, 4.0), (12, 2.0)])
def test_many_addresses_asked_in_turn_take_no_longer_than_four(addresses: int, each: float) -> None:
    assert DialPolicy((), 6.0).among(addresses).connect_timeout == each


class Zones:
    """A resolver whose tarpit zones say nothing until the end of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.released = threading.Event()
        self.asked: list[str] = []
        monkeypatch.setattr(dial, "_addresses", self.look)

    def look(self, host: str, port: int, flags: int = 0) -> tuple[str, ...]:
        if flags:
            raise socket.gaierror(socket.EAI_NONAME, "not numeric")
        self.asked.append(host)
        if host.startswith("tarpit"):
            self.released.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return ("10.0.0.1",)


@pytest.fixture
def zones(monkeypatch: pytest.MonkeyPatch) -> Iterator[Zones]:
    made = Zones(monkeypatch)
    yield made
    made.released.set()


QUICK = DialPolicy((), 0.2)


async def reason(host: str, policy: DialPolicy = QUICK) -> Reason | None:
    try:
        await resolve(host, 1, policy)
    except Failure as failure:
        return failure.reason
    return None


async def test_a_resolver_that_hangs_costs_the_timeout_and_one_thread(zones: Zones) -> None:
    begin = asyncio.get_running_loop().time()
    reasons = await asyncio.gather(*(reason("tarpit.example") for _ in range(100)))
    assert set(reasons) == {Reason.DNS_FAILURE}
    assert asyncio.get_running_loop().time() - begin < 20, "one time limit, not a hundred"
    assert await reason("tarpit.example") is Reason.DNS_FAILURE
    assert zones.asked == ["tarpit.example"], "one look-up of a name at a time, whoever asks, and again"


async def test_a_dozen_silent_zones_take_nothing_from_a_healthy_name(zones: Zones) -> None:
    for _ in range(20):
        asked = [reason(f"tarpit-{number}.example") for number in range(12)]
        answers = await asyncio.gather(*asked, *(reason("healthy.example") for _ in range(4)))
        assert answers[12:] == [None] * 4


async def test_zones_without_end_are_a_failure_of_nobody_else(zones: Zones) -> None:
    policy = DialPolicy((), 0.05)
    for begin in range(0, 4 * lookup.MAX_THREADS, 16):
        await asyncio.gather(*(reason(f"tarpit-{begin + number}.example", policy) for number in range(16)))
    assert await reason("healthy.example", policy) is Reason.UNKNOWN, "not its own fault, so it does not count as down"
    zones.released.set()
    for _ in range(100):
        await asyncio.sleep(0.02)
        if await reason("healthy.example") is None:
            break
    else:
        raise AssertionError("the threads have come back")


async def test_names_that_were_silent_leave_room_for_new_ones(zones: Zones) -> None:
    policy = DialPolicy((), 0.05)
    hosts = [f"tarpit-{number}.example" for number in range(lookup.MAX_SILENT + 10)]
    await asyncio.gather(*(reason(host, policy) for host in hosts))
    for _ in range(3):
        await asyncio.gather(*(reason(host, policy) for host in hosts))
    assert await reason("healthy.example", policy) is None


def test_ranges() -> None:
    assert parse_blocked_ranges("none") == ()
    assert parse_blocked_ranges("loopback") == dial.RANGES["loopback"]
    both = parse_blocked_ranges(" loopback , 10.0.0.0/8,fd00::/8")
    assert is_blocked("10.1.2.3", both)
    assert is_blocked("::ffff:10.1.2.3", both)
    assert is_blocked("fd00::1", both)
    assert is_blocked("fe80::1%eth0", parse_blocked_ranges("link-local"))
    assert not is_blocked("169.254.1.1", both)


@pytest.mark.parametrize(
    "text", ["", "none,loopback", "loopback,", "localhost", "10.0.0.1/8", "10.0.0.0/33", "LOOPBACK"]
)
def test_bad_ranges_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="none"):
        parse_blocked_ranges(text)
