"""pg_upgrade, the real one, from one test server to a new one of a later major."""

import shlex
import subprocess
from pathlib import Path

from devcluster import PostgresServer
from devcluster.postgres_data import hand_over, reachable, server_identity
from devcluster.postgres_programs import Installation, find_upgrade_programs
from devcluster.processes import drop_folder, run_folder

CHECKSUMS_SINCE = 18
"""Major from which initdb turns data checksums on; a cluster is upgraded to one that has them if it has them itself."""
CONTROL_FILE_SINCE = 18
"""Major of the first change to the layout of pg_control since 13: what can read 16's can read the older ones'."""

_LOOK_ALIKE = """#!/bin/sh
# pg_resetwal -n only reads, and the control files are alike, but it refuses the data folder of another major.
[ "$1" = -V ] && exec {program} -V
for last; do :; done
view=$(mktemp -d)
trap 'rm -r "$view"' EXIT
mkdir "$view/global"
cp "$last/global/pg_control" "$view/global/"
ln -s "$last/pg_wal" "$view/pg_wal"
echo {major} > "$view/PG_VERSION"
{program} -n "$view"
"""


def upgraded(old: PostgresServer, major: int) -> PostgresServer:
    """Return a started server of that major with what was on the old one, which is stopped and used up.

    Raises SetupError where there are no programs, AssertionError with what pg_upgrade said where it failed.
    """
    programs = reachable(find_upgrade_programs(major))
    old.stop("fast")
    new = PostgresServer(
        installation=programs,
        settings=old.settings,
        superuser=old.superuser,
        password=old.password,
        initdb_args=("--no-data-checksums",) if major >= CHECKSUMS_SINCE else (),
    )
    new.start()
    new.stop("fast")
    for server in (old, new):
        (server.data_path / "pg_hba.conf").write_text("local all all trust\n")
    work, scripts = _folder(new.folder / "upgrade"), run_folder("upgrade", data=False)
    _run(
        [
            str(programs.bin / "pg_upgrade"),
            *("--old-bindir", str(_old_programs(old, scripts))),
            *("--new-bindir", str(programs.bin)),
            *("--old-datadir", str(old.data_path), "--new-datadir", str(new.data_path)),
            *("--username", old.superuser, "--socketdir", str(work), "--link"),
        ],
        programs,
        work,
    )
    drop_folder(scripts)
    new.start()
    return new


def _old_programs(old: PostgresServer, folder: Path) -> Path:
    """Fill and return a folder with what pg_upgrade calls of the old major, of which packages leave out half."""
    installation, readers = reachable(old.installation), reachable(find_upgrade_programs(CONTROL_FILE_SINCE - 2))
    environment = f"LD_LIBRARY_PATH={shlex.quote(str(installation.bin.parent / 'lib'))}"
    for name in ("postgres", "pg_ctl"):
        _script(folder / name, f'#!/bin/sh\nexec env {environment} {shlex.quote(str(installation.bin / name))} "$@"\n')
    controldata = shlex.quote(str(readers.bin / "pg_controldata"))
    _script(folder / "pg_controldata", f'#!/bin/sh\nexec {controldata} "$@"\n')
    resetwal = _LOOK_ALIKE.format(major=readers.major, program=shlex.quote(str(readers.bin / "pg_resetwal")))
    _script(folder / "pg_resetwal", resetwal)
    return folder


def _script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _folder(path: Path) -> Path:
    path.mkdir(mode=0o755)
    hand_over(path)
    return path


def _run(command: list[str], programs: Installation, folder: Path) -> None:
    identity = server_identity()
    run_as = {} if identity is None else {"user": identity.uid, "group": identity.gid, "extra_groups": list[int]()}
    done = subprocess.run(  # type: ignore[call-overload]
        command, env=programs.environment(), cwd=folder, capture_output=True, text=True, check=False, **run_as
    )
    assert done.returncode == 0, done.stdout + done.stderr
