"""A limit of a database that ends the administrator's own sessions there: it is told with the SQL that lifts it."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from cipher_operator.core.schema import TABLE_NAMES
from cipher_operator.postgres import rights
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from support.runs import SERVERS, Runs
from support.tenants import PROD, Tenants

ENDED = {"idle_session_timeout": "Disconnected", "transaction_timeout": "LockTimeout"}
SAYS_ITSELF = re.compile(r"which may do so itself: (ALTER ROLE [^;]*);")

_numbers = iter(range(10_000))


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """It has both limits."""
    with PostgresServer(18) as running:
        yield running


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator takes a moment before its first message."""
    opened = Session.open

    async def and_rests(*way: Any, **how: Any) -> Session:
        session = await opened(*way, **how)
        await asyncio.sleep(0.05)
        return session

    monkeypatch.setattr(Session, "open", and_rests)


@pytest.mark.parametrize("what", ["check", "deletion"])
@pytest.mark.parametrize("limit", ENDED)
async def test_it_is_named_with_its_remedy(server: PostgresServer, limit: str, what: str) -> None:
    runs = Runs(server, f"ended_{next(_numbers)}")
    admin = f"admin_{runs.database}"
    runs.sql(f"CREATE ROLE {admin} LOGIN CREATEROLE CREATEDB PASSWORD 'admin-pw'")
    runs.admin_secret(user=admin, password="admin-pw")
    await runs.ready(deletionPolicy="Delete")
    runs.sql(f"ALTER DATABASE {runs.database} SET {limit} = 1")
    if what == "deletion":
        runs.api.delete("cipherstorages", "chat")
    else:
        runs.ask()
    # The reset of a connection that the server ended while nobody listened may outrun its last words.
    await runs.until(lambda: SAYS_ITSELF.search(runs.message()) is not None, most=8)
    assert runs.says() == ("False", ENDED[limit]), runs.message()
    found = SAYS_ITSELF.search(runs.message())
    assert found is not None and f"the admin login `{admin}`" in runs.message(), runs.message()
    assert found[1] == f'ALTER ROLE "{admin}" SET {limit} = 0'
    runs.sql(found[1])
    if what == "deletion":
        await runs.run()
        assert runs.api.read("cipherstorages", "chat") is None
    else:
        runs.sql(f"ALTER DATABASE {runs.database} RESET {limit}")
        await runs.until(lambda: runs.says() == ("True", "Ready"))
    await runs.close()


async def test_it_is_named_with_its_remedy_where_a_mend_waits(server: PostgresServer) -> None:
    runs = Runs(server, f"ended_{next(_numbers)}")
    admin = f"admin_{runs.database}"
    runs.sql(f"CREATE ROLE {admin} LOGIN CREATEDB PASSWORD 'admin-pw'")
    runs.admin_secret(user=admin, password="admin-pw")
    await runs.ready(user={"mode": "Shared"})
    runs.sql(f"COMMENT ON TABLE {TABLE_NAMES[1]} IS NULL", runs.database)
    runs.sql(f"ALTER DATABASE {runs.database} SET transaction_timeout = 300")
    with psycopg.connect(server.admin_url(runs.database, sslmode="disable")) as other:
        other.execute(f"SET transaction_timeout = 0; LOCK TABLE {TABLE_NAMES[1]} IN SHARE UPDATE EXCLUSIVE MODE")
        await runs.run()
    assert runs.says() == ("False", "LockTimeout"), runs.message()
    found = SAYS_ITSELF.search(runs.message())
    assert found is not None and found[1] == f'ALTER ROLE "{admin}" SET transaction_timeout = 0', runs.message()
    await runs.close()


async def test_it_is_named_with_its_remedy_to_whoever_runs_a_cipherserver(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = f"admin_{tenants.database}"
    tenants.sql(f"CREATE ROLE {admin} LOGIN CREATEROLE CREATEDB PASSWORD 'pw'")
    tenants.sql(f"ALTER ROLE {admin} SET transaction_timeout = 200")
    monkeypatch.setattr(rights, "_QUERY", "SELECT pg_sleep(10)")
    tenants.platform()
    url = tenants.server.admin_url(sslmode="disable", user=admin, password="pw")
    tenants.api.secret(f"{PROD}-admin", {"CIPHER_PG_URL": url}, namespace=SERVERS)
    await tenants.look_at_server()
    ready = tenants.server_ready()
    assert ready["reason"] == "LockTimeout", ready
    found = SAYS_ITSELF.search(ready["message"])
    assert found is not None and found[1] == f'ALTER ROLE "{admin}" SET transaction_timeout = 0', ready
