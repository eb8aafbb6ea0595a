"""What settings mean, whose wins, and which servers are served: without a server."""

import time
from dataclasses import replace

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.desired import Desired
from cipher_operator.core.marker import Identity
from cipher_operator.core.observed import Admin, Database, Observed, Role, Server
from cipher_operator.core.plan.fitness import fitness_warnings, refuse_unfit, refuse_unsupported
from cipher_operator.core.plan.settings import (
    Place,
    breaks,
    effective,
    ending,
    is_on,
    milliseconds,
    nearest,
    reset_settings,
)
from cipher_operator.core.schema import TABLES
from cipher_operator.core.sql.step import Change

DESIRED = Desired(
    identity=Identity("instance-1", "team", "chat", "uid-1"),
    database="cipher_db",
    create_database=True,
    schema="public",
    user="app",
    shared=False,
)
ADMIN = Admin("cloud_admin", superuser=False, createrole=True, createdb=True)
NOTHING = frozenset[str]()
DATABASE = Database("cloud_admin", True, True, True, True, NOTHING, NOTHING, NOTHING)


def seen(version: int = 160_000, product: str = "PostgreSQL 16.4 on x86_64") -> Observed:
    return Observed(Server(version, "postgres", False, ADMIN, product=product), {}, DATABASE, None)


def role(**settings: tuple[str, ...]) -> Role:
    scopes = {{"everywhere": "", "here": "="}[scope]: values for scope, values in settings.items()}
    return Role("app", True, False, -1, True, False, None, True, True, True, True, scopes)


DURATIONS = {
    "0": 0.0,
    "100": 100.0,
    "5s": 5_000.0,
    " 5 s ": 5_000.0,
    "1min": 60_000.0,
    "0.5min": 30_000.0,
    ".5s": 500.0,
    "500us": 0.5,
    "2h": 7_200_000.0,
    "1d": 86_400_000.0,
    "": None,
    "soon": None,
    "-1": None,
    "5 weeks": None,
}


@pytest.mark.parametrize("value", list(DURATIONS))
def test_a_time_in_milliseconds(value: str) -> None:
    assert milliseconds(value) == DURATIONS[value]


@pytest.mark.parametrize(
    "value", ["1" * 6_000 + "x", "1" + " " * 20_000 + "x", " " * 20_000], ids=["digits", "1", "blank"]
)
def test_a_time_that_is_none_is_soon_known_for_that(value: str) -> None:
    """A server may send millions of them, and says what it likes."""
    begin = time.process_time()
    assert milliseconds(value) is None
    assert time.process_time() - begin < 0.2


@pytest.mark.parametrize(("value", "on"), [("on", True), ("TRUE", True), ("1", True), ("off", False), ("0", False)])
def test_a_switch(value: str, on: bool) -> None:
    assert is_on(value) is on


BREAKING = {
    ("statement_timeout", "50"): True,
    ("statement_timeout", "0"): False,
    ("statement_timeout", "100ms"): False,
    ("lock_timeout", "1ms"): True,
    ("idle_session_timeout", "5ms"): True,
    ("idle_session_timeout", "1h"): False,
    ("transaction_timeout", "99"): True,
    ("default_transaction_read_only", "on"): True,
    ("default_transaction_read_only", "off"): False,
    ("exit_on_error", "yes"): True,
    ("search_path", "elsewhere"): False,
    ("statement_timeout", "nonsense"): False,
}


@pytest.mark.parametrize("setting", list(BREAKING), ids="=".join)
def test_what_breaks_cipher(setting: tuple[str, str]) -> None:
    assert breaks(*setting) is BREAKING[setting]


def test_a_default_is_set_back_to_what_cipher_makes_it() -> None:
    defaults = {column.default for table in TABLES for column in table.columns if column.default is not None}
    assert {f"SET DEFAULT {default}" for default in defaults} == {Change.SET_DEFAULT.value}


def test_the_nearest_place_wins() -> None:
    everywhere = {place: [f"x={place.name}", f"{place.name}=here"] for place in Place}
    found = nearest(everywhere)
    assert found["x"].place is Place.LOGIN_HERE
    assert {found[place.name].place for place in Place} == set(Place)
    del everywhere[Place.LOGIN_HERE], everywhere[Place.LOGIN]
    assert nearest(everywhere)["x"].place is Place.DATABASE


def test_each_place_has_its_end() -> None:
    observed = replace(
        seen(),
        roles={"app": role(everywhere=("a=1",), here=("b=1",))},
        settings={"": ("c=1",), "=": ("d=1", "default_transaction_read_only=on")},
        server=replace(seen().server, settings={"idle_session_timeout": "1h"}),
    )
    ends = {name: ending(setting, DESIRED, "app") for name, setting in effective(observed, "app").items()}
    assert ends == {
        "a": 'ALTER ROLE "app" RESET a',
        "b": 'ALTER ROLE "app" IN DATABASE "cipher_db" RESET b',
        "c": "ALTER ROLE ALL RESET c",
        "d": 'ALTER DATABASE "cipher_db" RESET d',
        "idle_session_timeout": 'ALTER ROLE "app" SET idle_session_timeout = 0',
        "default_transaction_read_only": (
            'BEGIN READ WRITE; ALTER DATABASE "cipher_db" RESET default_transaction_read_only; COMMIT'
        ),
    }


def test_only_what_breaks_is_taken_off_a_login() -> None:
    settings = role(
        everywhere=("work_mem=1GB", "statement_timeout=1", "idle_session_timeout=0"),
        here=("idle_session_timeout=1h", "default_transaction_read_only=on", "lock_timeout=2s"),
    )
    lines = [str(step.statements[0].as_string(None)) for step in reset_settings(settings, "cipher_db")]
    assert lines == [
        'ALTER ROLE "app" RESET "statement_timeout"',
        'ALTER ROLE "app" IN DATABASE "cipher_db" RESET "idle_session_timeout"',
        'ALTER ROLE "app" IN DATABASE "cipher_db" RESET "default_transaction_read_only"',
    ]


SERVERS = {
    (120022, "PostgreSQL 12.22 on x86_64"): "PostgreSQL 12;",
    (90624, "PostgreSQL 9.6.24 on x86_64"): "PostgreSQL 9.6;",
    (80002, "PostgreSQL 8.0.2 on i686, Redshift 1.0.1"): "PostgreSQL 8.0;",
    (130000, "CockroachDB CCL v24.3.1 (x86_64)"): "CockroachDB CCL v24.3.1;",
    (150012, "PostgreSQL 15.12-YB-2025.1 on x86_64"): "YugabyteDB;",
    (140000, "Materialize v0.99"): "Materialize v0.99;",
    (130000, "PostgreSQL 13.0"): None,
    (150002, "PostgreSQL 15.2 (EnterpriseDB EDB Postgres Advanced Server 15.2.0)"): None,
    (189999, "PostgreSQL 18.4"): None,
    (190000, "PostgreSQL 19beta1"): None,
}


@pytest.mark.parametrize("server", list(SERVERS), ids=lambda server: server[1])
def test_which_servers_are_served(server: tuple[int, str]) -> None:
    if (named := SERVERS[server]) is None:
        refuse_unsupported(*server)
        return
    with pytest.raises(Failure, match=named.replace(".", r"\.")) as refused:
        refuse_unsupported(*server)
    assert refused.value.reason is Reason.UNSUPPORTED_SERVER


def test_a_newer_server_works_with_a_warning() -> None:
    newer = seen(190_001, "PostgreSQL 19.1 on x86_64")
    refuse_unfit(DESIRED, newer, "app")
    assert list(fitness_warnings(DESIRED, newer, "app")) == [
        "the server is PostgreSQL 19; the operator is tested with 13 to 18"
    ]
    assert list(fitness_warnings(DESIRED, seen(), "app")) == []


@pytest.mark.parametrize(
    "database",
    [None, DATABASE, replace(DATABASE, encoding="LATIN1"), replace(DATABASE, connection_limit=0)],
    ids=["missing", "as it should be", "another encoding", "no connections"],
)
def test_a_database_is_fit(database: Database | None) -> None:
    observed = replace(seen(), database=database)
    fit = database in {None, DATABASE}
    if fit:
        refuse_unfit(DESIRED, observed, "app")
        return
    with pytest.raises(Failure) as refused:
        refuse_unfit(DESIRED, observed, "app")
    assert refused.value.reason in {Reason.SCHEMA_CONFLICT, Reason.ACCESS_DENIED}
