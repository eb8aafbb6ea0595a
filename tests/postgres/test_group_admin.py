"""An administrator whose rights are a group's: what it lacks, with whom that is, and what to do."""

from collections.abc import Iterator

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from devcluster import PostgresServer
from support.provision import desired, plain_admin, snapshot


@pytest.fixture(scope="module", params=[15, 16], ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with PostgresServer(request.param) as running:
        running.execute("CREATE ROLE dba CREATEROLE CREATEDB")
        running.execute("CREATE ROLE maker CREATEDB")
        yield running


@pytest.mark.parametrize("acts", [True, False], ids=["its sessions act as the group", "it may act as the group"])
async def test_createrole_of_a_group(server: PostgresServer, acts: bool) -> None:
    name = f"alice_{acts}".lower()
    alice = plain_admin(server, name, "IN ROLE dba")
    if acts:
        server.execute(f"ALTER ROLE {name} SET role = 'dba'")
        server.execute("CREATE ROLE by_hand", user=name, password="admin-pw")
        server.execute("DROP ROLE by_hand")
    before = snapshot(server)
    with pytest.raises(Failure) as refused:
        await alice.run(desired(name))
    assert refused.value.reason is Reason.INSUFFICIENT_PRIVILEGE
    assert "CREATEROLE is with role 'dba'" in refused.value.message
    assert "connection Secret" in refused.value.message
    assert f'ALTER ROLE "{name}" CREATEROLE' in refused.value.message
    assert "GRANT" not in refused.value.message, "no grant hands an attribute on"
    assert snapshot(server) == before
    server.execute(f"ALTER ROLE {name} CREATEROLE CREATEDB")
    await alice.provision(desired(name))


async def test_createdb_of_a_group(server: PostgresServer) -> None:
    carol = plain_admin(server, "carol", "CREATEROLE IN ROLE maker")
    with pytest.raises(Failure) as refused:
        await carol.run(desired("carol"))
    assert refused.value.reason is Reason.INSUFFICIENT_PRIVILEGE
    assert "CREATEDB is with role 'maker'" in refused.value.message
    assert 'ALTER ROLE "carol" CREATEDB' in refused.value.message


async def test_nobody_to_name(server: PostgresServer) -> None:
    dave = plain_admin(server, "dave", "")
    with pytest.raises(Failure, match=r"role 'dave' may not create roles; run") as refused:
        await dave.run(desired("dave"))
    assert "is with role" not in refused.value.message
