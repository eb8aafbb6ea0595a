"""Pods that go through another door than the operator: a pooler without TLS, and one with a CA of its own.

What is published opens with both node-postgres that Cipher runs with and with libpq, and the login test at that door
says the same as they do.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import App, CAKind, CARef, SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password
from cipher_operator.core.connection.certificates import certificate_blocks
from cipher_operator.core.secret import AppCredentials, app_door, app_secret_data, door_login
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from devcluster.longrun import SetupError
from devcluster.tls import CertificateAuthority
from support import node_pg
from support.poolers import Pooler
from support.sessions import POLICY
from support.wire import WireProxy

APP = App("chat-cipher", {}, {}, None, None, None, None)
LOGIN = AppCredentials("app", Password("app-pw"))
REFERENCE = CARef(CAKind.SECRET, "pooler-ca", "ca.crt")


@dataclass(frozen=True)
class Place:
    """A TLS server that the operator verifies, and two poolers before it."""

    admin: AdminConnection
    plain: Pooler
    encrypted: Pooler
    pooler_ca: Path
    proxy: WireProxy
    """Ends TLS with a certificate of its own, and begins it anew towards the server."""


@pytest.fixture(scope="module")
def place(certificate_authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    other = CertificateAuthority(tmp_path_factory.mktemp("pooler-ca"), "the pooler's CA")
    try:
        with (
            PostgresServer(16, tls=certificate_authority.server()) as server,
            Pooler(server, "transaction") as plain,
            Pooler(server, "transaction", tls=other.server()) as encrypted,
            WireProxy(server, other.server(), onward=True) as proxy,
        ):
            server.execute("CREATE ROLE app LOGIN PASSWORD 'app-pw'")
            ca = certificate_blocks(certificate_authority.certificate.read_bytes())
            admin = AdminConnection(
                *("localhost", server.port, server.superuser, Password(server.password), "postgres"),
                SSLMode.VERIFY_FULL,
                ca,
            )
            yield Place(admin, plain, encrypted, other.certificate, proxy)
    except SetupError as error:
        pytest.skip(str(error))


def pods(pooler: Pooler, mode: SSLMode | None, ca: Path | None) -> App:
    """Return a spec.app that leads to a pooler."""
    app = replace(APP, host="localhost", port=pooler.port, ssl_mode=mode)
    return app if ca is None else replace(app, ca=REFERENCE, ca_path=str(ca))


async def login_test(admin: AdminConnection, app: App, ca: bytes | None) -> Reason | None:
    """Return what the login test at the door ends with; None where it got in."""
    door = app_door(admin, app, "postgres", ssl_in_use=True, ca=ca)
    assert door.other
    login = door_login(door, admin, LOGIN)
    try:
        async with await Session.open(login, "postgres", POLICY, app_login=True):
            return None
    except Failure as failure:
        return failure.reason


def opened(admin: AdminConnection, app: App, ca: bytes | None) -> dict[str, bool]:
    """Return whether each client of the published Secret got in."""
    data = app_secret_data(app_door(admin, app, "postgres", ssl_in_use=True, ca=ca), LOGIN).data
    found = node_pg.open_all({"pod": data["CIPHER_PG_URL"]})
    results = {version: "error" not in found[version, "pod"] for version in node_pg.VERSIONS}
    try:
        psycopg.connect(data["uri"], connect_timeout=10).close()
    except psycopg.Error:
        return results | {"libpq": False}
    return results | {"libpq": True}


ROWS = [
    ("a pooler without TLS, and nothing said", "plain", None, False, Reason.TLS_NOT_SUPPORTED),
    ("a pooler without TLS", "plain", SSLMode.DISABLE, False, None),
    ("another CA, and nothing said", "encrypted", None, False, Reason.TLS_UNTRUSTED),
    ("another CA, not verified", "encrypted", SSLMode.REQUIRE, False, None),
    ("another CA, verify-ca", "encrypted", SSLMode.VERIFY_CA, True, None),
    ("another CA, verify-full", "encrypted", SSLMode.VERIFY_FULL, True, None),
    ("another CA, the mode of the connection", "encrypted", None, True, None),
    ("a pooler that insists on TLS", "encrypted", SSLMode.DISABLE, False, Reason.TLS_REQUIRED),
]


@pytest.mark.parametrize(("pooler", "mode", "ca", "reason"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
async def test_the_login_test_at_the_door_says_what_pods_find(
    place: Place, pooler: str, mode: SSLMode | None, ca: bool, reason: Reason | None
) -> None:
    app = pods(getattr(place, pooler), mode, place.pooler_ca if ca else None)
    content = place.pooler_ca.read_bytes() if ca else None
    assert await login_test(place.admin, app, content) == reason
    assert opened(place.admin, app, content) == dict.fromkeys((*node_pg.VERSIONS, "libpq"), reason is None)


async def test_behind_a_proxy_that_begins_tls_anew_the_login_is_not_tied_to_it(place: Place) -> None:
    # libpq ties the login to the certificate it sees, the server to its own: by that a proxy between them is found out.
    through = replace(place.admin, host="localhost", port=place.proxy.port, ssl_mode=SSLMode.REQUIRE, ca=None)
    with pytest.raises(Failure) as caught:
        await Session.open(through, "postgres", POLICY)
    assert caught.value.reason is Reason.ACCESS_DENIED
    assert "channel binding" in caught.value.message
    untied = replace(through, channel_binding="disable")
    async with await Session.open(untied, "postgres", POLICY) as session:
        assert session.ssl_in_use
    assert opened(through, APP, None) == {**dict.fromkeys(node_pg.VERSIONS, True), "libpq": False}
    assert opened(untied, APP, None) == dict.fromkeys((*node_pg.VERSIONS, "libpq"), True)
