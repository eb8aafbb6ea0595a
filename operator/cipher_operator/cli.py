"""The command line: run the operator, or look at one storage without running it."""

import argparse
import asyncio
import difflib
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from cipher_operator import __version__
from cipher_operator.api import names
from cipher_operator.api.failures import Failure
from cipher_operator.api.printable import printable
from cipher_operator.api.reasons import Reason
from cipher_operator.identity.cloud import CloudTokens
from cipher_operator.kube.access import AccessError, load_access
from cipher_operator.kube.client import KubeClient
from cipher_operator.postgres.provision import Report
from cipher_operator.postgres.session import neutralise_environment
from cipher_operator.reconcile.documents import ManifestError
from cipher_operator.reconcile.live import LookError, Own
from cipher_operator.reconcile.manifests import DEFAULT_NAMESPACE, SERVERS_NAMESPACE, Manifests, load
from cipher_operator.reconcile.offline import UNKNOWN_INSTANCE, Look, Means, examine
from cipher_operator.runtime.garbage import set_aside
from cipher_operator.runtime.health import AddressError
from cipher_operator.runtime.logs import set_up
from cipher_operator.runtime.operator import Operator, StartError
from cipher_operator.runtime.settings import (
    Settings,
    SettingsError,
    add_arguments,
    add_offline_arguments,
    settings_from,
    unknown_variables,
)

VERSION_LINE = f"cipher-operator {__version__}"
EXIT_FAILED, EXIT_USAGE = 1, 2
EXIT_INTERRUPTED = 128 + signal.SIGINT
_SOURCES = (
    "With -f it reads one CipherStorage and what it names (Secrets, ConfigMaps, a CipherServer with its Secret, the "
    "Namespace) from files, and no cluster is needed; with a NAME it reads the CipherStorage of that name and what it "
    "names from the cluster of the kubeconfig. What a CipherServer names is looked for in --server-secrets-namespace: "
    f"by default where the files have it, else in the Pod's own namespace or {SERVERS_NAMESPACE}."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 where something failed, 2 for a wrong command line."""
    parser, options = _parser()
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        _complain(f"cipher-operator {arguments.command}: {_unknown(unknown[0], options[arguments.command])}")
        return EXIT_USAGE
    if arguments.command == "version":
        print(VERSION_LINE)
        return 0
    neutralise_environment(os.environ)
    if arguments.command == "run":
        return _run(arguments)
    return _examine(arguments)


def _unknown(argument: str, options: Sequence[str]) -> str:
    flag = argument.partition("=")[0]
    if not flag.startswith("-"):
        return f"there is nothing that {argument!r} could be; flags begin with --"
    near = difflib.get_close_matches(flag, options, n=1)
    return f"there is no flag {flag}; " + (f"did you mean {near[0]}?" if near else "--help names those that there are")


def _parser() -> tuple[argparse.ArgumentParser, dict[str, list[str]]]:
    """Return the parser, and the flags of each command. A part of a flag's name is none: it may become ambiguous."""
    parser = argparse.ArgumentParser(
        prog="cipher-operator", description="One CipherStorage becomes ready PostgreSQL storage for Cipher."
    )
    parser.add_argument("--version", action="version", version=VERSION_LINE)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run the operator",
        description="Runs the operator: in a Pod with its ServiceAccount, else with KUBECONFIG. Each flag is also an "
        "environment variable, named in parentheses. Durations are 30s, 5m, 12h.",
        allow_abbrev=False,
    )
    add_arguments(run)
    for name, text in (
        ("plan", "show the SQL that the operator would run for a storage, and run none of it"),
        ("check", "say whether a storage's manifests, server and login are usable"),
    ):
        offline = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}. {_SOURCES}",
            usage=f"cipher-operator {name} (NAME | -f FILE [-f FILE ...]) [-n NS] [flags]",
            allow_abbrev=False,
        )
        add_offline_arguments(offline)
        offline.add_argument("name", nargs="?", metavar="NAME", help="CipherStorage in the cluster")
        offline.add_argument(
            "-f", "--filename", action="append", metavar="FILE", help="file of YAML; repeatable; - reads stdin"
        )
        offline.add_argument(
            "-n",
            "--namespace",
            dest="of",
            metavar="NS",
            help=f"of NAME, default: the context's; with -f, of what states none, default: {DEFAULT_NAMESPACE}",
        )
        offline.add_argument(
            "--context", metavar="CONTEXT", help="of the kubeconfig, for NAME; default: its current one"
        )
    commands.add_parser("version", help="print the version")
    options = {
        name: [option for action in command._actions for option in action.option_strings]  # nothing public lists them
        for name, command in commands.choices.items()
    }
    return parser, options


def _run(arguments: argparse.Namespace) -> int:
    try:
        settings = settings_from(arguments, os.environ, terminal=sys.stderr.isatty())
    except SettingsError as error:
        _complain(f"cipher-operator run: {error}")
        return EXIT_USAGE
    set_up(settings.log_format, settings.log_level)
    for text in unknown_variables(os.environ):
        logging.getLogger(__name__).warning(text)
    try:
        return asyncio.run(_operate(settings))
    except (StartError, AccessError, AddressError) as error:
        logging.getLogger(__name__).error("cannot start: %s", error)
    return EXIT_FAILED


async def _operate(settings: Settings) -> int:
    access = await load_access(os.environ)
    return await Operator(settings, access, watchdog=_end_by_force, known=set_aside).run()


def _end_by_force(seconds: float, code: int) -> None:
    """End the process in `seconds` seconds, if it still runs then: kopf can hang for minutes after it gave up."""

    def end() -> None:
        logging.getLogger(__name__).error("the end takes too long; ending by force")
        logging.shutdown()
        os._exit(code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _examine(arguments: argparse.Namespace) -> int:
    """Look at the server as a run would, and print what it finds."""
    # What a library logs is said by whoever meets its failure.
    logging.getLogger().addHandler(logging.NullHandler())
    for text in unknown_variables(os.environ):
        _complain(f"cipher-operator {arguments.command}: {text}")
    try:
        settings = settings_from(arguments, os.environ)
        _check_names(arguments)
        if arguments.filename:
            servers = settings.server_secrets_namespace
            manifests = load(arguments.filename, namespace=arguments.of, servers=servers)
            look = asyncio.run(_examine_files(manifests, settings))
            label = "/".join(manifests.storage.key)
            return _print(arguments.command, label, look, _hints(look.found, settings, manifests))
        label, live = asyncio.run(_examine_live(arguments, settings))
        return _print(arguments.command, label, live, _hints(live.found, settings, None))
    except (SettingsError, ManifestError, AccessError, LookError) as error:
        _complain(f"cipher-operator {arguments.command}: {error}")
        return EXIT_USAGE if isinstance(error, SettingsError | ManifestError) else EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _check_names(arguments: argparse.Namespace) -> None:
    """Raise SettingsError for what names no storage, or two, or no namespace."""
    if arguments.filename is None and arguments.name is None:
        raise SettingsError("give the NAME of a CipherStorage in the cluster, or the files that hold one, with -f")
    if arguments.filename is not None and arguments.name is not None:
        raise SettingsError(
            f"-f and NAME ({arguments.name!r}) exclude each other: NAME is in the cluster; each file takes its own -f"
        )
    if arguments.filename and arguments.context is not None:
        raise SettingsError("--context: is for NAME, which is in a cluster; with -f no cluster is read")
    if arguments.of is not None and not names.NAMESPACE_NAME.fullmatch(arguments.of):
        raise SettingsError(f"-n: {arguments.of!r} is not the name of a namespace")
    if not arguments.filename and not names.OBJECT_NAME.fullmatch(arguments.name):
        raise SettingsError(f"NAME: {arguments.name!r} is not the name of a CipherStorage; give the name alone")


async def _examine_live(arguments: argparse.Namespace, settings: Settings) -> tuple[str, Look]:
    """Return the storage's name and what its server would be made to be. Nothing is written anywhere."""
    access = await load_access(os.environ, context=arguments.context)
    key = (arguments.of or access.namespace or DEFAULT_NAMESPACE, arguments.name)
    async with KubeClient(access) as kube, _tokens() as tokens:
        own = Own(kube, settings.server_secrets_namespace or SERVERS_NAMESPACE)
        rules = settings.rules(settings.instance_id or await own.instance())
        return "/".join(key), await own.examine(key, Means(rules, settings.dial_policy, tokens))


async def _examine_files(manifests: Manifests, settings: Settings) -> Look:
    async with _tokens() as tokens:
        rules = settings.rules(settings.instance_id or UNKNOWN_INSTANCE)
        return await examine(manifests, Means(rules, settings.dial_policy, tokens))


@asynccontextmanager
async def _tokens() -> AsyncIterator[CloudTokens]:
    tokens = CloudTokens()
    try:
        yield tokens
    finally:
        await tokens.close()


def _hints(found: Report | Failure, settings: Settings, manifests: Manifests | None) -> list[str]:
    """Return what a failure may be due to that has nothing to do with the storage in its cluster."""
    hints: list[str] = []
    if not isinstance(found, Failure):
        return hints
    if manifests is not None and found.reason is Reason.CONFLICT and settings.instance_id is None:
        hints.append(
            "If that is this storage itself, give --instance-id (by default the uid of namespace kube-system)."
        )
    missing = found.reason is Reason.SECRET_NOT_FOUND
    if manifests is not None and (missing or (found.reason is Reason.SERVER_NOT_AVAILABLE and manifests.lacks_server)):
        hints.append("The files do not hold it there: name the file that does with -f, too.")
    if missing and found.message.startswith(names.SERVER_KIND) and settings.server_secrets_namespace is None:
        hints.append("If the operator is in another namespace, name that with --server-secrets-namespace.")
    return hints


def _print(command: str, label: str, look: Look, hints: Sequence[str]) -> int:
    """Print what was found; return the exit code."""
    # `plan … | head` ends it, as it ends others. Not before: a connection that breaks would, too.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    found = look.found
    if isinstance(found, Failure):
        _complain(f"{label}: {found.reason}: {found.message}", *hints)
    elif command == "plan":
        # Statements have lines of their own.
        for line in (line for statement in found.pending for line in statement.split("\n")):
            print(printable(line))
        print(f"{label}: {len(found.pending)} statements to run" if found.pending else f"{label}: nothing to do")
    else:
        assert found.observed is not None  # it did not fail
        version = found.observed.server.version
        print(f"{label}: usable; PostgreSQL {version // 10_000}.{version % 10_000}")
    sys.stdout.flush()
    warnings = () if isinstance(found, Failure) else found.warnings
    _complain(*(f"{label}: warning: {text}" for text in warnings), *(f"{label}: {note}" for note in look.notes))
    return EXIT_FAILED if isinstance(found, Failure) else 0


def _complain(*lines: str) -> None:
    """Print lines on standard error. What comes from a file, a server or a cluster may hold what a terminal obeys."""
    for line in lines:
        print(printable(line), file=sys.stderr)
