"""The app Secret: golden files for the whole of it, and both URLs read back by those who will read them."""

import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import App, CAKind, CARef, SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password
from cipher_operator.core.connection.url import parse_url
from cipher_operator.core.secret import (
    PUBLIC_CA_BUNDLE,
    AppCredentials,
    AppEndpoint,
    app_door,
    app_login,
    app_secret_data,
    check_password,
    check_publishable,
    read_app_secret,
)
from support.certificates import certificate_of_shape
from support.golden import check_golden
from support.names_in_urls import DATABASE_NAMES, LOGINS, TEXT

GOLDEN = Path(__file__).parent / "golden"
CA = "-----BEGIN CERTIFICATE-----\nMIH…\n-----END CERTIFICATE-----\n"
ADMIN = AdminConnection("db.example.com", 5432, "admin", Password("adm1n"), "postgres", SSLMode.REQUIRE)
POOLER = replace(ADMIN, host="aws-0-eu-west-1.pooler.supabase.com", port=6543, user="postgres.abcdefghij")
APP = App("chat-cipher", {}, {}, None, None, None, None)
POOLER_CA = CARef(CAKind.CONFIG_MAP, "pooler-ca", "ca.crt")
POOLER_PEM = certificate_of_shape(200)
LOGIN = AppCredentials("cipher_user", Password("p@ss/word?#:%"))
ENDPOINT = AppEndpoint("h", 5432, "d", SSLMode.REQUIRE)

CASES: dict[str, tuple[AdminConnection, App, bool]] = {
    "disable": (replace(ADMIN, ssl_mode=SSLMode.DISABLE), APP, False),
    "allow-plain": (replace(ADMIN, ssl_mode=SSLMode.ALLOW), APP, False),
    "allow-tls": (replace(ADMIN, ssl_mode=SSLMode.ALLOW), APP, True),
    "prefer-plain": (replace(ADMIN, ssl_mode=SSLMode.PREFER), APP, False),
    "prefer-tls": (replace(ADMIN, ssl_mode=SSLMode.PREFER), APP, True),
    "require": (ADMIN, APP, True),
    "verify-ca": (replace(ADMIN, ssl_mode=SSLMode.VERIFY_CA, ca=CA), replace(APP, ca_path="/etc/cipher/ca.crt"), True),
    "verify-full-private-ca": (
        replace(ADMIN, ssl_mode=SSLMode.VERIFY_FULL, ca=CA),
        replace(APP, ca_path="/etc/cipher/ca.crt"),
        True,
    ),
    "verify-full-public-ca": (replace(ADMIN, ssl_mode=SSLMode.VERIFY_FULL), APP, True),
    "max-connections-from-spec": (replace(ADMIN, max_connections=5), replace(APP, max_connections=10), True),
    "max-connections-from-url": (replace(ADMIN, max_connections=5), APP, True),
    "channel-binding-disabled": (replace(ADMIN, channel_binding="disable"), APP, True),
    "channel-binding-required": (replace(ADMIN, channel_binding="require"), APP, True),
    "one-of-several-servers": (replace(ADMIN, target_session_attrs="read-write"), APP, True),
    "door-without-tls": (
        replace(ADMIN, ssl_mode=SSLMode.VERIFY_FULL, ca=CA, channel_binding="require", target_session_attrs="primary"),
        replace(APP, host="127.0.0.1", port=6432, ssl_mode=SSLMode.DISABLE),
        True,
    ),
    "door-with-a-ca-of-its-own": (
        replace(ADMIN, ssl_mode=SSLMode.VERIFY_FULL, ca=CA),
        replace(APP, host="pooler.svc", ssl_mode=SSLMode.VERIFY_CA, ca=POOLER_CA, ca_path="/etc/cipher/pooler.crt"),
        True,
    ),
    "other-door": (ADMIN, replace(APP, host="pgbouncer.default.svc", port=6432), True),
    "ipv6": (replace(ADMIN, host="2001:db8::1"), APP, True),
    "supabase-pooler": (POOLER, APP, True),
    "supabase-pods-through-pooler": (
        replace(ADMIN, host="db.abcdefghij.supabase.co"),
        replace(APP, host=POOLER.host, port=6543),
        True,
    ),
    "supabase-pods-direct": (POOLER, replace(APP, host="db.abcdefghij.supabase.co", port=5432), True),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    admin, app, ssl_in_use = CASES[name]
    data = app_secret_data(app_door(admin, app, "cipher_db", ssl_in_use=ssl_in_use, ca=POOLER_PEM), LOGIN).data
    check_golden(f"app-secret-{name}.json", json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def test_no_golden_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("app-secret-*.json")} == {f"app-secret-{name}" for name in CASES}


def test_keys_are_the_contract() -> None:
    keys = list(app_secret_data(replace(ENDPOINT, ca=CA), LOGIN).data)
    assert keys == [
        "CIPHER_PG_URL",
        "STORAGE_DATABASE_HOST",
        "STORAGE_DATABASE_PORT",
        "STORAGE_DATABASE_NAME",
        "STORAGE_DATABASE_USER",
        "STORAGE_DATABASE_PASSWORD",
        "STORAGE_DATABASE_SSL",
        "type",
        "provider",
        "host",
        "port",
        "database",
        "username",
        "password",
        "uri",
        "certificates",
    ]


# sslMode, caPath -> query for node-pg (8.16 and 8.23), query for libpq
DIALECTS = [
    (SSLMode.DISABLE, None, "sslmode=disable", "sslmode=disable"),
    (SSLMode.REQUIRE, None, "sslmode=require&uselibpqcompat=true", "sslmode=require"),
    (SSLMode.REQUIRE, "/ca", "sslmode=require&uselibpqcompat=true", "sslmode=require"),
    (
        SSLMode.VERIFY_CA,
        "/a b/c&d.crt",
        "sslmode=verify-ca&sslrootcert=/a%20b/c%26d.crt&uselibpqcompat=true",
        "sslmode=verify-ca&sslrootcert=/a%20b/c%26d.crt",
    ),
    (
        SSLMode.VERIFY_CA,
        None,
        f"sslmode=verify-ca&sslrootcert={PUBLIC_CA_BUNDLE}&uselibpqcompat=true",
        f"sslmode=verify-ca&sslrootcert={PUBLIC_CA_BUNDLE}",
    ),
    (SSLMode.VERIFY_FULL, "/ca", "sslmode=verify-full&sslrootcert=/ca", "sslmode=verify-full&sslrootcert=/ca"),
    (SSLMode.VERIFY_FULL, None, "sslmode=verify-full", f"sslmode=verify-full&sslrootcert={PUBLIC_CA_BUNDLE}"),
]


@pytest.mark.parametrize(("mode", "path", "node", "libpq"), DIALECTS)
@pytest.mark.parametrize("pool", [None, 10])
def test_dialects(mode: SSLMode, path: str | None, node: str, libpq: str, pool: int | None) -> None:
    data = app_secret_data(replace(ENDPOINT, tls=mode, ca_path=path, max_connections=pool), LOGIN).data
    assert data["CIPHER_PG_URL"].partition("?")[2] == node + ("&max_connections=10" if pool else "")
    assert data["uri"].partition("?")[2] == libpq
    assert data["STORAGE_DATABASE_SSL"] == ("false" if mode is SSLMode.DISABLE else "true")
    assert "certificates" not in data


hosts = st.sampled_from(["h", "db.example.com", "10.1.2.3", "2001:db8::1"])


def decode_uri(text: str) -> str:
    """Return what JavaScript's decodeURI does: escapes of its reserved characters stay as they are."""
    kept = re.sub(r"%(2[346BCF]|3[ABDF]|40)", r"%25\1", text, flags=re.IGNORECASE)
    return unquote(kept)


@given(LOGINS, TEXT, DATABASE_NAMES, hosts, st.integers(1, 65535))
@example("u", "****", "**", "h", 1)
@example("[USER]", "[YOUR-PASSWORD]", "a/b:c@d", "h", 1)
def test_both_urls_read_back(role: str, word: str, database: str, host: str, port: int) -> None:
    endpoint = AppEndpoint(host, port, database, SSLMode.REQUIRE)
    data = app_secret_data(endpoint, AppCredentials(role, Password(word))).data
    ours = parse_url(data["uri"])
    libpq = conninfo_to_dict(data["uri"])
    node = urlsplit(data["CIPHER_PG_URL"])
    assert (ours.user, ours.password, ours.host, ours.port, ours.database) == (role, word, host, port, database)
    assert (libpq["user"], libpq["password"], libpq["host"], libpq["dbname"]) == (role, word, host, database)
    assert int(libpq["port"] or 0) == port
    # What node's URL class takes apart is plain ASCII without a delimiter in a value.
    assert data["CIPHER_PG_URL"].isascii()
    assert node.hostname == host.lower()
    assert (dict(parse_qsl(node.query)).get("host", node.hostname), node.port) == (host, port)
    if not set("?#") & set(database):
        assert decode_uri(node.path[1:]) == database
    assert not set("@:/?#[]") & set((node.username or "") + (node.password or ""))


@pytest.mark.parametrize(
    ("word", "prepared"),
    [
        ("ﬃ", "ffi"),
        ("soft\u00adhyphen", "softhyphen"),
        ("no\u00a0break", "no break"),
        ("e\u0301", "é"),
        ("p\u200bw", "p w"),
    ],
    ids=["ligature", "soft hyphen", "no-break space", "combining accent", "zero-width space"],
)
def test_cipher_is_given_the_password_as_libpq_prepares_it(word: str, prepared: str) -> None:
    # node-pg 8.16 sends a password as it is; what the server keeps is made of the prepared one.
    data = app_secret_data(ENDPOINT, AppCredentials("u", Password(word))).data
    assert unquote(urlsplit(data["CIPHER_PG_URL"]).password or "") == prepared
    assert data["STORAGE_DATABASE_PASSWORD"] == prepared
    assert data["password"] == word, "what the user brought is read back as it is"
    assert conninfo_to_dict(data["uri"])["password"] == word
    check_password(Password(word))


@pytest.mark.parametrize(
    "word", ["ﬃ🦀", "no\u00a0break\u0007", "א1ﬃ"], ids=["unassigned", "control", "both directions"]
)
def test_a_password_that_clients_read_differently_is_refused(word: str) -> None:
    # libpq leaves what RFC 4013 prohibits as it is, node-pg 8.23 prepares it all the same.
    with pytest.raises(Failure) as caught:
        check_password(Password(word))
    assert caught.value.reason is Reason.INVALID_SPEC
    assert word not in caught.value.message


VERIFIED = replace(ADMIN, ssl_mode=SSLMode.VERIFY_FULL)
BY_ADDRESS = replace(VERIFIED, host="10.1.2.3")


@pytest.mark.parametrize(
    ("admin", "host", "database", "word"),
    [
        (BY_ADDRESS, None, "d", "spec.app.host"),
        (replace(VERIFIED, host="2001:db8::1"), None, "d", "verify-ca"),
        (VERIFIED, "10.1.2.3", "d", "spec.app.host"),
        (ADMIN, None, "what?", "'?'"),
        (ADMIN, None, "c#", "'#'"),
        (ADMIN, None, "..", "'..'"),
        (ADMIN, None, "a/./b", "'.'"),
        (ADMIN, POOLER.host, "d", "ref"),
    ],
)
def test_where_cipher_would_not_get_in_nothing_is_published(
    admin: AdminConnection, host: str | None, database: str, word: str
) -> None:
    with pytest.raises(Failure) as caught:
        check_publishable(admin, replace(APP, host=host), database)
    assert caught.value.reason is Reason.INVALID_SPEC
    assert caught.value.stage is ConditionType.SECRET_PUBLISHED
    assert word in caught.value.message
    assert admin.host not in caught.value.message


@pytest.mark.parametrize(
    ("admin", "host", "database"),
    [
        (ADMIN, None, "d"),
        (replace(ADMIN, host="10.1.2.3"), None, "d"),
        (VERIFIED, None, "d"),
        (BY_ADDRESS, "db.example.com", "d"),
        (replace(BY_ADDRESS, ssl_mode=SSLMode.VERIFY_CA), None, "d"),
        (ADMIN, None, ".a..b/c... d"),
        (POOLER, None, "d"),
        (POOLER, POOLER.host, "d"),
        (replace(ADMIN, host="db.abcdefghij.supabase.co"), POOLER.host, "d"),
    ],
)
def test_everything_else_is_published(admin: AdminConnection, host: str | None, database: str) -> None:
    check_publishable(admin, replace(APP, host=host), database)


@given(LOGINS, TEXT)
def test_read_back_from_the_cluster(role: str, word: str) -> None:
    data = app_secret_data(ENDPOINT, AppCredentials(role, Password(word))).data
    published = read_app_secret({key: value.encode() for key, value in data.items()})
    assert published is not None
    assert (published.user, published.role, published.password) == (role, role, Password(word))


def test_read_back_through_the_pooler() -> None:
    endpoint = app_door(POOLER, APP, "postgres", ssl_in_use=True)
    data = {key: value.encode() for key, value in app_secret_data(endpoint, LOGIN).data.items()}
    published = read_app_secret(data)
    assert published is not None
    assert (published.user, published.role) == ("cipher_user.abcdefghij", "cipher_user")


@pytest.mark.parametrize(
    "data",
    [{}, {"username": b"u"}, {"username": b"u", "password": b""}, {"username": b"", "password": b"p"},
     {"username": b"\xff", "password": b"p"}, {"username": b"u", "password": b"p", "host": b"\xff"}],
    ids=["empty", "no password", "empty password", "empty user", "user not text", "host not text"],
)  # fmt: skip
def test_unreadable_secret_is_no_login(data: dict[str, bytes]) -> None:
    assert read_app_secret(data) is None


def test_login_test_goes_where_the_operator_goes() -> None:
    login = app_login(replace(POOLER, warnings=("x",)), LOGIN)
    assert (login.host, login.port, login.user) == (POOLER.host, 6543, "cipher_user.abcdefghij")
    assert (login.password, login.warnings) == (LOGIN.password, ())
    assert app_login(ADMIN, LOGIN).user == "cipher_user"
