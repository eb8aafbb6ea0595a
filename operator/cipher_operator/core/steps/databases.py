"""Steps on the database, its schema, and the grants on both."""

from dataclasses import dataclass
from typing import ClassVar

from psycopg import sql

from cipher_operator.api.failures import ConditionType
from cipher_operator.core.steps.composing import compose, number


@dataclass(frozen=True, slots=True)
class CreateDatabase:
    """Create the database, owned by the admin, from template0 with collation C.

    template0 needs no lock on template1; collation C lets `LIKE 'prefix%'` use the primary key. LOCALE_PROVIDER
    exists since PostgreSQL 15 and keeps clusters made with ICU at libc (CREATE DATABASE in the manual).
    """

    database: str
    admin: str
    provider: bool
    limit: int = -1
    """A birthmark, lifted in the next message."""
    alone: ClassVar[bool] = True
    stage: ClassVar[ConditionType] = ConditionType.DATABASE_READY

    def statements(self) -> tuple[sql.Composed, ...]:
        provider = sql.SQL(" LOCALE_PROVIDER libc" if self.provider else "")
        return (
            compose(
                "CREATE DATABASE {database} OWNER {admin} TEMPLATE template0 ENCODING 'UTF8'{provider}"
                " LC_COLLATE 'C' LC_CTYPE 'C'{limit}",
                database=self.database,
                admin=self.admin,
                provider=provider,
                limit=sql.SQL("") if self.limit < 0 else sql.SQL(" CONNECTION LIMIT ") + number(self.limit),
            ),
        )


@dataclass(frozen=True, slots=True)
class LiftLimit:
    """Take the birthmark off a database that we created: from here on the grants tell."""

    database: str
    stage: ClassVar[ConditionType] = ConditionType.DATABASE_READY

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("ALTER DATABASE {database} CONNECTION LIMIT -1", database=self.database),)


@dataclass(frozen=True, slots=True)
class GrantDatabase:
    """Give the owner role everything on the database; `acting` as a role that may, where the session itself may not."""

    database: str
    owner: str
    acting: str | None = None
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("GRANT ALL ON DATABASE {database} TO {owner}", database=self.database, owner=self.owner),)


@dataclass(frozen=True, slots=True)
class RevokePublic:
    """Close a database that we created to everybody else."""

    database: str
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC", database=self.database),)


@dataclass(frozen=True, slots=True)
class CreateSchema:
    """Create the schema, owned by the owner role; `acting` as that role, where only it may create in the database."""

    schema: str
    owner: str
    acting: str | None = None
    stage: ClassVar[ConditionType] = ConditionType.SCHEMA_APPLIED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("CREATE SCHEMA {schema} AUTHORIZATION {owner}", schema=self.schema, owner=self.owner),)


@dataclass(frozen=True, slots=True)
class GrantSchema:
    """Let the owner role use the schema and create in it: Cipher creates at every start; `acting` as above."""

    schema: str
    owner: str
    acting: str | None = None
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("GRANT USAGE, CREATE ON SCHEMA {schema} TO {owner}", schema=self.schema, owner=self.owner),)


@dataclass(frozen=True, slots=True)
class GrantRelations:
    """Give the owner role everything on what the admin made in a database of ours, or on its own tables; `acting` as
    their owner."""

    schema: str
    kind: str
    names: tuple[str, ...]
    owner: str
    acting: str | None = None
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        relations = sql.SQL(", ").join(sql.Identifier(self.schema, name) for name in self.names)
        kind = sql.SQL("SEQUENCE" if self.kind == "SEQUENCE" else "TABLE")
        return (
            compose("GRANT ALL ON {kind} {relations} TO {owner}", kind=kind, relations=relations, owner=self.owner),
        )


@dataclass(frozen=True, slots=True)
class GrantFuture:
    """The same for what the admin will make there."""

    schema: str
    kind: str
    admin: str
    owner: str
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        change = compose("GRANT ALL ON {kind} TO {owner}", kind=plural(self.kind), owner=self.owner)
        return (for_future(self.schema, self.admin, change),)


def for_future(schema: str, admin: str, change: sql.Composed) -> sql.Composed:
    """Return a GRANT or REVOKE for what the admin will make in a schema (ALTER DEFAULT PRIVILEGES in the manual)."""
    return compose(
        "ALTER DEFAULT PRIVILEGES FOR ROLE {admin} IN SCHEMA {schema} {change}",
        admin=admin,
        schema=schema,
        change=change,
    )


def plural(kind: str) -> sql.SQL:
    """Return the word of ALTER DEFAULT PRIVILEGES for relations of kind 'r' or 'S'."""
    return sql.SQL("SEQUENCES" if kind == "S" else "TABLES")
