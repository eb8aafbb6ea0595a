"""A real PgBouncer at the operator's door or at the pods': what keeps Cipher from working there is not Ready, and the
message says what to change at the pooler. What it says once stands until it says otherwise."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cipher_operator.api.failures import Failure
from cipher_operator.api.names import PLURAL
from cipher_operator.api.shape import FIELDS
from cipher_operator.postgres.error_table import SQLSTATES, Meaning
from cipher_operator.postgres.error_texts import TEXTS
from cipher_operator.reconcile import doors
from cipher_operator.reconcile.conclude import GAP_SECONDS
from cipher_operator.reconcile.prove import GAPS
from devcluster.longrun import SetupError
from devcluster.pgbouncer import find_pgbouncer
from support.cipher_client import work_as_cipher
from support.poolers import Mode, Pooler
from support.runs import Runs

READY = ("True", "Ready")
DENIED, REFUSED = ("False", "AccessDenied"), ("False", "AuthenticationFailed")
NO_ROWS = "SELECT usename, passwd FROM pg_shadow WHERE usename = $1 AND false"


@pytest.fixture(scope="module", autouse=True)
def pgbouncer() -> None:
    try:
        find_pgbouncer()
    except SetupError as error:
        pytest.skip(str(error))


@dataclass(frozen=True)
class Row:
    """How the pooler is set up, what Ready says, and words of its message."""

    setup: dict[str, Any]
    says: tuple[str, str]
    words: tuple[str, ...] = ()
    doors: tuple[str, ...] = ("the operator's", "the pods'")
    orders: tuple[str, ...] = field(default=())
    """Commands at its console, once the storage is Ready."""


ROWS = {
    "transaction mode": Row({"mode": "transaction"}, READY),
    "session mode": Row({"mode": "session"}, READY),
    "session mode, nothing reset": Row({"mode": "session", "settings": {"server_reset_query": ""}}, READY),
    "statement mode": Row({"mode": "statement"}, DENIED, ("takes no transaction", "`pool_mode=transaction`")),
    "another database behind the name": Row(
        {"mode": "transaction", "entry": "dbname=postgres"},
        DENIED,
        ("and 'postgres' is what answers", "`dbname` in section [databases]"),
        ("the pods'",),
    ),
    "a search_path of its own": Row(
        {"mode": "transaction", "entry": "connect_query='SET search_path = pg_catalog'"},
        DENIED,
        ("works in schema 'pg_catalog'", "(PgBouncer: `connect_query`"),
    ),
    "a disabled database": Row(
        {"mode": "transaction"}, DENIED, ("has disabled the database", "ENABLE"), orders=("DISABLE {database}",)
    ),
    "its own query fails": Row(
        {"mode": "transaction", "auth_query": "SELECT 1 FROM nowhere WHERE 'x' = $1"},
        DENIED,
        ("cannot look up the password", "`auth_query`"),
    ),
    "it knows no such login": Row(
        {"mode": "transaction", "auth_query": NO_ROWS}, REFUSED, ("in them (PgBouncer: `auth_query`",)
    ),
}
CASES = [pytest.param(row, door, id=f"{name}, at {door} door") for name, row in ROWS.items() for door in row.doors]


SAID = dict.fromkeys((*SQLSTATES.values(), *(meaning for _, meaning in TEXTS)))


@pytest.mark.parametrize("said", SAID, ids=lambda said: said.happened[:40])
def test_what_is_said_at_the_pods_door_names_fields_that_there_are(said: Meaning) -> None:
    failure = doors._of_door(
        Failure(said.reason, f"{said.happened} {said.remedy or said.reason.advice}"), "at the door"
    )
    named = re.findall(r"`spec\.(app|connection)\.(\w+)", failure.message)
    fields = FIELDS[PLURAL]
    assert [field for parent, field in named if field not in fields[f"spec.{parent}"].split()] == []
    own = set(fields["spec.app"].split())
    assert [field for parent, field in named if parent == "connection" and field in own] == [], "the door has its own"


@contextmanager
def behind(runs: Runs, door: str, mode: Mode = "transaction", **setup: Any) -> Iterator[Pooler]:
    """Have the storage `chat` behind a pooler."""
    entries = f"{runs.database} = host={runs.server.host} port={runs.server.port} {setup.pop('entry', '')}\n*"
    with Pooler(runs.server, mode, databases=entries, **setup) as pooler:
        if door == "the pods'":
            runs.admin_secret()
            runs.storage(app={"host": pooler.host, "port": pooler.port})
        else:
            url = runs.server.admin_url(sslmode="disable")
            runs.api.secret("pg-admin", {"CIPHER_PG_URL": url.replace(f":{runs.server.port}/", f":{pooler.port}/")})
            runs.storage()
        yield pooler


def work(runs: Runs, pooler: Pooler) -> None:
    """Do what Cipher does, with its login, through the pooler."""
    login = runs.secret()
    way = make_conninfo(login["uri"], host=pooler.host, port=pooler.port)
    with psycopg.connect(way, autocommit=True, prepare_threshold=None) as app:
        work_as_cipher(app)


@pytest.mark.parametrize(("row", "door"), CASES)
async def test_what_the_pooler_does_to_cipher_is_said(runs: Runs, row: Row, door: str) -> None:
    with behind(runs, door, **row.setup) as pooler:
        if row.orders:
            await runs.until(lambda: runs.says() == READY)
            for order in row.orders:
                pooler.order(order.format(database=runs.database))
        for number in range(2):
            runs.ask(value=str(number))
            await runs.run()
            assert runs.says() == row.says, runs.message()
            assert [word for word in row.words if word not in runs.message()] == [], runs.message()
            assert ("sets the password again" in runs.message()) == (row.says == REFUSED and door != "the pods'")
        if row.says == READY:
            work(runs, pooler)
        elif not row.orders:
            assert runs.api.data("chat-cipher") is None


async def test_a_door_that_refused_the_login_is_not_ready_because_it_falls_silent(runs: Runs) -> None:
    """The pooler lets anybody in and the server not, and then it has its next clients wait: `server_login_retry`."""
    with behind(runs, "the pods'", settings={"auth_type": "trust"}):
        await runs.run()
        assert runs.says() == REFUSED
        for number in range(GAPS + 1):
            runs.ask(value=str(number))
            following = await runs.run()
            assert runs.says() == REFUSED, runs.message()
        assert following.after is not None and following.after > 10 * GAP_SECONDS, "it comes to rest"
        assert runs.api.data("chat-cipher") is None


async def test_a_pooler_that_is_paused_is_no_closed_firewall(runs: Runs) -> None:
    with behind(runs, "the operator's") as pooler:
        pooler.order("PAUSE")
        await runs.run()
        assert runs.says() == ("False", "ConnectTimeout")
        assert "a pooler that is paused or does not reach its server" in runs.message()
        assert "firewall" not in runs.message()
        pooler.order("RESUME")
        await runs.until(lambda: runs.says() == READY)


async def test_nobody_at_the_door_lifts_nothing_and_somebody_does(runs: Runs) -> None:
    with behind(runs, "the pods'", auth_query=NO_ROWS):
        await runs.run()
        assert runs.says() == REFUSED
    for number in range(2):
        runs.ask(value=str(number))
        await runs.run()
        assert runs.says() == REFUSED, "that nobody is there now says nothing of the login"
    runs.spec(app={"host": None, "port": None})
    await runs.run()
    assert runs.says() == READY
