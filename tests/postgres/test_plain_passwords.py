"""Servers that hash passwords themselves, as Neon and Lakebase do: they refuse verifiers, with these words."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import FailureClass, Reason
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.password import Password
from cipher_operator.core.orders import Credential
from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority, TlsFixture
from support.injected_errors import ErrorProxy, Injected
from support.provision import Provisioner, desired, plain_admin

_names = iter(range(10_000))
NEON = Injected(
    "XX000",
    'Received HTTP code 400 from control plane: {"error":"Neon only supports being given plaintext passwords"}',
    instead_of=b"PASSWORD 'SCRAM-SHA-256$",
)
ODD = Password('it\'s \\ a "pä ss" $1 %s')


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(16, settings={"log_statement": "none"}) as running:
        yield running


@pytest.fixture(scope="module")
def tls(certificate_authority: CertificateAuthority) -> TlsFixture:
    return certificate_authority.server()


def through(proxy: ErrorProxy, admin: Provisioner, mode: SSLMode) -> Provisioner:
    return Provisioner(replace(admin.admin, port=proxy.port, ssl_mode=mode))


async def test_a_password_is_sent_itself_over_tls(server: PostgresServer, tls: TlsFixture) -> None:
    admin = plain_admin(server, f"neon_{next(_names)}")
    with ErrorProxy(server, tls) as proxy:
        proxy.error = NEON
        neon, wanted = through(proxy, admin, SSLMode.REQUIRE), desired(f"neon{next(_names)}")
        run = await neon.provision(replace(wanted, credential=Credential(wanted.user, ODD)), ODD)
        assert not any(ODD.reveal() in line for line in run.executed)
        new = replace(
            wanted, established=True, credential=Credential(wanted.logins[1], Password("second"), change=True)
        )
        await neon.run(new)
        await neon.prove(new, Password("second"))
        await neon.prove(wanted, ODD)
        again = await neon.run(replace(new, credential=Credential(wanted.logins[1], Password("second"))))
        assert again.executed == ()


async def test_it_is_not_sent_without_tls(server: PostgresServer) -> None:
    admin = plain_admin(server, f"neon_{next(_names)}")
    with ErrorProxy(server) as proxy:
        proxy.error = NEON
        wanted = desired(f"neon{next(_names)}")
        with pytest.raises(Failure) as refused:
            await through(proxy, admin, SSLMode.DISABLE).run(wanted)
        assert refused.value.reason is Reason.TLS_REQUIRED
        assert refused.value.failure_class is FailureClass.WAITING
        assert refused.value.stage is ConditionType.ACCESS_GRANTED
        assert "`spec.connection.sslMode: require`" in refused.value.message
    assert server.execute("SELECT 1 FROM pg_roles WHERE rolname LIKE %s", [f"{wanted.user}%"]) == []


async def test_another_error_of_that_message_sends_no_password(server: PostgresServer, tls: TlsFixture) -> None:
    admin = plain_admin(server, f"neon_{next(_names)}")
    with ErrorProxy(server, tls) as proxy:
        proxy.error = replace(NEON, text="Received HTTP code 500 from control plane: {}")
        wanted = desired(f"neon{next(_names)}")
        with pytest.raises(Failure) as refused:
            await through(proxy, admin, SSLMode.REQUIRE).run(wanted)
        assert refused.value.reason is Reason.UNKNOWN
    assert server.execute("SELECT 1 FROM pg_roles WHERE rolname LIKE %s", [f"{wanted.user}%"]) == []
