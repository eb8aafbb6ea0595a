"""Runs the operator's own provisioning against a test server, without a cluster."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

import psycopg

from cipher_operator.api.failures import Failure
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.connection.password import Password
from cipher_operator.core.desired import Desired
from cipher_operator.core.marker import Identity
from cipher_operator.core.observed import Observed
from cipher_operator.core.orders import Credential, Orders
from cipher_operator.core.secret import AppCredentials, app_login
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.login import prove_login
from cipher_operator.postgres.provision import Report, converge
from cipher_operator.postgres.remove import Removal, remove
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from support.scram import verifier

OPEN = DialPolicy(blocked=(), connect_timeout=5.0)
APP_PASSWORD = Password("app-Password-1")


def admin_connection(
    server: PostgresServer, user: str, password: str, database: str | None = None, mode: SSLMode = SSLMode.DISABLE
) -> AdminConnection:
    return AdminConnection(server.host, server.port, user, Password(password), database, mode)


@dataclass(frozen=True, slots=True)
class Storage(Desired):
    """What a storage shall be together with the orders of a run, flat: a test changes either with `replace`."""

    credential: Credential | None = None
    published: str | None = None
    established: bool = False
    recreate: bool = False
    adopted: bool = False
    revoke_previous: bool = False
    standing: str | None = None

    @property
    def orders(self) -> Orders:
        return Orders(**{each.name: getattr(self, each.name) for each in fields(Orders) if hasattr(self, each.name)})

    @property
    def login(self) -> str:
        """The login that pods use."""
        return self.orders.login or self.user

    def following(self, report: Report) -> "Storage":
        """Return this storage with the login that a run has settled."""
        return replace(self, credential=report.orders.credential)


def desired(name: str = "chat", **changes: Any) -> Storage:
    base = Storage(
        identity=Identity("instance-1", "team", name, f"uid-{name}"),
        database=f"db_{name}",
        create_database=True,
        schema="public",
        user=f"app_{name}",
        shared=False,
        credential=Credential(f"app_{name}", APP_PASSWORD),
    )
    return replace(base, **changes)


def seen(report: Report) -> Observed:
    """Return what a run observed last, where it had a session."""
    assert report.observed is not None
    return report.observed


def told(report: Report) -> Report:
    """Return the report of a run that did not stop. Raises what stopped it."""
    if report.failure is not None:
        raise report.failure
    return report


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

    async def run(self, wanted: Storage, *, write: bool = True) -> Report:
        return told(await self.report(wanted, write=write))

    async def report(self, wanted: Storage, *, write: bool = True) -> Report:
        """Run and return the report as it is, that of a failure too."""
        return await converge(self.connect, wanted, wanted.orders, maintenance=self.admin.database, write=write)

    async def provision(self, wanted: Storage, password: Password = APP_PASSWORD) -> Report:
        """Run, and test the login: what stands before publishing."""

        async def test(orders: Orders, ready: Awaitable[None]) -> Failure | None:
            try:
                await ready
                await self.prove(replace(wanted, credential=orders.credential), password)
            except Failure as failure:
                return failure
            return None

        run = told(await converge(self.connect, wanted, wanted.orders, maintenance=self.admin.database, prove=test))
        if not run.tested:
            await self.prove(wanted.following(run), password)
        elif run.refusal is not None:
            raise run.refusal
        return run

    async def removal(self, wanted: Storage) -> Removal:
        return await remove(self.connect, wanted, wanted.orders, maintenance=self.admin.database)

    async def remove(self, wanted: Storage) -> tuple[str, ...]:
        removal = await self.removal(wanted)
        if removal.failure is not None:
            raise removal.failure
        return removal.lines

    async def prove(self, wanted: Storage, password: Password = APP_PASSWORD) -> None:
        given = self.admin.password if wanted.shared else password
        login = app_login(self.admin, AppCredentials(wanted.login, given))
        async with await Session.open(login, wanted.database, OPEN, app_login=True) as session:
            await prove_login(session, wanted, wanted.login)

    def app(self, wanted: Storage, password: Password = APP_PASSWORD) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=self.admin.host,
            port=self.admin.port,
            user=wanted.login,
            password=self.admin.password.reveal() if wanted.shared else password.reveal(),
            dbname=wanted.database,
            sslmode=self.admin.ssl_mode.value,
            # As node-postgres does, whatever the login's settings say.
            client_encoding="UTF8",
            autocommit=True,
        )


def plain_admin(server: PostgresServer, name: str, attributes: str = "CREATEROLE CREATEDB") -> Provisioner:
    """Make a login with these attributes and return the way in through it."""
    server.execute(f"CREATE ROLE \"{name}\" LOGIN {attributes} PASSWORD '{verifier('admin-pw', rounds=1)}'")
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
