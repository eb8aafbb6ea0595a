"""PostgreSQL 13 to 18 under the admin logins that providers hand out: each cell provisions, rests and leaves."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority
from support.admins import PASSWORD, SHAPES, Shape, changed, footprint
from support.majors import majors
from support.provision import CIPHER_START, Provisioner, Storage

NOT_C = ("--locale=C.UTF-8",)
"""A cluster as providers make it: what has collation C here has it because the operator asked for it."""


@pytest.fixture(scope="module", params=majors(), ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest, certificate_authority: CertificateAuthority) -> Iterator[PostgresServer]:
    """A server that takes no connection without TLS."""
    tls = certificate_authority.server()
    with PostgresServer(request.param, initdb_args=NOT_C, tls=tls, hba=TLS_ONLY) as running:
        yield running


TLS_ONLY = "hostssl all all 127.0.0.1/32 scram-sha-256\n"

_made: dict[tuple[int, str], Provisioner] = {}


def admin_of(server: PostgresServer, shape: Shape) -> Provisioner:
    """Return the way in through this shape's admin, made once per server."""
    key = (server.port, shape.name)
    if key not in _made:
        _made[key] = shape.make(server)
    return _made[key]


_names = iter(range(10_000))


def start_cipher(admin: Provisioner, wanted: Storage) -> psycopg.Connection[Any]:
    """Do what the app does at its start and return its open connection."""
    app = admin.app(wanted)
    for statement in CIPHER_START:
        app.execute(statement)
    return app


def prefix_scan(app: psycopg.Connection[Any]) -> str:
    """Fill the store and return how the server finds keys by their prefix, left to its own choice."""
    app.execute(
        "INSERT INTO cipher_store SELECT 'cipher:messages:' || n, 'x', now(), now() FROM generate_series(1, 5000) n "
        "ON CONFLICT (key) DO NOTHING"
    )
    app.execute("ANALYZE cipher_store")
    found = app.execute(
        "EXPLAIN (FORMAT JSON, COSTS OFF) SELECT value FROM cipher_store WHERE key LIKE 'cipher:messages:42%'"
    ).fetchone()
    assert found is not None
    return json.dumps(found[0])


def readable_by(server: PostgresServer, role: str, database: str) -> list[Any]:
    """Return which of Cipher's tables this role may read, were it let into their schema."""
    readable = (
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_roles r ON has_table_privilege(r.oid, c.oid, 'SELECT') "
        "WHERE c.relname ~ '^cipher_' AND c.relkind = 'r' AND r.rolname = %s"
    )
    return server.execute(readable, [role], database=database)


CELLS = [
    pytest.param(shape, existing, id=f"{shape.name}-{'its-database' if existing else 'ours'}")
    for shape in SHAPES
    for existing in (False, True)
    if existing or not shape.shared
]


@pytest.mark.parametrize(("shape", "existing"), CELLS)
async def test_a_cell_provisions_rests_and_leaves(
    server: PostgresServer, shape: Shape, existing: bool, record_property: Callable[[str, object], None]
) -> None:
    admin = admin_of(server, shape)
    wanted = shape.wanted(f"cell{next(_names)}", existing=existing)
    if existing:
        shape.give_database(server, wanted.database)
        if shape.shared:  # it is let into no other
            admin.admin = replace(admin.admin, database=wanted.database)
    seen_from = wanted.database if existing else "postgres"
    before = footprint(server, seen_from)

    admin.opened.clear()
    first = await admin.run(wanted)
    record_property("cell", [server.installation.major, shape.name, existing, first.statements, len(admin.opened)])
    assert first.statements > 0
    if not shape.shared:
        await admin.prove(wanted)
    with start_cipher(admin, wanted) as app:
        scan = prefix_scan(app)
        collation = server.execute("SELECT datcollate FROM pg_database WHERE datname = %s", [wanted.database])
        if not existing:
            assert collation == [("C",)]
            assert "cipher_store_pkey" in scan
            assert "Index Cond" in scan
        else:
            assert collation != [("C",)], "the fixture must show that the operator chose the collation elsewhere"
    assert readable_by(server, "anon", wanted.database) == []

    rest = footprint(server, wanted.database)
    admin.opened.clear()
    second = await admin.run(replace(wanted, established=True))
    assert (second.statements, second.executed, len(admin.opened)) == (0, (), 1)
    assert footprint(server, wanted.database) == rest

    with admin.app(wanted):  # a pod that is still connected
        assert await admin.remove(wanted)
    assert changed(before, footprint(server, seen_from)) == {}


async def test_default_privileges_for_anon_do_not_reach_ours_in_public_either(server: PostgresServer) -> None:
    shape = next(shape for shape in SHAPES if shape.name == "supabase")
    admin, wanted = admin_of(server, shape), replace(shape.wanted("anon", existing=True), schema="public")
    shape.give_database(server, wanted.database)
    await admin.run(wanted)
    with start_cipher(admin, wanted):
        assert readable_by(server, "anon", wanted.database) == []
    # What the admin itself makes there is open to anon: the default privileges really stand.
    server.execute("CREATE TABLE cipher_by_admin (id int)", database="postgres", user=shape.admin, password=PASSWORD)
    assert readable_by(server, "anon", wanted.database) == [("cipher_by_admin",)]
    server.execute("DROP TABLE cipher_by_admin")
    await admin.remove(wanted)
