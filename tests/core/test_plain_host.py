"""A host in the spec, beside a Secret that holds a login alone: what goes before what, and what is refused."""

from dataclasses import replace

import pytest

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import DEFAULT_KEYS, Connection, SSLMode
from cipher_operator.core.connection.admin import Password, read_admin_connection

CANARY = "s3cr3t"
URL = f"postgres://admin:{CANARY}@db.example.com:5433/app".encode()
SPEC = Connection("pg-admin", DEFAULT_KEYS, None, None)
LOGIN = {"STORAGE_DATABASE_USER": b"admin", "STORAGE_DATABASE_PASSWORD": CANARY.encode()}
PLAIN = replace(SPEC, host="plain.example.com", port=6432, database="app")


@pytest.mark.parametrize(
    "besides",
    [
        {},
        {"STORAGE_DATABASE_HOST": b"db.example.com"},
        {"CIPHER_PG_URL": URL},
        {"CIPHER_PG_URL": b"nonsense"},
        {"STORAGE_DATABASE_PORT": b"1"},
    ],
    ids=["the login alone", "another host", "a URL", "what is no URL", "another port"],
)
def test_host_port_and_database_of_the_spec_go_before_the_secret(besides: dict[str, bytes]) -> None:
    admin = read_admin_connection(besides | LOGIN, PLAIN, None)
    assert (admin.host, admin.port, admin.user, admin.database) == ("plain.example.com", 6432, "admin", "app")
    assert (admin.password, admin.ssl_mode, admin.warnings) == (Password(CANARY), SSLMode.REQUIRE, ())


def test_what_the_spec_does_not_say_beside_the_host_is_in_the_secret() -> None:
    host = replace(SPEC, host="plain.example.com")
    assert read_admin_connection(LOGIN, host, None).port == 5432
    data = LOGIN | {
        "STORAGE_DATABASE_PORT": b"6000",
        "STORAGE_DATABASE_NAME": b"other",
        "STORAGE_DATABASE_SSL": b"false",
    }
    admin = read_admin_connection(data, host, None)
    assert (admin.port, admin.database, admin.ssl_mode) == (6000, "other", SSLMode.DISABLE)


def test_a_host_of_the_spec_may_be_any_address() -> None:
    assert read_admin_connection(LOGIN, replace(SPEC, host="2001:DB8::1"), None).host == "2001:db8::1"


# An object stored under another schema may hold anything.
NOT_IN_SPEC = [
    ({"host": "db:5432"}, "`spec.connection.host` has a port behind it"),
    ({"host": "/tmp"}, "`spec.connection.host` is a path"),
    ({"host": "a,b"}, "`spec.connection.host` lists several hosts"),
    ({"host": f"postgresql://u:{CANARY}@h/d"}, "`spec.connection.host` is not a host name"),
    ({"port": 0}, "`spec.connection.port` must be a whole number from 1 to 65535"),
    ({"port": -1}, "`spec.connection.port` must be a whole number from 1 to 65535"),
    ({"port": 65_536}, "`spec.connection.port` must be a whole number from 1 to 65535"),
    ({"database": "template0"}, "`spec.connection.database` names the database `template0`"),
    ({"database": "_supabase"}, "`spec.connection.database` names the database `_supabase`"),
    ({"database": "d" * 64}, "`spec.connection.database` names a database that is longer"),
]


@pytest.mark.parametrize(("changes", "said"), NOT_IN_SPEC, ids=[str(row[0])[:40] for row in NOT_IN_SPEC])
def test_a_field_of_the_spec_is_refused_by_its_name(changes: dict[str, object], said: str) -> None:
    with pytest.raises(Failure) as caught:
        read_admin_connection(LOGIN, replace(PLAIN, **changes), None)  # type: ignore[arg-type]
    assert (caught.value.reason, caught.value.stage) == (Reason.INVALID_SPEC, ConditionType.CONNECTED)
    assert caught.value.message.startswith(said)
    assert CANARY not in caught.value.message


def test_with_a_host_the_login_is_what_must_be_there() -> None:
    with pytest.raises(Failure) as caught:
        read_admin_connection({"CIPHER_PG_URL": URL}, PLAIN, None)
    assert caught.value.reason is Reason.SECRET_KEY_MISSING
    assert "With `spec.connection.host` the keys `STORAGE_DATABASE_USER` and" in caught.value.message
    assert "the URL in `CIPHER_PG_URL` is not read" in caught.value.message
