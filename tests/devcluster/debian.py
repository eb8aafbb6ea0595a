"""Finding a program: installed, in our cache, or from the packages of Debian and Ubuntu, without installing them.

apt only downloads, into folders of our own, with the machine's sources and keys: it checks the signatures, needs no
root, and nothing of the system changes. The packages are unpacked into the cache.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from devcluster.cache import cache_dir, filled, say
from devcluster.longrun import SetupError, run
from devcluster.postgres_data import reachable_root

_SYSTEM_LISTS = "/var/lib/apt/lists/"
_ROUNDS = 4
"""Libraries of libraries are looked for this deep; the program's own are one."""
# Last, and so against what the machine's configuration says. Its hooks would write outside our folders.
_CONFIGURATION = """\
#clear APT::Update;
#clear DPkg;
APT::Update::Error-Mode "any";
Dir::State "{state}";
Dir::State::lists "{lists}";
Dir::Cache "{cache}";
Dir::Log "{log}";
APT::Sandbox::User "root";
APT::Get::AllowUnauthenticated "false";
Acquire::Languages "none";
Acquire::Retries "0";
Acquire::http::Timeout "15";
Acquire::https::Timeout "15";
"""


@dataclass(frozen=True)
class Unpacked:
    """Where a program is; `root` is the folder to take along when it must be moved, None where it is installed."""

    program: Path
    root: Path | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment it needs: its own libraries first."""
        if self.root is None:
            return dict(os.environ)
        return os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(map(str, _library_folders(self.root)))}

    def reachable(self) -> Unpacked:
        """Return the same at a place where the servers' user can run it."""
        if self.root is None:
            return self
        root = reachable_root(self.root, self.program)
        return replace(self, program=root / self.program.relative_to(self.root), root=root)


@dataclass(frozen=True)
class Package:
    """A package of Debian and the program in it; `title` and `size` are for people."""

    name: str
    title: str
    program: Path
    size: str

    def find(self, *, fetch: bool = True) -> Unpacked:
        """Return the program, fetched when missing and `fetch` is true.

        Raises SetupError, with what to do, when it cannot be had; that is found out once per Python process.
        """
        # Debian installs servers outside an ordinary user's PATH.
        if found := shutil.which(self.program.name, path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"):
            return Unpacked(Path(found))
        kept = cache_dir() / self.cached_name()
        if kept.is_dir():
            return Unpacked(kept / self.program, kept)
        if not fetch:
            raise SetupError(f"no {self.title} on this machine; run `python -m devcluster setup`")
        outcome = fetched(self, kept)
        if isinstance(outcome, str):
            raise SetupError(outcome)
        return outcome

    def cached_name(self) -> str:
        """Return the name in the cache: libraries are those of one release, and a home may be shared by several."""
        try:
            release = platform.freedesktop_os_release()
        except OSError:
            release = {}
        parts = [self.name, release.get("ID", "any"), release.get("VERSION_ID", ""), platform.machine()]
        return "-".join(filter(None, parts))


@cache
def fetched(package: Package, kept: Path) -> Unpacked | str:
    """Return the program, fetched into the cache, or why that cannot be."""
    try:
        if missing := [each for each in ("apt-get", "apt-cache", "dpkg-deb", "ldd") if shutil.which(each) is None]:
            raise SetupError(f"this machine has no {missing[0]} to get it with")
        filled(kept.name, lambda folder: _fetch(package, folder))
    except SetupError as error:
        # Of apt's pages the line that says it: the reason goes into a test's report.
        said = [line for line in str(error).splitlines() if line.startswith("E: ")] or [str(error)]
        reason = f"{package.title} is not to be had here, install it: {said[0].removeprefix('E: ')}"
        say(reason)
        return reason
    return Unpacked(kept / package.program, kept)


def _fetch(package: Package, folder: Path) -> None:
    say(f"fetching {package.title} ({package.size}, perhaps 15 MB of package lists) once…")
    # The machine's own lists first; in container images they are empty, elsewhere they may be too old.
    try:
        _download(package, folder, _SYSTEM_LISTS)
    except SetupError:
        _download(package, folder, None)


def _download(package: Package, folder: Path, lists: str | None) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        configuration = write_configuration(base, lists)
        no_lists: SetupError | None = None
        if lists is None:
            # One source of several that is gone makes all of it fail, while the lists of the others are there.
            try:
                run("fetching package lists", ["apt-get", "-q", "-c", str(configuration), "update"], timeout=180)
            except SetupError as error:
                no_lists = error
        try:
            _take(package, folder, base, configuration)
        except SetupError as error:
            raise no_lists or error from None


def _take(package: Package, folder: Path, base: Path, configuration: Path) -> None:
    """Put the package, and of the libraries it needs those that the machine has not, into the folder."""
    wanted, taken = [package.name], set[str]()
    for _ in range(_ROUNDS):
        taken.update(wanted)
        command = ["apt-get", "-q", "-c", str(configuration), "download", *wanted]
        run(f"fetching {', '.join(wanted)}", command, cwd=base, timeout=180)
        for archive in base.glob("*.deb"):
            run(f"unpacking {archive.name}", ["dpkg-deb", "-x", str(archive), str(folder)], timeout=60)
            archive.unlink()
        lacking = _lacking(package, folder)
        if not lacking:
            return
        found = {name for each in wanted for name in _libraries_of(each, configuration)}
        wanted = sorted(found - taken)
        if not wanted:
            break
    raise SetupError(f"no package of this machine's release has {', '.join(lacking)}, which {package.title} needs")


def write_configuration(base: Path, lists: str | None) -> Path:
    """Write what makes apt work below `base` alone, with the package lists of that folder or, for None, with its own.

    Returns the file's path, for `apt-get -c`.
    """
    folders = {name: base / name for name in ("state", "cache", "log")}
    for needed in ("state/lists/partial", "cache/archives/partial", "log"):
        (base / needed).mkdir(parents=True, exist_ok=True)
    path = base / "apt.conf"
    path.write_text(_CONFIGURATION.format(**folders, lists=lists or "lists/"))
    return path


def _lacking(package: Package, folder: Path) -> list[str]:
    """Return the shared libraries that are neither on the machine nor below the folder."""
    libraries = os.pathsep.join(map(str, _library_folders(folder)))
    program = folder / package.program
    if not program.is_file():
        raise SetupError(f"the package {package.name} holds no {package.program}")
    said = _said(["ldd", str(program)], {"LD_LIBRARY_PATH": libraries})
    return sorted(set(re.findall(r"^\s*(\S+) => not found", said, re.MULTILINE)))


def _libraries_of(package: str, configuration: Path) -> Iterator[str]:
    """Yield the library packages that a package needs and the machine has not, of alternatives the first."""
    said = _said(["apt-cache", "-c", str(configuration), "depends", "--important", package], {})
    alternative = False
    for mark, name in re.findall(r"^ ([ |])(?:Pre)?Depends: ([^\s<]\S*)", said, re.MULTILINE):
        if not alternative and name.startswith("lib") and not _is_installed(name):
            yield name
        alternative = mark == "|"


def _is_installed(package: str) -> bool:
    return _said(["dpkg-query", "-W", "-f=${db:Status-Status} ", package], {}).startswith("installed")


def _said(command: list[str], env: dict[str, str]) -> str:
    try:
        answer = subprocess.run(
            command, env=os.environ | {"LC_ALL": "C"} | env, capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SetupError(f"{command[0]}: {type(error).__name__}") from error
    return answer.stdout


def _library_folders(root: Path) -> list[Path]:
    return sorted({path.parent for path in root.glob("**/lib*.so*")})
