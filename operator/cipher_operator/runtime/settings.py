"""The settings of the operator process: each flag, else its environment variable, else its default."""

import argparse
import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from cipher_operator.api.names import NAMESPACE_NAME
from cipher_operator.api.printable import printable
from cipher_operator.postgres.dial import DEFAULT_BLOCKED, DialPolicy, Network, parse_blocked_ranges
from cipher_operator.reconcile.rules import Rules
from cipher_operator.runtime.flags import ENVIRONMENT_PREFIX, FLAGS, Address, Flag, boolean

OFFLINE = frozenset(
    {"allowed-extensions", "blocked-ranges", "connect-timeout", "instance-id", "server-secrets-namespace"}
)
POD_NAMESPACE = "POD_NAMESPACE"
"""The variable that a Deployment fills from `metadata.namespace`."""
_UNLISTED = ("namespace", "leader-election", "cluster-servers")
"""Flags that are no FLAGS: one is repeatable, the others are on or off."""
_SERVICE_LINK = re.compile(
    rf"{ENVIRONMENT_PREFIX[:-1]}(_[A-Z0-9_]+)?_"
    r"(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""What kubelets put into each container of the namespace for Services called cipher-operator, or so with a suffix."""
HEALTH_ADDRESS, METRICS_ADDRESS = Address("::", 8081), Address("::", 8080)


class SettingsError(Exception):
    """A setting that cannot be used; the message names the flag or variable and says what is allowed."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's settings; durations in seconds. `namespaces` empty: all of them. `cluster_servers`: CipherServers
    are served, their Secrets from `server_secrets_namespace`."""

    namespaces: tuple[str, ...] = ()
    instance_id: str | None = None
    leader_election: bool = False
    leader_election_namespace: str | None = None
    cluster_servers: bool = False
    server_secrets_namespace: str | None = None
    health_address: Address = HEALTH_ADDRESS
    metrics_address: Address = METRICS_ADDRESS
    workers: int = 32
    workers_per_namespace: int = 8
    connections_per_server: int = 8
    connect_timeout: float = 5.0
    reconcile_timeout: float = 60.0
    interval: float = 300.0
    login_test_interval: float = 21_600.0
    progress_deadline: float = 600.0
    blocked_ranges: tuple[Network, ...] = field(default_factory=lambda: parse_blocked_ranges(DEFAULT_BLOCKED))
    allowed_extensions: tuple[str, ...] = ("vector",)
    secret_selector: str | None = None
    watch_secrets: str = "all"
    log_format: str = "text"
    log_level: str = "info"

    @property
    def served(self) -> str:
        """Return what the operator serves, in words for the log."""
        if self.namespaces:
            return ", ".join(self.namespaces)
        if self.cluster_servers:
            return f"all namespaces, and CipherServers with their Secrets in {self.server_secrets_namespace}"
        how = "" if self.server_secrets_namespace is not None else " (--server-secrets-namespace NS serves them)"
        return f"all namespaces, and no CipherServers{how}"

    @property
    def secret_namespaces(self) -> tuple[str, ...]:
        """Return the namespaces whose Secrets are watched, () for all."""
        if self.watch_secrets == "servers" and self.server_secrets_namespace is not None:
            return (self.server_secrets_namespace,)
        return self.namespaces

    @property
    def dial_policy(self) -> DialPolicy:
        """Return which addresses are dialled, and for how long."""
        return DialPolicy(self.blocked_ranges, self.connect_timeout)

    def rules(self, instance: str) -> Rules:
        """Return what the settings say about every run."""
        return Rules(
            instance,
            interval=self.interval,
            login_test_interval=self.login_test_interval,
            progress_deadline=self.progress_deadline,
            reconcile_timeout=self.reconcile_timeout,
            allowed_extensions=self.allowed_extensions,
        )


def parse_settings(argv: Sequence[str], environ: Mapping[str, str], *, terminal: bool = False) -> Settings:
    """Return the settings that flags (first) and environment variables (where there is no flag) ask for.

    `terminal` says whether somebody reads the log on one. Raises SettingsError.
    """
    parser = _Parser(prog="cipher-operator run", add_help=False, allow_abbrev=False)
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
        help="of several replicas one works, by means of a Lease; default: on in a cluster, off outside "
        f"({ENVIRONMENT_PREFIX}LEADER_ELECTION)",
    )
    parser.add_argument(
        "--cluster-servers",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="serve CipherServers; default: on in a cluster and wherever --server-secrets-namespace is set, off with "
        f"--namespace ({ENVIRONMENT_PREFIX}CLUSTER_SERVERS)",
    )
    _add(parser, FLAGS)


def add_offline_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that count without a cluster."""
    _add(parser, [flag for flag in FLAGS if flag.name in OFFLINE])


def _add(parser: argparse.ArgumentParser, flags: Sequence[Flag]) -> None:
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
    if values["connect_timeout"] >= values["reconcile_timeout"]:
        raise SettingsError(
            f"--connect-timeout: {values['connect_timeout']:g}s must be below --reconcile-timeout "
            f"({values['reconcile_timeout']:g}s), in which a run connects and works; shorten the one or "
            "lengthen the other"
        )
    values["namespaces"] = _namespaces(arguments, environ)
    if values["namespaces"] and "instance_id" not in values:
        raise SettingsError(
            "--instance-id: must be set together with --namespace, because an operator for some namespaces cannot "
            "read kube-system, whose uid is the default; choose a name for this installation and never change it"
        )
    in_cluster = bool(environ.get("KUBERNETES_SERVICE_HOST"))
    asked, source = _switch(arguments, environ, "leader-election")
    values["leader_election"] = in_cluster if asked is None else asked
    if values["leader_election"] and "leader_election_namespace" not in values:
        values["leader_election_namespace"] = environ.get(POD_NAMESPACE) or None
        if not in_cluster and values["leader_election_namespace"] is None:
            raise SettingsError(f"{source}: outside a cluster --leader-election-namespace must say where the Lease is")
    _add_servers(values, arguments, environ)
    values.setdefault("log_format", "json" if in_cluster and not terminal else "text")
    return Settings(**values)


def unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what is to be said of each variable that looks like one of ours and is none: its name, not its value.

    It is no error, as a flag is that is none: the environment is not ours alone, and a release that is gone back to
    must start with the variables of the newer one.
    """
    known = [flag.variable.removeprefix(ENVIRONMENT_PREFIX) for flag in FLAGS]
    known += [_variable(name).removeprefix(ENVIRONMENT_PREFIX) for name in _UNLISTED]
    for name in sorted(environ):
        prefix, rest = name[: len(ENVIRONMENT_PREFIX)], name[len(ENVIRONMENT_PREFIX) :]
        ours = prefix == ENVIRONMENT_PREFIX and rest in known
        if prefix.upper() != ENVIRONMENT_PREFIX or ours or _SERVICE_LINK.fullmatch(name):
            continue
        near = difflib.get_close_matches(rest.upper(), known, n=1)
        meant = (
            f"did you mean {ENVIRONMENT_PREFIX}{near[0]}?"
            if near
            else "`cipher-operator run --help` names those that there are"
        )
        yield f"{printable(name)}: there is no such setting, it is ignored; {meant}"


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.replace("-", "_").upper()


def _parsed(parse: Callable[[str], Any], text: str, source: str) -> Any:
    try:
        return parse(text.strip())
    except ValueError as error:
        raise SettingsError(f"{source}: {error}") from None


def _namespaces(arguments: argparse.Namespace, environ: Mapping[str, str]) -> tuple[str, ...]:
    variable = _variable("namespace")
    given, source = getattr(arguments, "namespace", None), "--namespace"
    if given is None and environ.get(variable):
        given, source = environ[variable].split(","), variable
    names = tuple(dict.fromkeys(name.strip() for name in given or ()))
    for name in names:
        if not NAMESPACE_NAME.fullmatch(name):
            raise SettingsError(f"{source}: {name!r} is not the name of a namespace; patterns are not supported")
    return names


def _switch(arguments: argparse.Namespace, environ: Mapping[str, str], name: str) -> tuple[bool | None, str]:
    """Return what a flag that is on or off says, None where nobody does, and which flag or variable it is."""
    variable = _variable(name)
    asked = getattr(arguments, name.replace("-", "_"), None)
    if asked is None and environ.get(variable):
        return _parsed(boolean, environ[variable], variable), variable
    return asked, f"--{name}"


def _add_servers(values: dict[str, Any], arguments: argparse.Namespace, environ: Mapping[str, str]) -> None:
    """Add whether CipherServers are served, and where their Secrets are."""
    asked, source = _switch(arguments, environ, "cluster-servers")
    if asked and values["namespaces"]:
        raise SettingsError(f"{source}: cannot be on with --namespace, because a CipherServer is the whole cluster's")
    namespace = values.get("server_secrets_namespace") or environ.get(POD_NAMESPACE) or None
    if asked and namespace is None:
        raise SettingsError(f"{source}: --server-secrets-namespace must say where the Secrets of CipherServers are")
    values["cluster_servers"] = asked is not False and not values["namespaces"] and namespace is not None
    values["server_secrets_namespace"] = namespace
    if values["watch_secrets"] == "servers" and not values["cluster_servers"]:
        off = "--no-cluster-servers" if asked is False else "--namespace" if values["namespaces"] else ""
        remedy = f"leave {off} out" if off else "set --server-secrets-namespace"
        raise SettingsError(f"--watch-secrets: servers needs CipherServers to be served; {remedy}")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(message)
