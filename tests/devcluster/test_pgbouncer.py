"""Where PgBouncer is looked for, with the machine's own apt and a repository in a folder of the test."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devcluster import debian, pgbouncer
from devcluster.cache import cache_dir
from devcluster.longrun import SetupError

needs_apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="this machine has no apt")


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without PgBouncer, and an empty cache."""
    monkeypatch.setenv("CIPHER_DEV_CACHE", str(tmp_path / "cache"))
    which = shutil.which

    def without(name: str, path: str | None = None) -> str | None:
        found = which(name, path=path)
        return None if found and name == "pgbouncer" and not found.startswith(str(tmp_path)) else found

    monkeypatch.setattr(shutil, "which", without)
    debian.fetched.cache_clear()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that makes apt's only source a folder with a package `pgbouncer`, which is a copy of `true`."""

    def make(
        *,
        trusted: bool = True,
        package: str = "pgbouncer",
        program: str = "usr/sbin/pgbouncer",
        altered: bool = False,
        another: str = "",
    ) -> None:
        tree, folder = tmp_path / "tree", tmp_path / "repository"
        (tree / program).parent.mkdir(parents=True)
        shutil.copy2("/bin/true", tree / program)
        control = f"Package: {package}\nVersion: 1.0\nArchitecture: all\nMaintainer: test <t@example.com>\n"
        control += "Description: test\n"
        (tree / "DEBIAN").mkdir()
        (tree / "DEBIAN" / "control").write_text(control)
        folder.mkdir()
        archive = folder / "one.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, archive], check=True, stdout=subprocess.DEVNULL)
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        entry = f"{control}Filename: ./one.deb\nSize: {archive.stat().st_size}\nSHA256: {digest}\n"
        (folder / "Packages").write_text(entry)
        listed = f"{hashlib.sha256(entry.encode()).hexdigest()} {len(entry)} Packages"
        (folder / "Release").write_text(f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n {listed}\n")
        if altered:
            archive.write_bytes(archive.read_bytes()[:-1] + b"x")
        sources = tmp_path / "sources.list"
        sources.write_text(f"deb {'[trusted=yes] ' if trusted else ''}file:{folder} ./\n{another}")
        configuration = tmp_path / "machine.conf"
        configuration.write_text(f'Dir::Etc::sourcelist "{sources}";\nDir::Etc::sourceparts "-";\n')
        monkeypatch.setenv("APT_CONFIG", str(configuration))

    return make


def program_in(folder: Path) -> Path:
    folder.mkdir(parents=True)
    shutil.copy2("/bin/true", folder / "pgbouncer")
    return folder / "pgbouncer"


def test_an_installed_one_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program_in(cache_dir() / pgbouncer.PGBOUNCER.cached_name() / "usr" / "sbin")
    installed = program_in(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    found = pgbouncer.find_pgbouncer()
    assert (found.program, found.root) == (installed, None)
    assert found.reachable() == found


def test_debians_place_outside_the_path_counts_as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    def which(name: str, path: str | None = None) -> str:
        asked.append(path)
        return "/usr/sbin/pgbouncer"

    monkeypatch.setattr(shutil, "which", which)
    monkeypatch.setenv("PATH", "/usr/bin")
    assert pgbouncer.find_pgbouncer(fetch=False).program == Path("/usr/sbin/pgbouncer")
    assert asked == ["/usr/bin:/usr/sbin"]


def test_the_cache_comes_next_and_brings_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APT_CONFIG", "/nowhere")
    kept = cache_dir() / pgbouncer.PGBOUNCER.cached_name()
    program = program_in(kept / "usr" / "sbin")
    libraries = kept / "usr" / "lib" / "machine"
    libraries.mkdir(parents=True)
    (libraries / "libevent.so.1").touch()
    found = pgbouncer.find_pgbouncer()
    assert found.program == program
    assert found.environment()["LD_LIBRARY_PATH"] == str(libraries)
    moved = found.reachable()
    assert subprocess.run([moved.program], env=moved.environment(), check=False).returncode == 0


def test_nothing_is_fetched_unless_asked_for() -> None:
    with pytest.raises(SetupError, match=r"run `python -m devcluster setup`"):
        pgbouncer.find_pgbouncer(fetch=False)
    assert list(cache_dir().iterdir()) == []


@needs_apt
@pytest.mark.parametrize(
    "another", ["", "deb file:/nowhere ./\n"], ids=["the only source", "beside a source that is gone"]
)
def test_packages_come_last_and_stay_in_the_cache(
    repository: Callable[..., None], capfd: pytest.CaptureFixture[str], another: str
) -> None:
    repository(another=another)
    found = pgbouncer.find_pgbouncer()
    assert found.program == cache_dir() / pgbouncer.PGBOUNCER.cached_name() / "usr" / "sbin" / "pgbouncer"
    assert subprocess.run([found.program], env=found.environment(), check=False).returncode == 0
    assert pgbouncer.find_pgbouncer(fetch=False) == found
    assert capfd.readouterr().err.count("fetching PgBouncer") == 1


@needs_apt
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"trusted": False}, "is not signed"),
        ({"altered": True}, "Hash Sum mismatch|unexpected"),
        ({"package": "another"}, "Unable to locate package pgbouncer"),
        ({"program": "usr/bin/other"}, "holds no usr/sbin/pgbouncer"),
    ],
    ids=[
        "a source that nobody signed",
        "not the package that is listed",
        "a release without the package",
        "a package without the program",
    ],
)
def test_what_cannot_be_had_is_said_once(
    repository: Callable[..., None], capfd: pytest.CaptureFixture[str], source: dict[str, Any], said: str
) -> None:
    repository(**source)
    for _ in range(2):
        with pytest.raises(SetupError, match=said):
            pgbouncer.find_pgbouncer()
    assert capfd.readouterr().err.count("is not to be had here") == 1
    assert not (cache_dir() / pgbouncer.PGBOUNCER.cached_name()).exists()


def test_a_machine_without_apt_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="this machine has no apt-get to get it with"):
        pgbouncer.find_pgbouncer()


@needs_apt
def test_two_runs_at_once_fetch_once(repository: Callable[..., None]) -> None:
    repository()
    asked = "import shutil; from devcluster import pgbouncer as p; w = shutil.which; "
    asked += "shutil.which = lambda name, path=None: None if path else w(name); print(p.find_pgbouncer().program)"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    runs = [
        subprocess.Popen([sys.executable, "-c", asked], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert len({out for out, _ in said}) == 1
    assert sum(err.count(b"fetching PgBouncer") for _, err in said) == 1


@needs_apt
def test_apt_writes_below_its_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = tmp_path / "machine.conf"
    machine.write_text('APT::Update::Post-Invoke { "touch /hook"; };\nDPkg::Post-Invoke { "touch /hook"; };\n')
    monkeypatch.setenv("APT_CONFIG", str(machine))
    base = tmp_path / "base"
    for lists in (None, "/var/lib/apt/lists/"):
        configuration = debian.write_configuration(base, lists)
        told = subprocess.run(
            ["apt-config", "-c", configuration, "dump"], capture_output=True, text=True, check=True
        ).stdout
        assert "Invoke" not in told
        settings = dict(line.rstrip(";").split(" ", 1) for line in told.splitlines())
        for name in ("Dir::State", "Dir::Cache", "Dir::Log"):
            assert settings[name].strip('"').startswith(f"{base}/")
        assert settings["Dir::State::lists"].strip('"') == (lists or "lists/")
