"""Which addresses the operator dials: a host is resolved once, checked, and all its allowed addresses are pinned."""

import ipaddress
import socket
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.postgres.lookup import Address, LookupsBusy, addresses, look_up

Network = IPv4Network | IPv6Network

RANGES: dict[str, tuple[Network, ...]] = {
    # All of 0.0.0.0/8: Linux takes 0.0.0.0 for loopback.
    "unspecified": (IPv4Network("0.0.0.0/8"), IPv6Network("::/128")),
    "loopback": (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")),
    "link-local": (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10")),
}
DEFAULT_BLOCKED = "unspecified,loopback,link-local"

MAX_ADDRESSES = 12
"""Addresses tried for one host, in the order of RFC 6724: five members with IPv4 and IPv6, and some. More than the time
of a session gives a quarter of the connect timeout each would let a DNS answer hold a worker."""
_IN_FULL = 4
"""Addresses that are asked one after the other with the whole timeout each."""

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_IPV4_COMPATIBLE = IPv6Network("::/96")


@dataclass(frozen=True, slots=True)
class DialPolicy:
    """`blocked` are networks that are never dialled; `connect_timeout` is in seconds, per address."""

    blocked: tuple[Network, ...]
    connect_timeout: float = 5.0

    def among(self, addresses: int) -> "DialPolicy":
        """Return the policy for each of so many addresses asked in turn: all together take no longer than four do."""
        return replace(self, connect_timeout=self.connect_timeout * min(1.0, _IN_FULL / addresses))


class NotAsked(Failure):
    """No look-up of the host could be made: that says nothing of the server behind it, neither good nor bad."""

    def __init__(self) -> None:
        super().__init__(
            Reason.UNKNOWN,
            "The operator's look-ups of host names are all taken by names whose DNS servers do not answer. Wait: it is "
            "tried again.",
            stage=ConditionType.CONNECTED,
        )


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
    BLOCKED_ADDRESS where the policy allows none of them, NotAsked where no look-up could be made.
    """
    try:
        found = _numeric(host, port)
        if found is None:
            found = await look_up(host, policy.connect_timeout, _addresses)
    except LookupsBusy:
        raise NotAsked from None
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
    return addresses(host, port, flags)
