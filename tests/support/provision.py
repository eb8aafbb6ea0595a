"""Runs the operator's own provisioning against a test server, without a cluster."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.connection.password import Password
from cipher_operator.core.connection.scram import scram_verifier
from cipher_operator.core.desired import Credential, Desired
from cipher_operator.core.marker import Identity
from cipher_operator.core.secret import AppCredentials, app_login
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.login import prove_login
from cipher_operator.postgres.provision import Converged, converge
from cipher_operator.postgres.remove import remove
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer

OPEN = DialPolicy(blocked=(), connect_timeout=5.0)
APP_PASSWORD = Password("app-Password-1")


def admin_connection(
    server: PostgresServer, user: str, password: str, database: str | None = None, mode: SSLMode = SSLMode.DISABLE
) -> AdminConnection:
    return AdminConnection(server.host, server.port, user, Password(password), database, mode)


def desired(name: str = "chat", **changes: Any) -> Desired:
    base = Desired(
        identity=Identity("instance-1", "team", name, f"uid-{name}"),
        database=f"db_{name}",
        create_database=True,
        schema="public",
        user=f"app_{name}",
        credential=Credential(f"app_{name}", scram_verifier(APP_PASSWORD, os.urandom(16))),
    )
    return replace(base, **changes)


@dataclass
class Provisioner:
    """The operator's way in to one server, counting what it opens."""

    admin: AdminConnection
    opened: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def connect(self, database: str) -> AsyncIterator[Session]:
        async with await Session.open(self.admin, database, OPEN) as session:
            self.opened.append(database)
            yield session

    async def run(self, wanted: Desired, *, write: bool = True) -> Converged:
        return await converge(self.connect, wanted, maintenance=self.admin.database, write=write)

    async def provision(self, wanted: Desired, password: Password = APP_PASSWORD) -> Converged:
        """Run, and test the login: what stands before publishing."""
        run = await converge(
            self.connect,
            wanted,
            maintenance=self.admin.database,
            prove=lambda settled: self.prove(settled, password),
        )
        if not run.proven:
            await self.prove(run.desired, password)
        return run

    async def remove(self, wanted: Desired) -> list[str]:
        return await remove(self.connect, wanted, maintenance=self.admin.database)

    async def prove(self, wanted: Desired, password: Password = APP_PASSWORD) -> None:
        if wanted.credential is None:
            login = self.admin
        else:
            assert wanted.credential.login
            login = app_login(self.admin, AppCredentials(wanted.credential.login, password))
        async with await Session.open(login, wanted.database, OPEN, app_login=True) as session:
            await prove_login(session, wanted, login.user)

    def app(self, wanted: Desired, password: Password = APP_PASSWORD) -> psycopg.Connection[Any]:
        user = wanted.credential.login if wanted.credential else wanted.user
        return psycopg.connect(
            host=self.admin.host,
            port=self.admin.port,
            user=user,
            password=password.reveal() if wanted.credential else self.admin.password.reveal(),
            dbname=wanted.database,
            sslmode=self.admin.ssl_mode.value,
            # As node-postgres does, whatever the login's settings say.
            client_encoding="UTF8",
            autocommit=True,
        )


def plain_admin(server: PostgresServer, name: str, attributes: str = "CREATEROLE CREATEDB") -> Provisioner:
    """Make a login with these attributes and return the way in through it."""
    server.execute(f"CREATE ROLE \"{name}\" LOGIN {attributes} PASSWORD 'admin-pw'")
    return Provisioner(admin_connection(server, name, "admin-pw", "postgres"))


def superuser(server: PostgresServer) -> Provisioner:
    return Provisioner(admin_connection(server, server.superuser, server.password, "postgres"))


def snapshot(server: PostgresServer, database: str = "postgres") -> list[Any]:
    """Return roles, memberships, settings, comments and databases: what a run without writes leaves as it is."""
    queries = (
        "SELECT rolname, rolcanlogin, rolsuper, rolcreaterole, rolconnlimit FROM pg_roles ORDER BY 1",
        "SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members ORDER BY 1, 2",
        "SELECT datname, datdba::regrole::text, datacl::text FROM pg_database ORDER BY 1",
        "SELECT objoid::regrole::text, description FROM pg_shdescription "
        "WHERE classoid = 'pg_authid'::regclass ORDER BY 1",
        "SELECT rolpassword FROM pg_authid ORDER BY rolname",
    )
    state: list[Any] = [server.execute(query) for query in queries]
    local = (
        "SELECT c.relname, c.relkind, pg_get_userbyid(c.relowner), c.relacl::text FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^(pg_|information_schema)' ORDER BY 1"
    )
    return [*state, server.execute(local, database=database)]


CIPHER_START = (
    "CREATE TABLE IF NOT EXISTS cipher_store (key TEXT PRIMARY KEY, value TEXT NOT NULL, "
    "created_at TIMESTAMPTZ NOT NULL, updated_at TIMESTAMPTZ NOT NULL)",
    "CREATE TABLE IF NOT EXISTS cipher_lists (key TEXT NOT NULL, value TEXT NOT NULL, position INTEGER NOT NULL, "
    "created_at TIMESTAMPTZ NOT NULL, PRIMARY KEY (key, position))",
    "CREATE TABLE IF NOT EXISTS cipher_list_metadata (key TEXT PRIMARY KEY, count INTEGER NOT NULL DEFAULT 0, "
    "created_at TIMESTAMPTZ NOT NULL, updated_at TIMESTAMPTZ NOT NULL)",
    "CREATE INDEX IF NOT EXISTS idx_cipher_store_updated_at ON cipher_store(updated_at)",
    "CREATE INDEX IF NOT EXISTS idx_cipher_lists_key ON cipher_lists(key)",
    "CREATE INDEX IF NOT EXISTS idx_cipher_lists_created_at ON cipher_lists(created_at)",
    "INSERT INTO cipher_store VALUES ('cipher:sessions:1', 'hello', now(), now()) ON CONFLICT (key) DO NOTHING",
    "SELECT value FROM cipher_store WHERE key LIKE 'cipher:%'",
    "ANALYZE cipher_store",
)
"""What the app does at its start, in its own words."""
