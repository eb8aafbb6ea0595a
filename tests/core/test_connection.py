"""The connection Secret: both methods, precedence of sslMode, warnings, the CA."""

import base64
import traceback
from dataclasses import replace

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.reserved import DATABASES
from cipher_operator.api.spec import DEFAULT_KEYS, CAKind, CARef, ChannelBinding, Connection, SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password, read_admin_connection

CANARY = "s3cr3t"
URL = f"postgres://admin:{CANARY}@db.example.com:5433/app".encode()
SPEC = Connection("pg-admin", DEFAULT_KEYS, None, None)
CA_REF = CARef(CAKind.SECRET, "rds-ca", "ca.crt")
KEYS = {
    "STORAGE_DATABASE_HOST": b"db.example.com",
    "STORAGE_DATABASE_USER": b"admin",
    "STORAGE_DATABASE_PASSWORD": CANARY.encode(),
}
# The outer shape of X.509, which is all that core looks at: one DER sequence.
PEM = (
    b"-----BEGIN CERTIFICATE-----\n"
    + base64.encodebytes(b"\x30\x81\xc8" + bytes(range(200)))
    + b"-----END CERTIFICATE-----\n"
)
KEY_PEM = b"-----BEGIN PRIVATE KEY-----\nczNjcjN0\n-----END PRIVATE KEY-----\n"


def url(query: str = "", database: str = "/app") -> dict[str, bytes]:
    return {"CIPHER_PG_URL": f"postgres://admin:{CANARY}@db.example.com{database}{query}".encode()}


def read(data: dict[str, bytes], mode: SSLMode | None = None, ca: bytes | None = None) -> AdminConnection:
    return read_admin_connection(data, replace(SPEC, ssl_mode=mode, ca=CA_REF if ca is not None else None), ca)


def refused(data: dict[str, bytes], mode: SSLMode | None = None, ca: bytes | None = None) -> Failure:
    with pytest.raises(Failure) as caught:
        read(data, mode, ca)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert CANARY not in caught.value.message
    return caught.value


def test_url() -> None:
    admin = read({"CIPHER_PG_URL": URL})
    assert (admin.host, admin.port, admin.user, admin.database) == ("db.example.com", 5433, "admin", "app")
    assert admin.password == Password(CANARY)
    assert admin.ssl_mode is SSLMode.REQUIRE
    assert (admin.ca, admin.channel_binding, admin.require_auth, admin.ssl_negotiation) == (None, None, None, None)
    assert (admin.max_connections, admin.connect_timeout, admin.warnings) == (None, None, ())


def test_individual_keys() -> None:
    admin = read(KEYS)
    assert (admin.host, admin.port, admin.user, admin.database) == ("db.example.com", 5432, "admin", None)
    more = KEYS | {"STORAGE_DATABASE_PORT": b"6000\n", "STORAGE_DATABASE_NAME": b"app\n"}
    assert (read(more).port, read(more).database) == (6000, "app")


def test_individual_keys_take_a_bare_ipv6_address() -> None:
    assert read(KEYS | {"STORAGE_DATABASE_HOST": b"2001:db8::1"}).host == "2001:db8::1"
    assert read(KEYS | {"STORAGE_DATABASE_HOST": b"[2001:db8::1]"}).host == "2001:db8::1"


def test_renamed_keys() -> None:
    keys = replace(DEFAULT_KEYS, url="DATABASE_URL")
    assert read_admin_connection({"DATABASE_URL": URL}, replace(SPEC, keys=keys), None).user == "admin"


@pytest.mark.parametrize("first", [URL, URL + b"\n", URL + b"\r\n"], ids=["plain", "newline", "crlf"])
def test_url_wins_and_loses_one_newline(first: bytes) -> None:
    assert read(KEYS | {"CIPHER_PG_URL": first}).port == 5433


@pytest.mark.parametrize("empty", [b"", b"\n"], ids=["empty", "newline only"])
def test_empty_url_gives_way_to_keys(empty: bytes) -> None:
    assert read(KEYS | {"CIPHER_PG_URL": empty}).port == 5432


def test_exactly_one_newline_is_stripped() -> None:
    assert read(KEYS | {"STORAGE_DATABASE_PASSWORD": b"p\n\n"}).password == Password("p\n")
    assert read(KEYS | {"STORAGE_DATABASE_PASSWORD": b" p "}).password == Password(" p ")


MODES = [
    ("nothing said", "", None, None, SSLMode.REQUIRE),
    ("ssl key true", "", "true", None, SSLMode.REQUIRE),
    ("ssl key false", "", "false", None, SSLMode.DISABLE),
    ("ssl key with newline", "", "false\n", None, SSLMode.DISABLE),
    ("ssl key empty", "", "", None, SSLMode.REQUIRE),
    ("URL before ssl key", "?sslmode=prefer", "false", None, SSLMode.PREFER),
    ("ssl=true in the URL before ssl key", "?ssl=true", "false", None, SSLMode.REQUIRE),
    ("sslmode before ssl=true", "?ssl=true&sslmode=disable", "true", None, SSLMode.DISABLE),
    ("ssl=false in the URL says nothing", "?ssl=false", None, None, SSLMode.REQUIRE),
    ("spec before URL", "?sslmode=disable", "false", SSLMode.VERIFY_FULL, SSLMode.VERIFY_FULL),
    ("spec before ssl key", "", "false", SSLMode.ALLOW, SSLMode.ALLOW),
    *[(f"URL {mode}", f"?sslmode={mode}", None, None, mode) for mode in SSLMode],
]


@pytest.mark.parametrize(("query", "key", "spec", "mode"), [row[1:] for row in MODES], ids=[row[0] for row in MODES])
def test_ssl_mode_precedence(query: str, key: str | None, spec: SSLMode | None, mode: SSLMode) -> None:
    ssl = {"STORAGE_DATABASE_SSL": key.encode()} if key is not None else {}
    assert read(url(query) | ssl, spec).ssl_mode is mode
    if not query:
        assert read(KEYS | ssl, spec).ssl_mode is mode


MISSING = [
    ("nothing", {}, ["no key `CIPHER_PG_URL`", "`STORAGE_DATABASE_HOST`", "`STORAGE_DATABASE_PASSWORD`", "`pg-admin`"]),
    ("empty URL", {"CIPHER_PG_URL": b""}, ["an empty key `CIPHER_PG_URL`"]),
    ("other keys", {"password": CANARY.encode()}, ["no key `CIPHER_PG_URL`"]),
    ("only database", {"STORAGE_DATABASE_NAME": b"x"}, ["no key `CIPHER_PG_URL`"]),
    ("no host", KEYS | {"STORAGE_DATABASE_HOST": b""}, ["`STORAGE_DATABASE_HOST` is empty"]),
    ("no password", {k: v for k, v in KEYS.items() if "PASSW" not in k}, ["`STORAGE_DATABASE_PASSWORD` is missing"]),
    ("empty password", KEYS | {"STORAGE_DATABASE_PASSWORD": b"\n"}, ["`STORAGE_DATABASE_PASSWORD` is empty"]),
    ("no user", {k: v for k, v in KEYS.items() if "USER" not in k}, ["`STORAGE_DATABASE_USER` is missing"]),
]


@pytest.mark.parametrize(("data", "said"), [row[1:] for row in MISSING], ids=[row[0] for row in MISSING])
def test_missing_keys_are_named(data: dict[str, bytes], said: list[str]) -> None:
    failure = refused(data)
    assert failure.reason is Reason.SECRET_KEY_MISSING
    assert all(part in failure.message for part in said), failure.message


INVALID = [
    ("sslmode nonsense", url(f"?sslmode={CANARY}"), "Allowed: disable, allow, prefer, require, verify-ca, verify-full"),
    ("sslmode empty", url("?sslmode="), "Allowed: disable"),
    ("node's no-verify", url("?sslmode=no-verify"), "write `require`"),
    ("channel_binding", url(f"?channel_binding={CANARY}"), "Allowed: disable, prefer, require"),
    ("sslnegotiation", url(f"?sslnegotiation={CANARY}"), "Allowed: postgres, direct"),
    ("require_auth none", url("?require_auth=none"), "Allowed: md5, scram-sha-256"),
    ("require_auth password", url("?require_auth=password"), "Allowed: md5, scram-sha-256"),
    ("require_auth not md5", url("?require_auth=!md5"), "Allowed: md5, scram-sha-256"),
    ("reader endpoint wanted", url("?target_session_attrs=standby"), "Allowed: any, read-write, primary"),
    ("connect_timeout word", url(f"?connect_timeout={CANARY}"), "`connect_timeout`"),
    ("connect_timeout negative", url("?connect_timeout=-1"), "`connect_timeout`"),
    ("max_connections zero", url("?max_connections=0"), "from 1 to"),
    ("max_connections word", url(f"?max_connections={CANARY}"), "from 1 to"),
    ("direct without TLS", url("?sslnegotiation=direct&sslmode=prefer"), "`sslnegotiation=direct`"),
    ("ssl key word", KEYS | {"STORAGE_DATABASE_SSL": CANARY.encode()}, '"true" (TLS, as sslMode require) or "false"'),
    ("ssl key upper case", KEYS | {"STORAGE_DATABASE_SSL": b"True"}, "`STORAGE_DATABASE_SSL`"),
    ("ssl key beside a URL", url() | {"STORAGE_DATABASE_SSL": b"yes"}, "`STORAGE_DATABASE_SSL`"),
    ("port word", KEYS | {"STORAGE_DATABASE_PORT": CANARY.encode()}, "`STORAGE_DATABASE_PORT`"),
    ("port range", KEYS | {"STORAGE_DATABASE_PORT": b"70000"}, "1 to 65535"),
    ("host is a URL", KEYS | {"STORAGE_DATABASE_HOST": URL}, "`STORAGE_DATABASE_HOST`"),
    ("host is a socket", KEYS | {"STORAGE_DATABASE_HOST": b"/tmp"}, "Unix sockets"),
    ("two hosts", KEYS | {"STORAGE_DATABASE_HOST": b"a,b"}, "several hosts"),
    ("host with two newlines", KEYS | {"STORAGE_DATABASE_HOST": b"h\n\n"}, "`STORAGE_DATABASE_HOST`"),
    *(
        (name, KEYS | {"STORAGE_DATABASE_NAME": name.encode()}, f"`{name}`, which belongs to the server itself")
        for name in sorted(DATABASES)
    ),
    *((f"{name} in a URL", url(database=f"/{name}"), f"`{name}`, which belongs") for name in sorted(DATABASES)),
    ("URL not UTF-8", {"CIPHER_PG_URL": b"postgres://\xff"}, "`CIPHER_PG_URL` is not UTF-8"),
    ("password not UTF-8", KEYS | {"STORAGE_DATABASE_PASSWORD": b"\xff"}, "`STORAGE_DATABASE_PASSWORD` is not UTF-8"),
    ("NUL in password", KEYS | {"STORAGE_DATABASE_PASSWORD": b"a\0b"}, "NUL"),
    ("NUL in URL", {"CIPHER_PG_URL": b"postgres://u:p@h/d\0"}, "NUL"),
]


@pytest.mark.parametrize(("data", "said"), [row[1:] for row in INVALID], ids=[row[0] for row in INVALID])
def test_invalid_values_are_named_but_not_repeated(data: dict[str, bytes], said: str) -> None:
    failure = refused(data)
    assert failure.reason is Reason.INVALID_URL
    assert said in failure.message, failure.message


def test_kept_parameters() -> None:
    admin = read(
        url(
            "?channel_binding=require&sslnegotiation=direct&require_auth=md5&max_connections=10&connect_timeout=7"
            "&application_name=x&target_session_attrs=read-write&keepalives=1&uselibpqcompat=true&supa=base-pooler.x"
        )
    )
    assert (admin.channel_binding, admin.ssl_negotiation, admin.require_auth) == ("require", "direct", "md5")
    assert (admin.max_connections, admin.connect_timeout, admin.warnings) == (10, 7, ())


@pytest.mark.parametrize("binding", ChannelBinding)
def test_channel_binding_can_be_said_for_every_method_and_the_spec_goes_first(binding: ChannelBinding) -> None:
    spec = replace(SPEC, channel_binding=binding)
    assert read_admin_connection(KEYS, spec, None).channel_binding == binding.value
    plain = replace(spec, host="plain.example.com")
    assert read_admin_connection(KEYS, plain, None).channel_binding == binding.value
    assert read_admin_connection(url("?channel_binding=prefer"), spec, None).channel_binding == binding.value
    assert read(url(f"?channel_binding={binding}")).channel_binding == binding.value
    assert read(KEYS).channel_binding is None


@pytest.mark.parametrize(
    ("query", "kept"),
    [("", None), ("?target_session_attrs=any", None), ("?target_session_attrs=read-write", "read-write"),
     ("?target_session_attrs=primary", "primary")],
)  # fmt: skip
def test_which_of_several_servers_is_wanted_is_kept(query: str, kept: str | None) -> None:
    admin = read(url(query))
    assert (admin.target_session_attrs, admin.warnings) == (kept, ())


@pytest.mark.parametrize(
    ("given", "bounded"), [("0", None), ("1", 1), ("10", 10), ("600", 10)], ids=["none", "low", "top", "cut"]
)
def test_connect_timeout_is_bounded(given: str, bounded: int | None) -> None:
    assert read(url(f"?connect_timeout={given}")).connect_timeout == bounded


def test_scram_is_the_rule_and_needs_no_field() -> None:
    assert read(url("?require_auth=scram-sha-256")).require_auth is None


@pytest.mark.parametrize("name", ["pgbouncer", "connection_limit", "pool_timeout", "pool_mode", "schema"])
def test_ignored_parameters_become_warnings(name: str) -> None:
    (warning,) = read(url(f"?{name}={CANARY}")).warnings
    assert f"`{name}`" in warning
    assert CANARY not in warning


def test_ssl_in_the_url() -> None:
    assert read(url("?ssl=true")).warnings == ()
    assert read(url("?ssl=true&sslmode=verify-full")).warnings == ()
    for query in ("?ssl=0", "?ssl=True", "?ssl=true&sslmode=disable", "?sslmode=prefer&ssl=true"):
        assert read(url(query)).warnings == ("`ssl` in the URL is ignored.",)


@pytest.mark.parametrize("mode", [SSLMode.VERIFY_CA, SSLMode.VERIFY_FULL])
def test_ca_keeps_certificates_only(mode: SSLMode) -> None:
    ca = read({"CIPHER_PG_URL": URL}, mode, b"bundle of ours\n" + KEY_PEM + PEM + PEM.replace(b"\n", b"\r\n")).ca
    assert ca is not None
    assert ca.count("BEGIN CERTIFICATE") == 1, "the same certificate twice is one"
    assert "PRIVATE" not in ca
    assert ca.splitlines()[0] == "-----BEGIN CERTIFICATE-----"
    assert ca.endswith("-----END CERTIFICATE-----\n")


@pytest.mark.parametrize(
    "ca",
    [b"", b"nothing", KEY_PEM, PEM[:-30], PEM.replace(b"MIHI", b"MIHJ"), b"-----BEGIN CERTIFICATE-----" * 50],
    ids=["empty", "text", "a key", "cut", "wrong length", "no end"],
)
def test_ca_without_certificate(ca: bytes) -> None:
    failure = refused({"CIPHER_PG_URL": URL}, SSLMode.VERIFY_FULL, ca)
    assert failure.reason is Reason.TLS_UNTRUSTED
    assert "Key `ca.crt` of Secret `rds-ca`" in failure.message


def test_ca_is_not_used_without_verification() -> None:
    admin = read({"CIPHER_PG_URL": URL}, SSLMode.REQUIRE, b"not even a certificate")
    assert admin.ca is None
    assert "`spec.connection.caRef`" in admin.warnings[0]


def test_nothing_prints_a_password() -> None:
    admin = read({"CIPHER_PG_URL": URL})
    printed = f"{admin} {admin!r} {admin.password} {admin.password!r} {[admin.password]}"
    assert CANARY not in printed
    assert "db.example.com" not in printed
