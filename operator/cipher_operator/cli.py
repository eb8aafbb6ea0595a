"""The command line: run the operator, or look at one storage without running it."""

import argparse
import asyncio
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from cipher_operator import __version__
from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.identity.cloud import CloudTokens
from cipher_operator.kube.access import AccessError, load_access
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.port import ApiError, ApiUnavailable
from cipher_operator.postgres.provision import Report
from cipher_operator.postgres.session import neutralise_environment
from cipher_operator.reconcile.manifests import DEFAULT_NAMESPACE, ManifestError, Manifests, load
from cipher_operator.reconcile.namespaces import Namespaces
from cipher_operator.reconcile.offline import UNKNOWN_INSTANCE, Means, examine, examine_live
from cipher_operator.reconcile.rules import Rules
from cipher_operator.runtime.logs import set_up
from cipher_operator.runtime.operator import Operator, StartError
from cipher_operator.runtime.settings import (
    Settings,
    SettingsError,
    add_arguments,
    add_offline_arguments,
    settings_from,
)

EXIT_FAILED, EXIT_USAGE = 1, 2
SERVERS_NAMESPACE = "cipher-system"
"""Where the manifests put the operator, and with it the Secrets of CipherServers."""
_SOURCES = (
    "With -f it reads one CipherStorage and what it names (Secrets, ConfigMaps, a CipherServer with its Secret, the "
    "Namespace) from files, and no cluster is needed; with a NAME it reads the CipherStorage of that name and what it "
    "names from the cluster of the kubeconfig."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 where something failed, 2 for a wrong command line."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "version":
        print(f"cipher-operator {__version__}")
        return 0
    neutralise_environment(os.environ)
    if arguments.command == "run":
        return _run(arguments)
    return _examine(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cipher-operator", description="One CipherStorage becomes ready PostgreSQL storage for Cipher."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run the operator",
        description="Runs the operator: in a Pod with its ServiceAccount, else with KUBECONFIG. Each flag is also an "
        "environment variable, named in parentheses. Durations are 30s, 5m, 12h.",
    )
    add_arguments(run)
    for name, text in (
        ("plan", "show the SQL that the operator would run for a storage, and run none of it"),
        ("check", "say whether a storage's manifests, server and login are usable"),
    ):
        offline = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}. {_SOURCES}")
        add_offline_arguments(offline)
        source = offline.add_mutually_exclusive_group(required=True)
        source.add_argument("name", nargs="?", metavar="NAME", help="CipherStorage in the cluster")
        source.add_argument("-f", "--filename", action="append", metavar="FILE", help="file of YAML; repeatable")
        offline.add_argument(
            "-n", "--namespace", dest="of", metavar="NS", help="namespace of NAME; default: the context's"
        )
        offline.add_argument("--context", metavar="CONTEXT", help="of the kubeconfig; default: its current one")
    commands.add_parser("version", help="print the version")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    try:
        settings = settings_from(arguments, os.environ, terminal=sys.stderr.isatty())
    except SettingsError as error:
        print(f"cipher-operator run: {error}", file=sys.stderr)
        return EXIT_USAGE
    set_up(settings.log_format, settings.log_level)
    try:
        return asyncio.run(_operate(settings))
    except (StartError, AccessError) as error:
        logging.getLogger(__name__).error("cannot start: %s", error)
    except OSError as error:
        # The text names an address of this machine that --health-address or --metrics-address asks for.
        logging.getLogger(__name__).error(
            "cannot start: an address of --health-address or --metrics-address cannot be had: %s", error.strerror
        )
    return EXIT_FAILED


async def _operate(settings: Settings) -> int:
    return await Operator(settings, await load_access(os.environ), watchdog=_end_by_force).run()


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
    try:
        settings = settings_from(arguments, os.environ)
        manifests = load(Path(name) for name in arguments.filename) if arguments.filename else None
    except (SettingsError, ManifestError) as error:
        print(f"cipher-operator {arguments.command}: {error}", file=sys.stderr)
        return EXIT_USAGE
    if manifests is not None:
        label = "/".join(filter(None, manifests.storage.key))
        rules = settings.rules(settings.instance_id or UNKNOWN_INSTANCE)
        found = asyncio.run(_examine_files(manifests, rules, settings))
        return _print(arguments.command, label, found, instance_known=settings.instance_id is not None)
    try:
        label, live = asyncio.run(_examine_live(arguments, settings))
    except (AccessError, ApiError, ApiUnavailable) as error:
        print(f"cipher-operator {arguments.command}: the cluster cannot be asked: {error}", file=sys.stderr)
        return EXIT_FAILED
    if live is None:
        print(f"cipher-operator {arguments.command}: there is no CipherStorage {label}", file=sys.stderr)
        return EXIT_FAILED
    return _print(arguments.command, label, live, instance_known=True)


async def _examine_live(arguments: argparse.Namespace, settings: Settings) -> tuple[str, Report | Failure | None]:
    """Return the storage's name and what its server would be made to be. Nothing is written anywhere."""
    access = await load_access(os.environ, context=arguments.context)
    namespace = arguments.of or access.namespace or DEFAULT_NAMESPACE
    async with KubeClient(access) as kube, _tokens() as tokens:
        instance = settings.instance_id or str((await kube.get("/api/v1/namespaces/kube-system"))["metadata"]["uid"])
        namespaces = Namespaces(settings.server_secrets_namespace or SERVERS_NAMESPACE)
        home = await kube.get(f"/api/v1/namespaces/{namespace}")
        namespaces.saw(namespace, home["metadata"].get("labels") or {})
        key, rules = (namespace, arguments.name), settings.rules(instance)
        return "/".join(key), await examine_live(kube, key, namespaces, Means(rules, settings.dial_policy, tokens))


async def _examine_files(manifests: Manifests, rules: Rules, settings: Settings) -> Report | Failure:
    async with _tokens() as tokens:
        return await examine(manifests, Means(rules, settings.dial_policy, tokens))


@asynccontextmanager
async def _tokens() -> AsyncIterator[CloudTokens]:
    tokens = CloudTokens()
    try:
        yield tokens
    finally:
        await tokens.close()


def _print(command: str, label: str, found: Report | Failure, *, instance_known: bool) -> int:
    """Print what was found; return the exit code."""
    if isinstance(found, Failure):
        print(f"{label}: {found.reason}: {found.message}", file=sys.stderr)
        if found.reason is Reason.CONFLICT and not instance_known:
            print(
                "If that is this storage itself, give --instance-id (by default the uid of namespace kube-system).",
                file=sys.stderr,
            )
        return EXIT_FAILED
    if command == "plan":
        for line in found.pending:
            print(line)
        print(f"{label}: {len(found.pending)} statements to run" if found.pending else f"{label}: nothing to do")
    else:
        assert found.observed is not None  # it did not fail
        version = found.observed.server.version
        print(f"{label}: usable; PostgreSQL {version // 10_000}.{version % 10_000}")
    return 0
