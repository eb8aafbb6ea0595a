"""Databases, clusters and servers that are not the usual ones."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import parse_spec
from cipher_operator.core.connection.admin import AdminConnection, read_admin_connection
from cipher_operator.core.door import AppCredentials, app_door
from cipher_operator.core.secret import app_secret_data
from devcluster import PostgresServer
from support.admins import changed, footprint
from support.provision import APP_PASSWORD, CIPHER_START, Provisioner, Storage, desired, plain_admin, superuser

_names = iter(range(10_000))


@pytest.fixture(scope="module")
def one() -> Iterator[PostgresServer]:
    with PostgresServer(16) as running:
        yield running


def published_uri(admin: AdminConnection, wanted: Storage) -> str:
    """Return the URL that pods are given, in libpq's dialect."""
    spec = parse_spec("team", "chat", {"connection": {"secretRef": {"name": "pg"}}})
    endpoint = app_door(admin, spec.app, wanted.database, ssl_in_use=False)
    assert wanted.credential is not None and wanted.credential.login is not None
    return app_secret_data(endpoint, AppCredentials(wanted.credential.login, APP_PASSWORD)).data["uri"]


@pytest.mark.parametrize(
    "name", ["UPPER-Case-9", "with space", 'quo"ted', "it's", "per%cent", "sla/sh", "ünïcode", "a$1"]
)
async def test_an_existing_database_of_any_name(one: PostgresServer, name: str) -> None:
    number = next(_names)
    admin = plain_admin(one, f"Ad-min {number}")
    wanted = desired(f"n{number}", database=name, create_database=False)
    quoted = psycopg.sql.Identifier(name).as_string(None)
    with pytest.raises(Failure) as missing:
        await admin.run(wanted)
    assert f"CREATE DATABASE {quoted};" in missing.value.message
    one.execute(f"CREATE DATABASE {quoted} OWNER {psycopg.sql.Identifier(admin.admin.user).as_string(None)}")
    before = footprint(one, name)
    await admin.run(wanted)
    await admin.prove(wanted)
    with psycopg.connect(published_uri(admin.admin, wanted), autocommit=True) as app:
        assert app.execute("SELECT current_database()").fetchone() == (name,)
        for statement in CIPHER_START:
            app.execute(statement)
    assert (await admin.run(replace(wanted, established=True))).executed == ()
    await admin.remove(wanted)
    assert changed(before, footprint(one, name)) == {}


async def test_a_database_of_any_name_that_we_create(one: PostgresServer) -> None:
    before = footprint(one, "postgres")
    admin = superuser(one)
    wanted = desired("o1", database='Our-"own" db')
    await admin.run(wanted)
    await admin.prove(wanted)
    await admin.remove(wanted)
    assert changed(before, footprint(one, "postgres")) == {}


@pytest.mark.parametrize("major", [15, 18])
async def test_an_icu_cluster_gets_a_database_whose_prefix_scans_use_the_key(
    postgres_server: Callable[..., PostgresServer], major: int
) -> None:
    server = postgres_server(major, initdb_args=("--locale-provider=icu", "--icu-locale=en-US"))
    assert server.execute("SELECT datlocprovider FROM pg_database WHERE datname = 'template1'") == [("i",)]
    admin = plain_admin(server, "admin")
    ours, theirs = desired("ours"), desired("theirs")
    server.execute(f'CREATE DATABASE "{theirs.database}" OWNER admin')
    uses_key = []
    for wanted in (ours, theirs):
        await admin.run(wanted)
        await admin.prove(wanted)
        with admin.app(wanted) as app:
            for statement in CIPHER_START:
                app.execute(statement)
            app.execute(
                "INSERT INTO cipher_store SELECT 'cipher:messages:' || n, 'x', now(), now() "
                "FROM generate_series(1, 5000) n"
            )
            app.execute("ANALYZE cipher_store")
            scan = app.execute(
                "EXPLAIN (FORMAT JSON) SELECT value FROM cipher_store WHERE key LIKE 'cipher:messages:42%'"
            ).fetchone()
            uses_key.append("cipher_store_pkey" in json.dumps(scan) and "Index Cond" in json.dumps(scan))
        assert (await admin.run(replace(wanted, established=True))).executed == ()
    assert uses_key == [True, False], "a database of others keeps its own collation"
    for wanted in (ours, theirs):
        await admin.remove(wanted)


@pytest.mark.parametrize("major", [13, 18])
async def test_a_standby_is_read_only_until_it_is_promoted(
    postgres_server: Callable[..., PostgresServer], major: int
) -> None:
    primary = postgres_server(major)
    admin = plain_admin(primary, "admin")
    ready, new = desired("ready"), desired("new")
    await admin.run(ready)
    standby = primary.standby()
    try:
        there = Provisioner(replace(admin.admin, port=standby.port))
        for wanted in (replace(ready, established=True), new):
            for _ in range(3):
                with pytest.raises(Failure) as refused:
                    await there.run(wanted)
                assert refused.value.reason is Reason.READ_ONLY_SERVER
                assert "writer endpoint" in refused.value.message
        with pytest.raises(Failure) as kept:
            await there.remove(ready)
        assert kept.value.reason is Reason.READ_ONLY_SERVER
        assert "ERROR:" not in standby.log_text(), "what cannot work is not tried"
        primary.stop()
        standby.execute("SELECT pg_promote()")
        assert (await there.run(replace(ready, established=True))).executed == ()
        await there.run(new)
        await there.prove(new)
        await there.remove(ready)
    finally:
        standby.close()


@pytest.mark.parametrize("where", ["ALTER DATABASE {database}", "ALTER ROLE {role}", "ALTER SYSTEM"])
async def test_a_read_only_setting_is_named_and_ends_with_it(
    postgres_server: Callable[..., PostgresServer], one: PostgresServer, where: str
) -> None:
    server = postgres_server(16) if where == "ALTER SYSTEM" else one
    number = next(_names)
    admin = plain_admin(server, f"read_only_{number}")
    wanted = desired(f"ro{number}")
    await admin.run(wanted)
    setting = where.format(database=f'"{wanted.database}"', role=f'"{admin.admin.user}"')
    server.execute(f"{setting} SET default_transaction_read_only = on")
    server.execute("SELECT pg_reload_conf()")
    server.mark_log()
    with pytest.raises(Failure) as refused:
        await admin.run(replace(wanted, established=True))
    assert refused.value.reason is Reason.READ_ONLY_SERVER
    assert "default_transaction_read_only" in refused.value.message
    assert "ERROR:" not in server.log_text()
    _, named, remedy = refused.value.message.rpartition("run: ")
    assert bool(named) is (where == "ALTER DATABASE {database}"), "a setting of a database is in sight"
    if named:
        # As it stands, by whoever is where the setting holds.
        server.execute(remedy, database=wanted.database)
    login = psycopg.connect(server.admin_url(), autocommit=True, options="-c default_transaction_read_only=off")
    with login:
        if not named:
            login.execute(f"{setting} RESET default_transaction_read_only".encode())
        login.execute("SELECT pg_reload_conf()")
    assert (await admin.run(replace(wanted, established=True))).executed == ()


async def test_an_ipv6_literal_host(postgres_server: Callable[..., PostgresServer]) -> None:
    if not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("this machine has no IPv6")
    server = postgres_server(
        16, settings={"listen_addresses": "127.0.0.1,::1"}, hba=["host all all samehost scram-sha-256"]
    )
    spec = parse_spec("team", "chat", {"connection": {"secretRef": {"name": "pg"}, "sslMode": "disable"}})
    url = f"postgresql://{server.superuser}:{server.password}@[::1]:{server.port}/postgres"
    admin = Provisioner(read_admin_connection({"CIPHER_PG_URL": url.encode()}, spec.connection, None))
    wanted = desired("six")
    await admin.run(wanted)
    await admin.prove(wanted)
    with psycopg.connect(published_uri(admin.admin, wanted)) as app:
        assert app.execute("SELECT family(inet_server_addr()), current_user").fetchone() == (6, wanted.owner)
    await admin.remove(wanted)
