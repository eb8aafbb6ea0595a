"""A disk that is really full: said with the file that found no room, nothing half-done, and it goes on by itself."""

from collections.abc import AsyncIterator, Iterator

import pytest

from devcluster import PostgresServer
from support.runs import Runs
from support.small_disk import SmallDisk, small_disk

FULL, READY = ("False", "DiskFull"), ("True", "Ready")


@pytest.fixture(scope="module", params=[16, 18], ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest, disk: SmallDisk) -> Iterator[PostgresServer]:
    """What is made of template0 is on the small disk, as that is; the WAL is not."""
    with PostgresServer(request.param) as running:
        running.execute(f"CREATE TABLESPACE small LOCATION '{disk.path}'")
        running.execute("ALTER DATABASE template0 SET TABLESPACE small")
        yield running
    disk.free()


@pytest.fixture(scope="module")
def disk() -> Iterator[SmallDisk]:
    with small_disk(40) as mounted:
        yield mounted


@pytest.fixture
async def runs(server: PostgresServer) -> AsyncIterator[Runs]:
    made = Runs(server, "full")
    yield made
    await made.close()


def forget_the_relations(runs: Runs, disk: SmallDisk) -> None:
    """The next login to the database writes its relations down anew, as after each change of a catalogue."""
    ((oid,),) = runs.sql("SELECT oid FROM pg_database WHERE datname = 'full'")
    (file,) = disk.path.glob(f"PG_*/{oid}/pg_internal.init")
    file.unlink()


async def test_from_the_first_run_to_the_last(runs: Runs, disk: SmallDisk) -> None:
    runs.admin_secret()
    runs.storage(deletionPolicy="Delete")

    async def full() -> None:
        disk.fill()
        for _ in range(2):
            await runs.run()
            assert runs.says() == FULL, runs.message()
            assert runs.message().count("could not ") == 1 and "more disk space" in runs.message(), runs.message()

    async def room() -> None:
        disk.free()
        await runs.until(lambda: runs.says() == READY)
        runs.app().close()

    await full()
    assert runs.api.data("chat-cipher") is None
    await room()
    # In a session of the published login.
    runs.ask("reconcile", "proof")
    await full()
    await room()
    # While the administrator logs in.
    forget_the_relations(runs, disk)
    await full()
    await room()
    disk.fill()
    runs.api.delete("cipherstorages", "chat")
    await runs.run()
    disk.free()
    assert runs.api.read("cipherstorages", "chat") is None, runs.message()
    assert runs.sql("SELECT FROM pg_roles WHERE rolname ~ '^app_full'") == []
