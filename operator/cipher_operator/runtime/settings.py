"""Every setting of the operator process: one table of flags, each with an environment variable of the same name."""

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Any, Final, NoReturn

from cipher_operator.api.durations import parse_duration
from cipher_operator.postgres.dial import DEFAULT_BLOCKED, DialPolicy, Network, parse_blocked_ranges

ENVIRONMENT_PREFIX = "CIPHER_OPERATOR_"
OFFLINE = frozenset({"instance-id", "connect-timeout", "blocked-ranges"})


class SettingsError(Exception):
    """A setting that cannot be used; the message names the flag or variable and says what is allowed."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's settings; durations in seconds. `namespaces` empty: all of them."""

    namespaces: tuple[str, ...] = ()
    instance_id: str | None = None
    leader_election: bool = False
    health_address: Address = Address("0.0.0.0", 8081)  # noqa: S104 - probes come from outside the Pod
    metrics_address: Address = Address("0.0.0.0", 8080)  # noqa: S104
    workers: int = 32
    connections_per_server: int = 8
    connect_timeout: float = 5.0
    reconcile_timeout: float = 60.0
    interval: float = 300.0
    login_test_interval: float = 21_600.0
    progress_deadline: float = 600.0
    blocked_ranges: tuple[Network, ...] = field(default_factory=lambda: parse_blocked_ranges(DEFAULT_BLOCKED))
    allowed_extensions: tuple[str, ...] = ("vector",)
    secret_selector: str | None = None
    log_format: str = "text"
    log_level: str = "info"

    @property
    def dial_policy(self) -> DialPolicy:
        """Return which addresses are dialled, and for how long."""
        return DialPolicy(self.blocked_ranges, self.connect_timeout)


@dataclass(frozen=True, slots=True)
class _Flag:
    """One setting. `parse` raises ValueError with a text that completes "--flag: …"."""

    name: str
    parse: Callable[[str], Any]
    default: str
    """As people write it; empty for none."""
    help: str
    metavar: str

    @property
    def attribute(self) -> str:
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.attribute.upper()


def parse_settings(argv: Sequence[str], environ: Mapping[str, str], *, terminal: bool = False) -> Settings:
    """Return the settings that flags (first) and environment variables (where there is no flag) ask for.

    `terminal` says whether somebody reads the log on one. Raises SettingsError.
    """
    parser = _Parser(prog="cipher-operator run", add_help=False)
    add_arguments(parser)
    return settings_from(parser.parse_args(argv), environ, terminal=terminal)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add every flag of `run` to a parser of the command line."""
    parser.add_argument(
        "--namespace",
        action="append",
        metavar="NS",
        help=f"namespace to serve; repeatable; default: all ({ENVIRONMENT_PREFIX}NAMESPACE, with commas)",
    )
    parser.add_argument(
        "--leader-election",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="one active replica by means of a Lease; it comes with a later version, and until then the flag is "
        f"refused and one replica must run ({ENVIRONMENT_PREFIX}LEADER_ELECTION)",
    )
    _add(parser, FLAGS)


def add_offline_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that count without a cluster."""
    _add(parser, [flag for flag in FLAGS if flag.name in OFFLINE])


def _add(parser: argparse.ArgumentParser, flags: Sequence[_Flag]) -> None:
    for flag in flags:
        default = f"; default: {flag.default}" if flag.default else ""
        text = f"{flag.help}{default} ({flag.variable})".replace("%", "%%")
        parser.add_argument(f"--{flag.name}", metavar=flag.metavar, help=text)


def settings_from(arguments: argparse.Namespace, environ: Mapping[str, str], *, terminal: bool = False) -> Settings:
    """Return the settings of a parsed command line (see `parse_settings`). Raises SettingsError."""
    values: dict[str, Any] = {}
    for flag in FLAGS:
        text, source = getattr(arguments, flag.attribute, None), f"--{flag.name}"
        if text is None and environ.get(flag.variable):
            text, source = environ[flag.variable], flag.variable
        if text is None:
            text = flag.default
        if text:
            values[flag.attribute] = _parsed(flag.parse, text, source)
        elif getattr(arguments, flag.attribute, None) is not None:
            raise SettingsError(f"--{flag.name}: must not be empty; leave the flag out for the default")
    values["namespaces"] = _namespaces(arguments, environ)
    _refuse_leader_election(arguments, environ)
    if values["namespaces"] and "instance_id" not in values:
        raise SettingsError(
            "--instance-id: must be set together with --namespace, because an operator for some namespaces cannot "
            "read kube-system, whose uid is the default; choose a name for this installation and never change it"
        )
    in_cluster = bool(environ.get("KUBERNETES_SERVICE_HOST"))
    values.setdefault("log_format", "json" if in_cluster and not terminal else "text")
    return Settings(**values)


def _parsed(parse: Callable[[str], Any], text: str, source: str) -> Any:
    try:
        return parse(text.strip())
    except ValueError as error:
        raise SettingsError(f"{source}: {error}") from None


def _namespaces(arguments: argparse.Namespace, environ: Mapping[str, str]) -> tuple[str, ...]:
    variable = f"{ENVIRONMENT_PREFIX}NAMESPACE"
    given, source = getattr(arguments, "namespace", None), "--namespace"
    if given is None and environ.get(variable):
        given, source = environ[variable].split(","), variable
    names = tuple(dict.fromkeys(name.strip() for name in given or ()))
    for name in names:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
            raise SettingsError(f"{source}: {name!r} is not the name of a namespace; patterns are not supported")
    return names


def _refuse_leader_election(arguments: argparse.Namespace, environ: Mapping[str, str]) -> None:
    variable = f"{ENVIRONMENT_PREFIX}LEADER_ELECTION"
    asked, source = getattr(arguments, "leader_election", None), "--leader-election"
    if asked is None and environ.get(variable):
        asked, source = _parsed(_boolean, environ[variable], variable), variable
    if asked:
        raise SettingsError(
            f"{source}: leader election is not available in this version; leave it out, and run one replica with "
            "`strategy: Recreate`"
        )


def _boolean(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError(f"{text!r} must be true or false")
    return text.lower() == "true"


def _duration(low: float, high: float = 31_536_000.0, *, zero: bool = False) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            seconds = parse_duration(text)
        except ValueError as error:
            raise ValueError(f"{text!r} {error}") from None
        if not (low <= seconds <= high or (zero and seconds == 0)):
            also = "0s or " if zero else ""
            raise ValueError(f"{text!r} must be {also}from {low:g}s to {high:g}s")
        return seconds

    return parse


def _number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"{text!r} must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} must be one of: {', '.join(allowed)}")
        return text

    return parse


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError(f"{text!r} must be host:port, such as 0.0.0.0:8081 or 127.0.0.1:0")
    if host.startswith("["):
        host = str(IPv6Address(host.removeprefix("[").removesuffix("]")))
    return Address(host or "0.0.0.0", int(port))  # noqa: S104 - as in `:8080` everywhere


def _instance(text: str) -> str:
    # It stands in a JSON marker on the server and in people's `adoptFrom`.
    if not re.fullmatch(r"[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?", text):
        raise ValueError(
            f"{json.dumps(text)} must be 1 to 63 letters, digits, '-', '_' or '.', and begin and end with "
            "a letter or digit"
        )
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
    _Flag(
        "instance-id",
        _instance,
        "",
        "whose storages these are, in the markers on the servers; default in a cluster: uid of the namespace "
        "kube-system; required with --namespace",
        "ID",
    ),
    _Flag("health-address", _address, "0.0.0.0:8081", "/healthz and /readyz; port 0: any free port", "HOST:PORT"),
    _Flag("metrics-address", _address, "0.0.0.0:8080", "/metrics; port 0: any free port", "HOST:PORT"),
    _Flag("workers", _number(1, 1_000), "32", "storages worked on at once", "N"),
    _Flag("connections-per-server", _number(1, 1_000), "8", "PostgreSQL connections at once, per host and port", "N"),
    _Flag("connect-timeout", _duration(1, 60), "5s", "for one connection to PostgreSQL", "DURATION"),
    _Flag("reconcile-timeout", _duration(5, 3_600), "60s", "for one run of one storage", "DURATION"),
    _Flag(
        "interval",
        _duration(10, zero=True),
        "5m",
        "between full checks of a storage that does not say its own; 0s: only on change",
        "DURATION",
    ),
    _Flag("login-test-interval", _duration(60), "6h", "between proofs that the published password works", "DURATION"),
    _Flag("progress-deadline", _duration(10), "10m", "after which endless retry becomes Stalled", "DURATION"),
    _Flag(
        "blocked-ranges",
        parse_blocked_ranges,
        DEFAULT_BLOCKED,
        "addresses that are never dialled: CIDRs and the names in the default, with commas; `none` opens all",
        "RANGES",
    ),
    _Flag("allowed-extensions", _extensions, "vector", "what spec.extensions may name, with commas", "NAMES"),
    _Flag(
        "secret-selector",
        _selector,
        "",
        "label selector that narrows the watch of Secrets; a change of any other Secret is noticed at the next check",
        "SELECTOR",
    ),
    _Flag("log-format", _choice("json", "text"), "", "json or text; default: json in a cluster, else text", "FORMAT"),
    _Flag("log-level", _choice("debug", "info", "warning", "error"), "info", "debug, info, warning or error", "LEVEL"),
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(message)
