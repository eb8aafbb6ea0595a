"""The pods' way in: its host, port, TLS and CA, each the connection's unless the spec says otherwise."""

from dataclasses import replace
from typing import Any

import pytest

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import App, CAKind, CARef, DoorSSLMode, SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password
from cipher_operator.core.connection.certificates import certificate_blocks
from cipher_operator.core.door import AppCredentials, app_door, app_login, check_publishable, door_login
from support.certificates import certificate_of_shape

D, A, P, R, C, F = SSLMode
OWN_CA = "-----BEGIN CERTIFICATE-----\nown\n-----END CERTIFICATE-----\n"
POOLER_PEM = certificate_of_shape(200)
POOLER_CA = certificate_blocks(POOLER_PEM)
ADMIN = AdminConnection("db.example.com", 5432, "admin", Password("adm1n"), "postgres", R, warnings=("w",))
APP = App("chat-cipher", {}, {}, None, None, None, None)
REFERENCE = CARef(CAKind.SECRET, "pooler-ca", "ca.crt")
LOGIN = AppCredentials("cipher_user", Password("pw"))

# The connection's mode, whether its session was encrypted, whether it has a CA; the app's mode, whether it has a CA;
# the mode at the door, whose CA, and whether this is another way in than the operator's.
DOORS: list[tuple[SSLMode, bool, bool, SSLMode | None, bool, SSLMode, str | None, bool]] = [
    (D, False, False, None, False, D, None, False),
    (A, False, False, None, False, D, None, False),
    (A, True, False, None, False, R, None, False),
    (P, False, False, None, False, D, None, False),
    (P, True, False, None, False, R, None, False),
    (R, True, False, None, False, R, None, False),
    (C, True, True, None, False, C, OWN_CA, False),
    (F, True, False, None, False, F, None, False),
    (F, True, True, None, False, F, OWN_CA, False),
    # Said again, it is the same way in.
    (R, True, False, R, False, R, None, False),
    (P, True, False, R, False, R, None, False),
    (C, True, True, C, False, C, OWN_CA, False),
    # A side-car that speaks plain, or a pooler without a certificate.
    (R, True, False, D, False, D, None, True),
    (P, True, False, D, False, D, None, True),
    (F, True, True, D, False, D, None, True),
    (C, True, True, R, False, R, None, True),
    # A pooler that has TLS although the server has none.
    (D, False, False, R, False, R, None, True),
    (D, False, False, F, False, F, None, True),
    (D, False, False, C, True, C, POOLER_CA, True),
    # A certificate of its own.
    (C, True, True, None, True, C, POOLER_CA, True),
    (F, True, False, None, True, F, POOLER_CA, True),
    (F, True, True, C, True, C, POOLER_CA, True),
    (R, True, False, F, True, F, POOLER_CA, True),
]


@pytest.mark.parametrize(("mode", "encrypted", "has_ca", "app_mode", "app_ca", "tls", "ca", "other"), DOORS)
def test_tls_of_the_door(
    mode: SSLMode,
    encrypted: bool,
    has_ca: bool,
    app_mode: SSLMode | None,
    app_ca: bool,
    tls: SSLMode,
    ca: str | None,
    other: bool,
) -> None:
    admin = replace(ADMIN, ssl_mode=mode, ca=OWN_CA if has_ca else None)
    app = replace(APP, ssl_mode=app_mode, ca=REFERENCE if app_ca else None)
    door = app_door(admin, app, "cipher_db", ssl_in_use=encrypted, ca=POOLER_PEM if app_ca else None)
    assert (door.tls, door.ca, door.other) == (tls, ca, other)
    login = door_login(door, admin, LOGIN)
    assert (login.ssl_mode, login.ca) == (tls, ca)


def test_the_table_has_every_mode_on_both_sides() -> None:
    assert {row[0] for row in DOORS} == set(SSLMode)
    assert {row[3].value for row in DOORS if row[3]} == {mode.value for mode in DoorSSLMode}
    assert {row[5] for row in DOORS} == {SSLMode(mode) for mode in DoorSSLMode}


@pytest.mark.parametrize(
    ("changes", "other"),
    [
        ({}, False),
        ({"host": "db.example.com"}, False),
        ({"port": 5432}, False),
        ({"host": "pooler"}, True),
        ({"port": 6432}, True),
        ({"ca_path": "/ca.crt", "max_connections": 3}, False),
    ],
)
def test_another_host_or_port_is_another_door(changes: dict[str, Any], other: bool) -> None:
    assert app_door(ADMIN, replace(APP, **changes), "d", ssl_in_use=True).other is other


@pytest.mark.parametrize(
    ("asked", "changes", "binding"),
    [
        (None, {}, None),
        ("prefer", {}, "prefer"),
        ("disable", {}, "disable"),
        ("disable", {"host": "pooler"}, "disable"),
        ("require", {}, "require"),
        # A pooler may have no TLS, or authenticate in a way that has no channel binding.
        ("require", {"host": "pooler"}, None),
        ("require", {"port": 6432}, None),
        ("require", {"ssl_mode": D}, None),
    ],
)
def test_channel_binding_at_the_door(asked: str | None, changes: dict[str, Any], binding: str | None) -> None:
    admin = replace(ADMIN, channel_binding=asked)
    door = app_door(admin, replace(APP, **changes), "d", ssl_in_use=True)
    assert door.channel_binding == door_login(door, admin, LOGIN).channel_binding == binding


def test_which_of_several_servers_is_meant_holds_for_the_same_door() -> None:
    admin = replace(ADMIN, target_session_attrs="primary")
    assert app_door(admin, APP, "d", ssl_in_use=True).target_session_attrs == "primary"
    assert app_door(admin, replace(APP, host="pooler"), "d", ssl_in_use=True).target_session_attrs is None


def test_the_login_test_at_the_door_is_what_a_pod_would_do() -> None:
    admin = replace(ADMIN, ssl_negotiation="direct", connect_timeout=7, require_auth="md5")
    door = app_door(admin, replace(APP, host="pooler", port=6432), "cipher_db", ssl_in_use=True)
    login = door_login(door, admin, LOGIN)
    assert (login.host, login.port, login.user, login.database) == ("pooler", 6432, "cipher_user", "cipher_db")
    assert (login.password, login.ssl_negotiation, login.warnings) == (LOGIN.password, None, ())
    assert (login.connect_timeout, login.require_auth) == (7, "md5")
    own = app_login(admin, LOGIN)
    assert (own.host, own.port, own.ssl_negotiation) == ("db.example.com", 5432, "direct")


def test_the_login_at_supabases_pooler_has_the_ref() -> None:
    admin = replace(ADMIN, host="db.abcdefghij.supabase.co")
    door = app_door(admin, replace(APP, host="aws-0-eu-west-1.pooler.supabase.com"), "d", ssl_in_use=True)
    assert door_login(door, admin, LOGIN).user == "cipher_user.abcdefghij"
    assert app_login(admin, LOGIN).user == "cipher_user"


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_ca_of_the_door_without_certificate_is_told_by_its_own_field(content: bytes | None) -> None:
    with pytest.raises(Failure) as caught:
        app_door(ADMIN, replace(APP, ssl_mode=F, ca=REFERENCE), "d", ssl_in_use=True, ca=content)
    failure = caught.value
    assert (failure.reason, failure.stage) == (Reason.TLS_UNTRUSTED, ConditionType.SECRET_PUBLISHED)
    assert "(`spec.app.caRef`)" in failure.message and "`pooler-ca`" in failure.message


BY_ADDRESS = replace(ADMIN, host="10.1.2.3", ssl_mode=F)


@pytest.mark.parametrize(
    ("admin", "changes", "said"),
    [
        (ADMIN, {"host": "10.1.2.3", "ssl_mode": F}, "`spec.app.sslMode: verify-ca`"),
        (BY_ADDRESS, {"ssl_mode": F}, "`spec.app.sslMode: verify-ca`"),
        (BY_ADDRESS, {}, "`spec.connection.sslMode: verify-ca`"),
        (ADMIN, {"ssl_mode": C}, "set `spec.app.caRef`"),
        (ADMIN, {"host": "a,b"}, "`spec.app.host` lists several hosts"),
        (ADMIN, {"host": "db:1:2"}, "`spec.app.host` is not a host name"),
        (ADMIN, {"port": 0}, "`spec.app.port` must be a whole number"),
        (ADMIN, {"port": 70_000}, "`spec.app.port` must be a whole number"),
    ],
)
def test_a_door_that_no_pod_gets_through_is_not_published(
    admin: AdminConnection, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(Failure) as caught:
        check_publishable(admin, replace(APP, **changes), "d")
    failure = caught.value
    assert (failure.reason, failure.stage) == (Reason.INVALID_SPEC, ConditionType.SECRET_PUBLISHED)
    assert said in failure.message, failure.message
    assert admin.host not in failure.message and "10.1.2.3" not in failure.message


@pytest.mark.parametrize(
    ("admin", "changes"),
    [
        (BY_ADDRESS, {"ssl_mode": D}),
        (BY_ADDRESS, {"ssl_mode": R}),
        (BY_ADDRESS, {"ssl_mode": C, "ca": REFERENCE}),
        (BY_ADDRESS, {"host": "db.example.com"}),
        (replace(ADMIN, ssl_mode=C, ca=OWN_CA), {"ssl_mode": C}),
        (ADMIN, {"host": "10.1.2.3", "ssl_mode": D, "port": 6432}),
        (ADMIN, {"host": "2001:db8::1"}),
    ],
)
def test_a_door_that_pods_get_through_is(admin: AdminConnection, changes: dict[str, Any]) -> None:
    check_publishable(admin, replace(APP, **changes), "d")
