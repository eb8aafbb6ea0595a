"""A session of the operator as superuser, for tests of the session itself."""

from collections.abc import AsyncIterator

import pytest

from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from support.sessions import POLICY


@pytest.fixture
def admin(postgres: PostgresServer) -> AdminConnection:
    return AdminConnection(
        postgres.host, postgres.port, postgres.superuser, Password(postgres.password), None, SSLMode.DISABLE
    )


@pytest.fixture
async def session(admin: AdminConnection) -> AsyncIterator[Session]:
    async with await Session.open(admin, "postgres", POLICY) as opened:
        yield opened
