"""`plan` and `check`: look at one storage as a run of the operator would, and write nothing anywhere."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from cipher_operator.api import names
from cipher_operator.api.failures import Failure
from cipher_operator.api.names import DEFAULT_NAMESPACE, SERVERS_NAMESPACE
from cipher_operator.api.printable import printable
from cipher_operator.api.reasons import Reason
from cipher_operator.identity.cloud import CloudTokens
from cipher_operator.kube.access import AccessError, load_access
from cipher_operator.kube.client import KubeClient
from cipher_operator.postgres.provision import Report
from cipher_operator.postgres.session import neutralise_environment
from cipher_operator.reconcile.documents import ManifestError
from cipher_operator.reconcile.live import LookError, Own
from cipher_operator.reconcile.manifests import Manifests, load
from cipher_operator.reconcile.offline import UNKNOWN_INSTANCE, Look, Means, examine
from cipher_operator.runtime.settings import Settings
from cipher_operator.terminal import complain

FINE, FAILED, MISUSED = 0, 1, 2
"""Exit codes."""
INTERRUPTED = 128 + signal.SIGINT


def examine_one(arguments: argparse.Namespace, settings: Settings) -> int:
    """Look at the server of the storage that the command line names, print what is found, return the exit code."""
    neutralise_environment(os.environ)
    # What a library logs is said by whoever meets its failure.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        if arguments.filename:
            servers = settings.server_secrets_namespace
            manifests = load(arguments.filename, namespace=arguments.of, servers=servers)
            look = asyncio.run(_examine_files(manifests, settings))
            label = "/".join(manifests.storage.key)
            return _print(arguments.command, label, look, _hints(look.found, settings, manifests))
        label, live = asyncio.run(_examine_live(arguments, settings))
        return _print(arguments.command, label, live, _hints(live.found, settings, None))
    except (ManifestError, AccessError, LookError) as error:
        complain(f"cipher-operator {arguments.command}: {error}")
        return MISUSED if isinstance(error, ManifestError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


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
        complain(f"{label}: {found.reason}: {found.message}", *hints)
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
    complain(*(f"{label}: warning: {text}" for text in warnings), *(f"{label}: {note}" for note in look.notes))
    return FAILED if isinstance(found, Failure) else FINE
