"""Extensions: made where the tenant cannot write, used where they are, refused with the provider's way to do it."""

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from devcluster import PostgresServer
from devcluster.longrun import SetupError
from devcluster.postgres_programs import find_postgres
from support.provision import CIPHER_START, Provisioner, desired, plain_admin, superuser

VECTOR = (
    "CREATE EXTENSION IF NOT EXISTS vector",
    "CREATE TABLE knowledge_memory (id bigserial PRIMARY KEY, vector vector(3), payload jsonb)",
    "CREATE INDEX knowledge_memory_vector_idx ON knowledge_memory USING ivfflat (vector vector_cosine_ops) "
    "WITH (lists = 100)",
    "INSERT INTO knowledge_memory (vector, payload) VALUES ('[1,2,3]', '{}')",
    "SELECT payload FROM knowledge_memory ORDER BY vector <=> '[3,2,1]' LIMIT 1",
)
"""What Cipher's pgvector store does, as the app role."""
_names = iter(range(1_000))


@pytest.fixture(scope="module", params=[16, 18], ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    try:
        installation = find_postgres(request.param, vector=True)
    except SetupError as error:
        pytest.skip(f"no PostgreSQL {request.param} with pgvector: {error}")
    with PostgresServer(installation=installation) as running:
        yield running


def storage(**changes: object):  # type: ignore[no-untyped-def]
    return desired(f"vec{next(_names)}", extensions=("vector",), **changes)


async def test_pgvector_works_for_the_app(server: PostgresServer) -> None:
    admin, wanted = superuser(server), storage()
    await admin.run(wanted)
    await admin.prove(wanted)
    with admin.app(wanted) as app:
        for statement in (*CIPHER_START, *VECTOR):
            app.execute(statement)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("CREATE FUNCTION cipher_extensions.trap() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    established = replace(wanted, established=True)
    assert (await admin.run(established)).executed == ()
    await admin.remove(wanted)


async def test_an_extension_that_is_there_is_used_where_it_is(server: PostgresServer) -> None:
    admin, wanted = superuser(server), storage()
    server.execute(f'CREATE DATABASE "{wanted.database}"')
    server.execute("CREATE SCHEMA elsewhere", database=wanted.database)
    server.execute("CREATE EXTENSION vector SCHEMA elsewhere", database=wanted.database)
    await admin.run(wanted)
    with admin.app(wanted) as app:
        for statement in VECTOR:
            app.execute(statement)
    assert (await admin.run(replace(wanted, established=True))).executed == ()


async def test_an_admin_who_may_not_is_told_the_sql_that_mends_it(server: PostgresServer) -> None:
    admin: Provisioner = plain_admin(server, f"plain{next(_names)}")
    wanted = storage()
    with pytest.raises(Failure) as refused:
        await admin.run(wanted)
    assert refused.value.reason is Reason.INSUFFICIENT_PRIVILEGE
    statements = refused.value.message.split("as a role that may: ")[1]
    for statement in filter(None, statements.split("; ")):
        server.execute(statement.strip(), database=wanted.database)
    await admin.run(wanted)
    with admin.app(wanted) as app:
        for statement in VECTOR:
            app.execute(statement)


async def test_a_schema_that_the_tenant_laid_out_is_not_used(server: PostgresServer) -> None:
    admin, wanted = superuser(server), storage()
    await admin.run(replace(wanted, extensions=()))
    with admin.app(wanted) as app:
        app.execute("CREATE SCHEMA cipher_extensions")
    with pytest.raises(Failure) as refused:
        await admin.run(replace(wanted, established=True))
    assert refused.value.reason is Reason.CONFLICT
    assert "cipher_extensions" in refused.value.message


async def test_an_extension_is_dropped_with_the_storage_from_an_existing_database(server: PostgresServer) -> None:
    admin, wanted = superuser(server), storage()
    server.execute(f'CREATE DATABASE "{wanted.database}"')
    await admin.run(wanted)
    await admin.remove(wanted)
    left = server.execute("SELECT extname FROM pg_extension WHERE extname = 'vector'", database=wanted.database)
    assert left == []
    assert (
        server.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'cipher_extensions'", database=wanted.database) == []
    )
