"""Templates of data folders: one for a server's programs wherever they run from, and none kept for ever."""

import os
import shutil
from pathlib import Path

import pytest

from devcluster.cache import cache_dir, drop_unused, used
from devcluster.postgres_data import new_data_folder
from devcluster.postgres_programs import Installation, find_postgres
from devcluster.processes import drop_folder, run_folder


@pytest.fixture(scope="module")
def programs() -> Installation:
    return find_postgres(16)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CIPHER_DEV_CACHE", str(tmp_path))
    return cache_dir()


def templates(cache: Path) -> list[str]:
    return [folder.name for folder in cache.glob("pgdata-*") if folder.is_dir()]


def make(installation: Installation) -> list[str]:
    """Make a data folder and return the files in it of its databases."""
    folder = run_folder("postgres")
    new_data_folder(installation, folder / "data", superuser="postgres", password="p", initdb_args=(), keep=True)
    files = [file.name for file in (folder / "data").glob("base/*/*")]
    drop_folder(folder)
    return files


def test_programs_that_were_moved_have_the_template_of_those_that_were_not(programs: Installation, cache: Path) -> None:
    elsewhere = run_folder("programs", data=False)
    shutil.copytree(programs.root, elsewhere / "root", symlinks=True)
    make(programs)
    made = templates(cache)
    make(programs.moved(elsewhere / "root"))
    assert templates(cache) == made and len(made) == 1


def test_no_map_is_copied(programs: Installation, cache: Path) -> None:
    assert [name for name in make(programs) if name.endswith(("_fsm", "_vm"))] == []


def test_what_is_used_is_kept_and_what_is_not_goes(cache: Path) -> None:
    for name in ("pgdata-old", "pgdata-used", "programs-old"):
        (cache / name).mkdir()
        os.utime(cache / name, (0, 0))
    used(cache / "pgdata-used")
    drop_unused("pgdata-", 60.0)
    assert sorted(folder.name for folder in cache.iterdir()) == ["pgdata-used", "programs-old"]
