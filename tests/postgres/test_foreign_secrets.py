"""The Secrets that other tools write, against a real server: from the example beside them to a login that works."""

from dataclasses import replace

import pytest

from cipher_operator.api.spec import Connection, Spec, SSLMode, parse_spec
from cipher_operator.core.connection.admin import AdminConnection, read_admin_connection
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from manifests.manifest_files import EXAMPLES, documents
from support.provision import Provisioner, desired
from support.secret_shapes import SHAPES, Login
from support.sessions import POLICY

PASSWORD = "Ab1^|<x>{y}@z/;,%"
STEMS = [path.stem for path in EXAMPLES if path.stem in SHAPES]


def example(stem: str) -> Spec:
    (path,) = (each for each in EXAMPLES if each.stem == stem)
    return parse_spec("default", stem, documents(path.read_text())[-1]["spec"])


def admin_of(stem: str, server: PostgresServer, login: str) -> AdminConnection:
    """Return what the example makes of its tool's Secret, for a login of the test's server, which has no TLS."""
    connection: Connection = replace(example(stem).connection, ssl_mode=SSLMode.DISABLE, ca=None)
    if connection.host is not None:
        connection = replace(connection, host=server.host, port=server.port)
    data = SHAPES[stem](Login(server.host, server.port, login, PASSWORD, "postgres"))
    return read_admin_connection(data, connection, None)


@pytest.fixture(scope="module")
def login(postgres: PostgresServer) -> str:
    postgres.execute(f"CREATE ROLE tool_admin LOGIN CREATEDB CREATEROLE PASSWORD '{PASSWORD}'")
    return "tool_admin"


@pytest.mark.parametrize("stem", STEMS)
async def test_the_administrator_gets_in(postgres: PostgresServer, login: str, stem: str) -> None:
    admin = admin_of(stem, postgres, login)
    async with await Session.open(admin, admin.database or "postgres", POLICY) as session:
        assert not session.ssl_in_use


@pytest.mark.parametrize("stem", ["cnpg", "zalando"])
async def test_a_storage_is_made_with_it(postgres: PostgresServer, login: str, stem: str) -> None:
    admin = admin_of(stem, postgres, login)
    assert admin.database is None, "the way in while the storage's database is missing is the usual one"
    provisioner, wanted = Provisioner(admin), desired(f"by_{stem}")
    await provisioner.provision(wanted)
    with provisioner.app(wanted) as app:
        assert app.execute("SELECT count(*) FROM cipher_store").fetchone() == (0,)
