"""The failure table, of the server's own state: limits, recovery, shutdown, read-only."""

import threading
from collections.abc import Generator
from functools import partial

import psycopg
import pytest

from cipher_operator.api.reasons import Reason
from devcluster import PostgresServer
from devcluster.postgres_data import hand_over
from support.cluster import AT_ONCE, wait_until
from support.failure_table import Record, Scene, Table
from support.played_rows import Outcome

READ_ONLY = Reason.READ_ONLY_SERVER

row = Table()


@pytest.fixture(scope="module")
def operator_flags() -> tuple[str, ...]:
    return ("--interval", "1h", "--connect-timeout", "2s")


# --- limits ---


def limited(scene: Scene, what: str) -> Generator[None]:
    scene.alone()
    scene.ready()
    limit = what.format(admin=scene.admin, database=scene.database)
    scene.sql(f"{limit} CONNECTION LIMIT 0")
    scene.ask()
    yield
    scene.sql(f"{limit} CONNECTION LIMIT -1")


for case, what in (("role's limit", "ALTER ROLE {admin}"), ("database's limit", "ALTER DATABASE {database}")):
    row(case, Reason.TOO_MANY_CONNECTIONS, "limit", sqlstate="53300")(partial(limited, what=what))


def too_many_clients(scene: Scene, superuser: bool) -> Generator[None]:
    """A crowd of others leaves the slots that are reserved for superusers; one of superusers leaves none."""
    server = scene.alone("breakable")
    user = server.superuser if superuser else "crowd"
    if not superuser:
        scene.sql("CREATE ROLE crowd LOGIN PASSWORD 'crowd'")
    scene.ready()
    url = server.admin_url(user=user, password=server.password if superuser else "crowd")
    crowd: list[psycopg.Connection[tuple[object, ...]]] = []
    with pytest.raises(psycopg.OperationalError):
        while True:
            crowd.append(psycopg.connect(url))
    scene.ask()
    yield
    for each in crowd:
        each.close()


for case, superuser in (("only reserved slots left", False), ("too many clients", True)):
    row(case, Reason.TOO_MANY_CONNECTIONS, "close idle clients", sqlstate="53300")(
        partial(too_many_clients, superuser=superuser)
    )


# --- the server's state ---


def recovering(server: PostgresServer, standby: bool) -> None:
    """Restart it as a standby that lets nobody in, or as it was."""
    signal = server.data_path / "standby.signal"
    server.stop()
    if standby:
        signal.touch()
        hand_over(signal)
    else:
        signal.unlink()
    server.settings["hot_standby"] = "off" if standby else "on"
    server.start()


@row("recovery", Reason.SERVER_NOT_READY, "Wait until the server", sqlstate="57P03")
def recovery(scene: Scene) -> Generator[None]:
    server = scene.alone("breakable")
    scene.ready()
    recovering(server, True)
    scene.ask()
    yield
    recovering(server, False)


@row("shutting down", Reason.SERVER_NOT_READY, "Wait until the server", sqlstate="57P03")
def shutting_down(scene: Scene) -> Generator[None]:
    server = scene.alone("breakable")
    scene.ready()
    last = psycopg.connect(server.admin_url())
    server.mark_log()
    stopping = threading.Thread(target=server.stop, args=("smart",))
    stopping.start()
    wait_until(lambda: "received smart shutdown request" in server.log_text(), "the server shuts down", pause=AT_ONCE)
    scene.ask()
    yield
    last.close()
    stopping.join()
    server.start()


@row("standby", READ_ONLY, "writer endpoint")
def standby(scene: Scene) -> Generator[None]:
    primary = scene.alone("breakable")
    scene.ready()
    with primary.standby() as copy:
        scene.secret(port=copy.port)
        yield
        scene.secret()


def read_only(scene: Scene, what: str) -> Generator[None]:
    scene.alone()
    scene.ready()
    setting = what.format(admin=scene.admin, database=scene.database)
    scene.sql(f"{setting} SET default_transaction_read_only = on")
    scene.ask()
    yield
    scene.sql(f"{setting} RESET default_transaction_read_only")


for case, what in (("read-only role", "ALTER ROLE {admin}"), ("read-only database", "ALTER DATABASE {database}")):
    row(case, READ_ONLY, "default_transaction_read_only")(partial(read_only, what=what))


@row("read-only server", READ_ONLY, "free the server's disk")
def read_only_server(scene: Scene) -> Generator[None]:
    server = scene.alone("breakable")
    scene.ready()
    scene.sql("ALTER SYSTEM SET default_transaction_read_only = on")
    scene.sql("SELECT pg_reload_conf()")
    wait_until(lambda: scene.sql("SHOW transaction_read_only") == [("on",)], "the server is read-only")
    scene.ask()
    yield
    with psycopg.connect(server.admin_url(), autocommit=True) as login:
        login.execute("SET default_transaction_read_only = off")
        login.execute("ALTER SYSTEM RESET default_transaction_read_only")
        login.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("case", list(row.rows))
def test_named_within_seconds_and_mended_without_a_restart(
    outcomes: dict[str, Outcome], record_property: Record, case: str
) -> None:
    outcomes[case].tell(record_property)
