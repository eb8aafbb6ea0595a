"""The flags of the operator process: name, default, help, and what a value must look like."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any, Final

from cipher_operator.api.durations import parse_duration
from cipher_operator.api.names import NAMESPACE_NAME
from cipher_operator.postgres.dial import DEFAULT_BLOCKED, parse_blocked_ranges

ENVIRONMENT_PREFIX = "CIPHER_OPERATOR_"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens. Host `::` is every address of both families; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Flag:
    """One setting. `parse` raises ValueError with a text that completes "--flag: …"."""

    name: str
    parse: Callable[[str], Any]
    default: str
    """As people write it; empty for none."""
    help: str
    metavar: str

    @property
    def attribute(self) -> str:
        """Return the name of its field in Settings."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """Return the name of its environment variable."""
        return ENVIRONMENT_PREFIX + self.attribute.upper()


def boolean(text: str) -> bool:
    """Return what `true` or `false` says, in any case. Raises ValueError."""
    if text.lower() not in {"true", "false"}:
        raise ValueError(f"{text!r} must be true or false")
    return text.lower() == "true"


@dataclass(frozen=True, slots=True)
class Duration:
    """From `low` to `high` seconds, and 0 where `zero` says so."""

    low: float
    high: float = 31_536_000.0
    zero: bool = False

    def __call__(self, text: str) -> float:
        """Return the seconds. Raises ValueError."""
        try:
            seconds = parse_duration(text)
        except ValueError as error:
            raise ValueError(f"{text!r} {error}") from None
        if not (self.low <= seconds <= self.high or (self.zero and seconds == 0)):
            also = "0s or " if self.zero else ""
            raise ValueError(f"{text!r} must be {also}from {_written(self.low)} to {_written(self.high)}")
        return seconds


def _written(seconds: float) -> str:
    return f"{seconds / 3600:g}h" if seconds >= 3600 else f"{seconds:g}s"


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number from `low` to `high`."""

    low: int
    high: int

    def __call__(self, text: str) -> int:
        """Return the number. Raises ValueError."""
        if not re.fullmatch(r"[0-9]{1,9}", text) or not self.low <= int(text) <= self.high:
            raise ValueError(f"{text!r} must be a whole number from {self.low} to {self.high}")
        return int(text)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    allowed: tuple[str, ...]

    def __call__(self, text: str) -> str:
        """Return the word. Raises ValueError."""
        if text not in self.allowed:
            raise ValueError(f"{text!r} must be one of: {', '.join(self.allowed)}")
        return text


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError(f"{text!r} must be host:port, such as :8081, [::]:8081 or 127.0.0.1:0")
    if host.startswith("[") and host.endswith("]"):
        try:
            host = str(IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError(f"{text!r} must have an IPv6 address in its brackets, such as [::1]:8081") from None
    elif ":" in host:
        raise ValueError(f"{text!r} must have an IPv6 address in brackets, such as [::1]:8081")
    return Address(host or "::", int(port))


def _instance(text: str) -> str:
    # It stands in a JSON marker on the server and in people's `adoptFrom`.
    if not re.fullmatch(r"[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?", text):
        raise ValueError(
            f"{json.dumps(text)} must be 1 to 63 letters, digits, '-', '_' or '.', and begin and end with "
            "a letter or digit"
        )
    return text


def _namespace(text: str) -> str:
    if not NAMESPACE_NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not the name of a namespace")
    return text


def _extensions(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name):
            raise ValueError(
                f"{name!r} is not the name of an extension; give names with commas, such as vector,pg_trgm"
            )
    return names


def _selector(text: str) -> str:
    if not re.fullmatch(r"[-A-Za-z0-9_./=!, ()]{1,1000}", text):
        raise ValueError(f"{text!r} is not a label selector; give one as in `kubectl get -l`, such as app=cipher")
    return text


FLAGS: Final = (
    Flag(
        "instance-id",
        _instance,
        "",
        "whose storages these are, in the markers on the servers; default in a cluster: uid of the namespace "
        "kube-system; `run --namespace` requires it",
        "ID",
    ),
    Flag(
        "leader-election-namespace",
        _namespace,
        "",
        "where the Lease is; default: the Pod's own namespace; required with --leader-election outside a cluster",
        "NS",
    ),
    Flag(
        "server-secrets-namespace",
        _namespace,
        "",
        "where the Secrets and CAs are that CipherServers name; default: the Pod's own namespace; outside a cluster "
        "`run` serves no CipherServers without it",
        "NS",
    ),
    Flag(
        "health-address",
        _address,
        "[::]:8081",
        "/healthz and /readyz; `[::]` and no host: both families, IPv4 where there is no IPv6; port 0: any free port",
        "HOST:PORT",
    ),
    Flag("metrics-address", _address, "[::]:8080", "/metrics; as --health-address", "HOST:PORT"),
    Flag("workers", Number(1, 1_000), "32", "storages worked on at once", "N"),
    Flag("workers-per-namespace", Number(1, 1_000), "8", "of these, at most so many of one namespace", "N"),
    Flag("connections-per-server", Number(1, 1_000), "8", "PostgreSQL connections at once, per host and port", "N"),
    Flag("connect-timeout", Duration(1, 60), "5s", "for one connection to PostgreSQL", "DURATION"),
    Flag("reconcile-timeout", Duration(5, 3_600), "60s", "for one run of one storage", "DURATION"),
    Flag(
        "interval",
        Duration(10, zero=True),
        "5m",
        "between full checks of a storage that does not say its own; 0s: only on change",
        "DURATION",
    ),
    Flag("login-test-interval", Duration(60), "6h", "between proofs that the published password works", "DURATION"),
    Flag("progress-deadline", Duration(10), "10m", "after which endless retry becomes Stalled", "DURATION"),
    Flag(
        "blocked-ranges",
        parse_blocked_ranges,
        DEFAULT_BLOCKED,
        "addresses that are never dialled: CIDRs and the names in the default, with commas; `none` opens all",
        "RANGES",
    ),
    Flag("allowed-extensions", _extensions, "vector", "what spec.extensions may name, with commas", "NAMES"),
    Flag(
        "secret-selector",
        _selector,
        "",
        "label selector that narrows the watch of Secrets; a change of any other Secret is noticed at the next check",
        "SELECTOR",
    ),
    Flag(
        "watch-secrets",
        Choice(("all", "servers")),
        "all",
        "all, or servers: only those in --server-secrets-namespace, where every storage names a CipherServer; a change "
        "of any other Secret is noticed at the next check",
        "WHICH",
    ),
    Flag("log-format", Choice(("json", "text")), "", "json or text; default: json in a cluster, else text", "FORMAT"),
    Flag("log-level", Choice(("debug", "info", "warning", "error")), "info", "debug, info, warning or error", "LEVEL"),
)
