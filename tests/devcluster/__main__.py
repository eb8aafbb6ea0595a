"""`python -m devcluster`: get the programs, and run one cluster that stays up."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import sys
from pathlib import Path

from devcluster import detached
from devcluster.cache import say
from devcluster.longrun import SetupError
from devcluster.monitoring_kinds import find_monitoring_crds
from devcluster.pgbouncer import find_pgbouncer
from devcluster.postgres_programs import MAJORS, find_postgres
from devcluster.processes import ProcessError
from devcluster.programs import find_programs
from devcluster.prometheus import find_prometheus


def main() -> int:
    """Run one command and return the exit code."""
    options = _parser().parse_args()
    try:
        match options.command:
            case "setup":
                _setup(options.postgres, tls=options.tls, vector=options.vector)
            case "up":
                _print(detached.up(options.name, major=options.postgres))
            case "down":
                say("stopped" if detached.down(options.name) else "was not running")
            case "status":
                state = detached.status(options.name)
                if state is None:
                    say("not running")
                    return 1
                _print(state)
            case "keep":
                detached.keep(options.name, major=options.postgres)
    except (SetupError, ProcessError) as error:
        say(str(error))
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="devcluster", description=__doc__)
    parser.add_argument(
        "--name",
        default=os.environ.get("CIPHER_DEV_CLUSTER", "dev"),
        help="which cluster; several may run side by side (default: $CIPHER_DEV_CLUSTER, else dev)",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    setup = commands.add_parser("setup", help="find, fetch or build every program, so that later starts take seconds")
    setup.add_argument("--postgres", type=_majors, default=None, metavar="16,18|all", help="majors; default: any one")
    setup.add_argument("--tls", action="store_true", help="only a PostgreSQL with TLS will do")
    setup.add_argument("--vector", action="store_true", help="only a PostgreSQL with pgvector will do")
    for name, text in (("up", "start the cluster and print how to use it; again: only print"), ("keep", "")):
        # `keep` is what `up` runs behind the scenes; it is not for people.
        command = commands.add_parser(name, help=text) if text else commands.add_parser(name)
        command.add_argument("--postgres", type=int, default=None, choices=MAJORS, help="major (default: any)")
    commands.add_parser("down", help="stop it and throw its data away")
    commands.add_parser("status", help="print how to use it; exit code 1 when it does not run")
    return parser


def _majors(text: str) -> list[int]:
    return list(MAJORS) if text == "all" else [int(each) for each in text.split(",")]


def _setup(majors: list[int] | None, *, tls: bool, vector: bool) -> None:
    programs = find_programs()
    say(f"Kubernetes: {programs.apiserver.parent}")
    wanted: list[int | None] = [*majors] if majors else [None]
    for major in wanted:
        found = find_postgres(major, tls=tls, vector=vector)
        extras = "".join([", TLS" if found.tls else "", ", pgvector" if found.vector else ""])
        say(f"PostgreSQL {found.version}{extras}: {found.bin}")
    # They are for some tests, which say so when they are skipped: no reason to stop for those who only want a cluster.
    with contextlib.suppress(SetupError):
        say(f"PgBouncer: {find_pgbouncer().program}")
    with contextlib.suppress(SetupError):
        say(f"Prometheus: {find_prometheus().program}")
    with contextlib.suppress(SetupError):
        say(f"CRDs of the Prometheus operator: {find_monitoring_crds()[0].parent}")


def _print(state: detached.State) -> None:
    # Lines for a shell: eval "$(python -m devcluster up)".
    print(f"export KUBECONFIG={shlex.quote(state.kubeconfig)}")
    print(f"export ADMIN_URL={shlex.quote(state.admin_url)}")
    if shutil.which("kubectl") is None:
        print(f'export PATH={shlex.quote(str(Path(state.kubectl).parent))}:"$PATH"')


if __name__ == "__main__":
    sys.exit(main())
