"""Which addresses the operator dials: a host is resolved once, checked, and all its allowed addresses are pinned."""

import asyncio
import functools
import ipaddress
import socket
import threading
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason

Network = IPv4Network | IPv6Network
Address = str
"""A numeric IPv4 or IPv6 address, as getaddrinfo writes it."""

RANGES: dict[str, tuple[Network, ...]] = {
    # All of 0.0.0.0/8: Linux takes 0.0.0.0 for loopback.
    "unspecified": (IPv4Network("0.0.0.0/8"), IPv6Network("::/128")),
    "loopback": (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")),
    "link-local": (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10")),
}
DEFAULT_BLOCKED = "unspecified,loopback,link-local"

MAX_ADDRESSES = 4
"""Addresses tried for one host, in the order of RFC 6724: more would let a DNS answer hold a worker."""
MAX_LOOKUPS = 32
"""DNS lookups under way at once; each holds a thread until the system's resolver gives up."""

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_IPV4_COMPATIBLE = IPv6Network("::/96")


@dataclass(frozen=True, slots=True)
class DialPolicy:
    """`blocked` are networks that are never dialled; `connect_timeout` is in seconds, per address."""

    blocked: tuple[Network, ...]
    connect_timeout: float = 5.0


def parse_blocked_ranges(text: str) -> tuple[Network, ...]:
    """Return the networks that a `--blocked-ranges` value names: `none`, or names and CIDRs with commas.

    Raises ValueError that names the item.
    """
    items = [item.strip() for item in text.split(",")]
    if items == ["none"]:
        return ()
    networks: list[Network] = []
    for item in items:
        if item in RANGES:
            networks.extend(RANGES[item])
            continue
        if item in {"", "none"}:
            raise ValueError(f"{item or 'an empty item'!r} cannot stand in a list: use `none` alone, names or CIDRs")
        try:
            networks.append(ipaddress.ip_network(item))
        except ValueError:
            allowed = ", ".join(RANGES)
            raise ValueError(f"{item!r} is neither a CIDR such as 10.0.0.0/8 nor one of: none, {allowed}") from None
    return tuple(dict.fromkeys(networks))


def is_blocked(address: Address, blocked: tuple[Network, ...]) -> bool:
    """Return whether an address, or an IPv4 address that an IPv6 one carries inside, is in a blocked network."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    candidates: list[IPv4Address | IPv6Address] = [parsed]
    if isinstance(parsed, IPv6Address):
        candidates.extend(_carried(parsed))
    return any(one.version == network.version and one in network for one in candidates for network in blocked)


async def resolve(host: str, port: int, policy: DialPolicy) -> tuple[Address, ...]:
    """Return the host's allowed addresses, at most MAX_ADDRESSES, in the resolver's order.

    Raises Failure: DNS_FAILURE where the name has no address or the resolver does not answer in time,
    BLOCKED_ADDRESS where the policy allows none of them.
    """
    try:
        found = _numeric(host, port)
        if found is None:
            async with asyncio.timeout(policy.connect_timeout):
                found = await _look_up(host, port)
    except (TimeoutError, OSError, UnicodeError):
        found = ()
    if not found:
        raise Failure(
            Reason.DNS_FAILURE,
            f"The host name in the connection Secret could not be resolved. {Reason.DNS_FAILURE.advice}",
            stage=ConditionType.CONNECTED,
        )
    allowed = tuple(address for address in found if not is_blocked(address, policy.blocked))
    if not allowed:
        raise Failure(
            Reason.BLOCKED_ADDRESS,
            "The host in the connection Secret resolves only to addresses that this operator does not dial (loopback, "
            "link-local or another blocked range). Use an address that is routable from the cluster; for a server on "
            "this very machine, start the operator with `--blocked-ranges none`.",
            stage=ConditionType.CONNECTED,
        )
    return allowed[:MAX_ADDRESSES]


def _carried(address: IPv6Address) -> list[IPv4Address]:
    """Return the IPv4 addresses inside an IPv6 one: mapped, compatible, NAT64, 6to4, Teredo."""
    carried = [address.ipv4_mapped, address.sixtofour]
    carried.extend(address.teredo or ())
    if any(address in network for network in _NAT64) or (address in _IPV4_COMPATIBLE and int(address) > 1):
        carried.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return [one for one in carried if one is not None]


def _numeric(host: str, port: int) -> tuple[Address, ...] | None:
    """Return the address behind any numeric spelling (`127.1`, `0x7f.1`, `2130706433`); None for a name."""
    try:
        return _addresses(host, port, socket.AI_NUMERICHOST)
    except socket.gaierror:
        return None


def _addresses(host: str, port: int, flags: int = 0) -> tuple[Address, ...]:
    # Bytes keep Python's own IDNA codec out of the way; the parser lets only ASCII through.
    answers = socket.getaddrinfo(
        host.encode("ascii"), port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=flags
    )
    return tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))


async def _look_up(host: str, port: int) -> tuple[Address, ...]:
    """Resolve in a daemon thread: one that hangs delays neither other lookups nor the end of the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[tuple[Address, ...]] = loop.create_future()

    def settle(answer: tuple[Address, ...] | Exception) -> None:
        if future.done():
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def run() -> None:
        answer: tuple[Address, ...] | Exception
        try:
            answer = _addresses(host, port)
        except (OSError, UnicodeError) as error:
            answer = error
        finally:
            _lookups.release()
        try:
            loop.call_soon_threadsafe(functools.partial(settle, answer))
        except RuntimeError:
            return  # The loop has ended meanwhile.

    if not _lookups.acquire(blocking=False):
        raise TimeoutError
    threading.Thread(target=run, name="dns", daemon=True).start()
    return await future


_lookups = threading.BoundedSemaphore(MAX_LOOKUPS)
