"""docs/running: a storage dumped, restored and moved with the commands of the pages, under a real operator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import ControlPlane, PostgresServer
from devcluster.longrun import SetupError
from devcluster.postgres_programs import find_dump_programs
from support.cluster import Namespace, wait_until
from support.pages import REPOSITORY, Shell, blocks
from support.two_clusters import asked, kept, put, works

BACKUP, MOVING, DISASTER = "docs/running/backup.md", "docs/running/moving.md", "docs/running/disaster.md"
DOCS = REPOSITORY / "docs"
BLOCKS = list(blocks())


def block(page: str, part: str) -> str:
    """Return the one block of a page that a reader types and that holds this."""
    found = [each for each in BLOCKS if each.page == page and each.script and part in each.text]
    assert len(found) == 1, f"{page}: {[each.name for each in found]} hold {part}"
    return found[0].text


@pytest.fixture
def new_server() -> Iterator[PostgresServer]:
    """What the provider made: empty, and of a newer major."""
    with PostgresServer(18) as running:
        yield running


def shell_of(
    cluster: ControlPlane,
    namespace: Namespace,
    server: PostgresServer,
    new_server: PostgresServer,
    folder: Path,
    **login: str,
) -> Shell:
    """Return a shell with the programs and the URLs of the pages. Skips where the programs are not to be had."""
    try:
        dump_programs = find_dump_programs()
    except SetupError as error:
        pytest.skip(str(error))
    name = namespace.name.replace("-", "_")
    urls = {
        "ADMIN_URL": server.admin_url(sslmode="disable", **login),
        "DATABASE_URL": server.admin_url(name, sslmode="disable", **login),
        "OLD_URL": server.admin_url(name, sslmode="disable", **login),
        "NEW_ADMIN_URL": new_server.admin_url(sslmode="disable", **login),
        "NEW_DATABASE_URL": new_server.admin_url(name, sslmode="disable", **login),
    }
    programs = {**dump_programs.environment(), "PATH": str(dump_programs.bin)}
    return Shell.at(folder, cluster, namespace.name, acted=False, **{**programs, **urls})


@pytest.fixture
def shell(
    cluster: ControlPlane, namespace: Namespace, server: PostgresServer, new_server: PostgresServer, tmp_path: Path
) -> Shell:
    return shell_of(cluster, namespace, server, new_server, tmp_path)


@pytest.fixture
def database(namespace: Namespace, server: PostgresServer) -> str:
    """A storage in use that is named as in the pages; its database is the test's own."""
    name = namespace.name.replace("-", "_")
    namespace.admin_secret(server)
    namespace.storage("chat", {"database": {"name": name}})
    namespace.wait_ready("chat")
    put(namespace.app_secret("chat")["uri"], "k")
    return name


def pointed(script: str, new_server: PostgresServer, **login: str) -> str:
    """Return a block with the URL of the new server in place of the page's."""
    said = "postgresql://postgres:PASSWORD@restored.example.com:5432/postgres"
    assert said in script
    return script.replace(said, new_server.admin_url(sslmode="disable", **login))


@pytest.mark.usefixtures("operator", "database")
def test_a_dump_of_everything_goes_on_on_another_server(
    namespace: Namespace, shell: Shell, new_server: PostgresServer
) -> None:
    shell.carry_out(block(BACKUP, "pg_dumpall"))
    # The published password is newer than the one in the dump.
    asked(namespace, "chat", "1", "rotate")
    published = namespace.app_secret("chat")
    shell.carry_out(block(BACKUP, '"suspend":true'))
    shell.carry_out(block(BACKUP, "pg_restore"))
    shell.carry_out(pointed(block(BACKUP, '"suspend":false'), new_server))
    shell.carry_out(block(BACKUP, "handledRequests.reconcile"))
    now = namespace.app_secret("chat")
    assert (now["port"], now["password"]) == (str(new_server.port), published["password"])
    assert kept(now["uri"]) == ["k"]
    markers = shell.carry_out(block(DISASTER, "shobj_description"))
    assert namespace.name in {json.loads(line)["ns"] for line in markers.splitlines() if line}


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize("majors", [(13, 16), (16, 18)], ids=["pg13-to-16", "pg16-to-18"])
def test_an_administrator_that_is_no_superuser_restores_what_it_may_and_the_operator_the_rest(
    cluster: ControlPlane, namespace: Namespace, tmp_path: Path, majors: tuple[int, int]
) -> None:
    database, page = namespace.name.replace("-", "_"), (DOCS / "running" / "backup.md").read_text()
    with PostgresServer(majors[0]) as old, PostgresServer(majors[1]) as new:
        for each in (old, new):
            each.execute("CREATE ROLE plain_admin LOGIN CREATEDB CREATEROLE PASSWORD 'plain'")
        shell = shell_of(cluster, namespace, old, new, tmp_path, user="plain_admin", password="plain")
        namespace.admin_secret(old, user="plain_admin", password="plain")
        namespace.storage("chat", {"database": {"name": database}})
        namespace.wait_ready("chat")
        put(namespace.app_secret("chat")["uri"], "k")
        published = namespace.app_secret("chat")

        assert "add `--no-role-passwords` to the first line" in page
        shell.carry_out(block(BACKUP, "pg_dumpall").replace("--globals-only", "--globals-only --no-role-passwords"))
        shell.carry_out(block(BACKUP, '"suspend":true'))
        said = shell.carry_out(f"( {block(BACKUP, 'pg_restore')} ) 2>&1 || test $? = 1")
        for part in ("already exists", "permission denied", "errors ignored on restore"):
            assert part in said and part in page
        shell.carry_out(pointed(block(BACKUP, '"suspend":false'), new, user="plain_admin", password="plain"))
        shell.carry_out(block(BACKUP, "handledRequests.reconcile"))
        now = namespace.app_secret("chat")
        assert (now["port"], now["password"]) == (str(new.port), published["password"])
        assert kept(now["uri"]) == ["k"]
        owners = new.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE tablename ~ '^cipher'", database=database)
        assert owners == [(f"{now['username'].removesuffix('_b')}_owner",)]


@pytest.mark.usefixtures("operator")
def test_a_dump_without_roles_is_taken_over_and_outlives_its_storage(
    namespace: Namespace, shell: Shell, new_server: PostgresServer, database: str
) -> None:
    password = namespace.app_secret("chat")["password"]
    shell.carry_out(block(MOVING, "pg_restore").replace("cipher_db", database))
    shell.carry_out(pointed(block(BACKUP, '"suspend":false'), new_server))
    namespace.wait_reason("chat", "DatabaseLost")
    shell.carry_out(block(MOVING, "handledRequests.recreate"))
    shell.carry_out(block(MOVING, '"adoptionPolicy":"Never"'))
    namespace.wait_ready("chat")
    secret = namespace.app_secret("chat")
    assert (secret["port"], secret["password"]) == (str(new_server.port), password)
    assert kept(secret["uri"]) == ["k"]

    uri = shell.carry_out(block(MOVING, "--cascade=orphan")).splitlines()[-1]
    assert uri == secret["uri"] and works(uri)
    left = namespace.get("secrets", "chat-cipher")
    assert left is not None and "ownerReferences" not in left["metadata"]
    namespace.storage("chat", {"database": {"name": database}})
    namespace.wait_ready("chat")
    assert namespace.app_secret("chat")["uri"] == uri, "the storage of that name took the Secret up again"
    assert kept(uri) == ["k"]


@pytest.mark.usefixtures("operator")
def test_a_held_secret_is_said_at_once(namespace: Namespace, server: PostgresServer) -> None:
    """Whoever waits at `kubectl delete secret` reads why, without a check that comes by itself."""
    namespace.admin_secret(server)
    name = namespace.name.replace("-", "_")
    namespace.storage("chat", {"database": {"name": name}, "deletionPolicy": "Delete", "interval": "0s"})
    namespace.wait_ready("chat")
    namespace.delete("secrets", "pg-admin")
    wait_until(lambda: "SecretHeld" in namespace.events("chat"), "the storage says what holds the Secret")
    assert "is being deleted and is held" in namespace.condition("chat")["message"]
    namespace.delete("cipherstorages", "chat")
    wait_until(lambda: namespace.get("secrets", "pg-admin") is None, "it goes with the storage")
