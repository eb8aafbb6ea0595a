"""What a tenant reads: no remedy that only an administrator can carry out, no name by which the operator gets in."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import cipher_operator
from cipher_operator.api.choices import SSLMode
from cipher_operator.api.failures import STAGES, ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import Tenant, parse_spec
from cipher_operator.core import discretion
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.connection.password import Password
from cipher_operator.core.desired import Desired
from cipher_operator.core.door import check_publishable
from cipher_operator.core.marker import Identity
from cipher_operator.core.naming import database_name
from cipher_operator.core.observed import Admin, Database, Observed, Role, Server
from cipher_operator.core.orders import Orders
from cipher_operator.core.ownership import judge
from cipher_operator.core.plan.fitness import fitness_warnings, refuse_unfit

PACKAGE = Path(cipher_operator.__file__).parent
ADMINISTRATORS = re.compile(
    r"connection Secret|connection URL|`spec\.connection\.(?!serverRef)|\bsecretRef|administrator|superuser"
    r"|admin login|pg_hba|the Secret back"
)
"""What a tenant has not, is not, or cannot set."""


def texts() -> Iterator[tuple[str, str]]:
    """Yield the module and the text of all string literals; what is filled in is '…'."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                yield path.name, "".join(parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path.name, node.value


@cache
def for_administrators() -> list[str]:
    """Return those that name what only an administrator has."""
    return sorted({text for _, text in texts() if ADMINISTRATORS.search(text)})


MADE_FOR_TENANTS = {Reason.LIMIT_EXCEEDED, Reason.SERVER_NOT_AVAILABLE}


def test_there_are_such_texts() -> None:
    assert any("Point the connection Secret at" in text for text in for_administrators())


@pytest.mark.parametrize("reason", sorted(discretion.OWN | discretion.OF_THE_LOGIN | {Reason.UNKNOWN}))
def test_no_text_of_the_operator_sends_a_tenant_to_what_he_has_not(reason: Reason) -> None:
    if reason in MADE_FOR_TENANTS:
        return
    for text in for_administrators():
        for stage in STAGES:
            told = discretion.discreet(Failure(reason, text, stage=stage), "prod").message
            assert not ADMINISTRATORS.search(told), (stage, told)


def test_what_is_made_for_tenants_needs_no_other_words() -> None:
    found = [text for module, text in texts() if module == "tenancy.py" and ADMINISTRATORS.search(text)]
    assert [text for text in found if not text.startswith("What a storage may")] == []


DESIRED = Desired(
    Identity("instance-1", "ns", "chat", "uid-1"), "ns_chat_0a1b2c3d", True, "public", "app", shared=False
)
ADMIN = Admin("boss", superuser=False, createrole=True, createdb=True)
NOTHING = frozenset[str]()
DATABASE = Database("boss", True, True, True, True, NOTHING, NOTHING, NOTHING)
OWNER = Role("app_owner", False, False, -1, True, False, None, True, True, True, True, {})
READY = Orders(established=True)


def tenant(*, adoption: bool = False) -> Desired:
    return replace(DESIRED, tenant=Tenant("prod", adoption=adoption))


def seen(database: Database | None = DATABASE, **changes: Any) -> Observed:
    return replace(Observed(Server(160_000, "postgres", False, ADMIN), {}, database, None), **changes)


def way(host: str = "10.0.0.1", mode: SSLMode = SSLMode.REQUIRE) -> AdminConnection:
    return AdminConnection(host, 5432, "boss", Password("pw"), "postgres", mode)


def spec(**changes: Any) -> Any:
    given = {"connection": {"serverRef": {"name": "prod"}}, **changes}
    return replace(parse_spec("ns", "chat", given), tenant=Tenant("prod"))


ASK = "whoever runs CipherServer 'prod'"
TOLD: dict[str, tuple[Callable[[], object], Reason, str]] = {
    "the database is gone": (
        lambda: judge(tenant(), READY, seen(None)),
        Reason.DATABASE_LOST,
        f"Restore the data, or have {ASK} point it at the right server; to begin again empty",
    ),
    "the marker is gone": (
        lambda: judge(tenant(), READY, seen(roles={"app_owner": OWNER})),
        Reason.DATABASE_LOST,
        "and `spec.adoptionPolicy: IfUnowned`, which `limits.adoption` of CipherServer 'prod' must allow first",
    ),
    "the marker is gone, and he may adopt": (
        lambda: judge(tenant(adoption=True), READY, seen(roles={"app_owner": OWNER})),
        Reason.DATABASE_LOST,
        "to a new value, and `spec.adoptionPolicy: IfUnowned`",
    ),
    "no database, and none shall be made": (
        lambda: judge(replace(tenant(), create_database=False), Orders(), seen(None)),
        Reason.DATABASE_MISSING,
        "does not exist; set `spec.database.create: true`",
    ),
    "a drop that was interrupted": (
        lambda: refuse_unfit(tenant(), seen(replace(DATABASE, connection_limit=-2)), "app"),
        Reason.DATABASE_LOST,
        f"ask {ASK} to run: DROP DATABASE",
    ),
    "a database that lets nobody in": (
        lambda: refuse_unfit(tenant(), seen(replace(DATABASE, connection_limit=0)), "app"),
        Reason.ACCESS_DENIED,
        f"ask {ASK} to run: ALTER DATABASE",
    ),
    "a setting of all roles": (
        lambda: refuse_unfit(tenant(), seen(settings={"": ("statement_timeout=5",)}), "app"),
        Reason.ACCESS_DENIED,
        f"ask {ASK} to run: ALTER ROLE ALL RESET statement_timeout",
    ),
    "another database": (
        lambda: database_name(spec(database={"name": "b"}), way(), {"database": "a"}),
        Reason.TARGET_CHANGED,
        "`spec.database.name` is now 'b', but this storage lives in 'a'; nothing was written. Set it back",
    ),
    "an address that no certificate has": (
        lambda: check_publishable(way(mode=SSLMode.VERIFY_FULL), spec().app, "a", tenant=True),
        Reason.INVALID_SPEC,
        "Set `spec.app.host` to the name in the certificate, or `spec.app.sslMode: verify-ca`",
    ),
}


@pytest.mark.parametrize(("fail", "reason", "says"), TOLD.values(), ids=TOLD)
def test_what_is_his_is_told_in_words_for_him(fail: Callable[[], object], reason: Reason, says: str) -> None:
    with pytest.raises(Failure) as raised:
        fail()
    told = discretion.discreet(raised.value, "prod", {"10.0.0.1", "boss", "prod-admin"})
    assert told.reason is reason
    assert says in told.message
    assert not ADMINISTRATORS.search(told.message)


SERVERS_WORDS: dict[str, Failure] = {
    "of a session of others": Failure(
        Reason.LOCK_TIMEOUT, "A session that the admin login `boss` may not end", sqlstate="42501"
    ),
    "of what depends on a role": Failure(
        Reason.DELETION_BLOCKED, "others depend on it: privileges for database victim_chat", sqlstate="2BP01"
    ),
    "of a file": Failure(Reason.INVALID_SPEC, "could not open file /srv/victim/x.control", sqlstate="58P01"),
    "of the maintenance database": Failure(
        Reason.DATABASE_MISSING, "The database `victim` does not exist", stage=ConditionType.CONNECTED, sqlstate="3D000"
    ),
}


@pytest.mark.parametrize("failure", SERVERS_WORDS.values(), ids=SERVERS_WORDS)
def test_the_servers_own_words_are_not_for_him(failure: Failure) -> None:
    told = discretion.discreet(failure, "prod")
    assert told.reason is failure.reason
    assert not re.search("boss|victim", told.message)
    assert ASK.removeprefix("w") in told.message


HIDDEN = {
    "a role": ("boss", "role 'boss' owns it"),
    "a role in SQL": ("boss", 'GRANT app TO "boss"'),
    "a host": ("db.example.com", "connected to db.example.com"),
    "a port": (":6432", "connected to db:6432"),
    "a Secret": ("prod-admin", "Secret 'prod-admin' is used"),
}


@pytest.mark.parametrize(("name", "text"), HIDDEN.values(), ids=HIDDEN)
def test_a_text_with_a_hidden_name_is_not_told(name: str, text: str) -> None:
    own = "table 'cipher_store' is open to PUBLIC: REVOKE that grant"
    told = discretion.told_to_tenants((own, text), "prod", {name})
    assert told[0] == own
    assert len(told) == 2
    assert name not in told[1]
    assert ASK in told[1]
    assert discretion.told_to_tenants((own,), "prod", {name}) == (own,)
    failure = Failure(Reason.DATABASE_LOST, text)
    assert name not in discretion.discreet(failure, "prod", {name}).message


def test_words_that_hold_a_hidden_name_are_told() -> None:
    assert discretion.is_discreet(
        "the server is PostgreSQL 19; app 'cipher_app' is ready", {"app", "postgres", "cipher"}
    )


def test_a_tenants_warnings_say_who_runs_the_sql() -> None:
    old = replace(DATABASE, collation=("1", "2"))
    found = tuple(fitness_warnings(tenant(), seen(old, settings={"": ("lock_timeout=200",)}), "app"))
    assert len(found) == 2
    for warning in found:
        assert f"ask {ASK} to run: " in warning
