"""What a tenant does with his ordinary login on the shared server: none of it keeps another's storage waiting."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest

from cipher_operator.api.names import ADVISORY_LOCK_PREFIX, default_user_name
from support.runs import NAMESPACE
from support.tenants import Tenants

EVIL = "evil"
INDEX = "idx_cipher_store_updated_at"


def login(tenants: Tenants, name: str, database: str | None = None) -> "psycopg.Connection[Any]":
    """Log in as this storage's app, in its own database or another that lets every login in."""
    data = tenants.api.data(f"{name}-cipher", namespace=EVIL)
    assert data is not None
    return psycopg.connect(data["uri"], dbname=database or data["database"], autocommit=True)


LOCKS = {
    "of his session": "SELECT pg_advisory_lock(hashtextextended(%s, 0))",
    "shared": "SELECT pg_advisory_lock_shared(hashtextextended(%s, 0))",
}


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
@pytest.mark.parametrize("what", ["creation", "deletion"])
async def test_the_lock_of_anothers_storage_in_a_database_that_is_open_to_all(
    tenants: Tenants, lock: str, what: str
) -> None:
    tenants.platform(limits={"deletionPolicies": ["Retain", "Delete"]})
    await tenants.ready_tenant("mallory", EVIL)
    if what == "deletion":
        await tenants.ready_tenant(deletionPolicy="Delete")
    owner = f"{default_user_name(NAMESPACE, 'chat')}_owner"
    with login(tenants, "mallory", "postgres") as holder:
        holder.execute(lock, (ADVISORY_LOCK_PREFIX + owner,))
        if what == "creation":
            await tenants.ready_tenant()
        else:
            tenants.api.delete("cipherstorages", "chat")
            await tenants.look()
            assert tenants.api.read("cipherstorages", "chat") is None
            assert tenants.sql(f"SELECT FROM pg_roles WHERE rolname = '{owner}'") == []


@contextmanager
def an_index_that_cannot_be_built(tenants: Tenants, name: str) -> Iterator[None]:
    """Leave an index invalid, and a transaction open that whoever builds it waits for."""
    with login(tenants, name) as builder, login(tenants, name) as idle:
        builder.execute(f"DROP INDEX {INDEX}")
        idle.execute("BEGIN")
        idle.execute("LOCK TABLE cipher_store IN ROW EXCLUSIVE MODE")
        builder.execute("SET statement_timeout = '300ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            builder.execute(f"CREATE INDEX CONCURRENTLY {INDEX} ON cipher_store (updated_at)")
        yield


async def test_builds_of_one_tenant_leave_the_slots_to_others(tenants: Tenants) -> None:
    tenants.platform(maxConnections=3)
    names = ["m1", "m2", "m3", "m4"]
    for name in names:
        await tenants.ready_tenant(name, EVIL)
    with ExitStack() as held:
        for name in names:
            held.enter_context(an_index_that_cannot_be_built(tenants, name))
        for name in names:
            assert await tenants.look(name, EVIL) == ("False", "BuildingIndex")
        assert tenants.lanes.held == 1, "a slot, and not one for each"
        await tenants.ready_tenant()
    for _ in range(400):
        if len(set(tenants.started)) == len(names):
            break
        await asyncio.sleep(0.05)
    for name in names * 4:
        await tenants.look(name, EVIL)
        for _ in range(100):
            if tenants.lanes.held == 0:
                break
            await asyncio.sleep(0.05)
    assert [tenants.told(name, EVIL) for name in names] == [("True", "Ready")] * 4
