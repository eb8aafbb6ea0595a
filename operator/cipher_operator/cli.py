"""The command line: flags and exit codes. What a command needs is imported when it is known to be right."""

import argparse
import difflib
import os
import sys
from collections.abc import Sequence

from cipher_operator import __version__
from cipher_operator.api import names
from cipher_operator.runtime.settings import (
    SettingsError,
    add_arguments,
    add_offline_arguments,
    settings_from,
    unknown_variables,
)
from cipher_operator.terminal import complain

VERSION_LINE = f"cipher-operator {__version__}"
EXIT_USAGE = 2
_SOURCES = (
    "With -f it reads one CipherStorage and what it names (Secrets, ConfigMaps, a CipherServer with its Secret, the "
    "Namespace) from files, and no cluster is needed; with a NAME it reads the CipherStorage of that name and what it "
    "names from the cluster of the kubeconfig. What a CipherServer names is looked for in --server-secrets-namespace: "
    f"by default where the files have it, else in the Pod's own namespace or {names.SERVERS_NAMESPACE}."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 where something failed, 2 for a wrong command line."""
    parser, options = _parser()
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        complain(f"cipher-operator {arguments.command}: {_unknown(unknown[0], options[arguments.command])}")
        return EXIT_USAGE
    if arguments.command == "version":
        print(VERSION_LINE)
        return 0
    try:
        return _run(arguments) if arguments.command == "run" else _examine(arguments)
    except SettingsError as error:
        complain(f"cipher-operator {arguments.command}: {error}")
        return EXIT_USAGE


def _run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments, os.environ, terminal=sys.stderr.isatty())
    # Two thirds of a second: nobody waits for it to read that a flag is wrong.
    from cipher_operator.runtime.process import run

    return run(settings)


def _examine(arguments: argparse.Namespace) -> int:
    for text in unknown_variables(os.environ):
        complain(f"cipher-operator {arguments.command}: {text}")
    settings = settings_from(arguments, os.environ)
    _check_names(arguments)
    from cipher_operator.examine import examine_one

    return examine_one(arguments, settings)


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
            help=f"of NAME, default: the context's; with -f, of what states none, default: {names.DEFAULT_NAMESPACE}",
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
