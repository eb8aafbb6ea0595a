"""Steps that take away what the operator created."""

from dataclasses import dataclass
from typing import ClassVar

from psycopg import sql

from cipher_operator.api.failures import ConditionType
from cipher_operator.core.steps.composing import compose
from cipher_operator.core.steps.databases import for_future, plural


@dataclass(frozen=True, slots=True)
class CloseDatabase:
    """Let nobody new into a database that is about to be dropped. Fenced."""

    database: str
    stage: ClassVar[ConditionType] = ConditionType.DATABASE_READY

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("ALTER DATABASE {database} WITH ALLOW_CONNECTIONS false", database=self.database),)


@dataclass(frozen=True, slots=True)
class DropDatabase:
    """Drop a database that we created, with the sessions in it where `force`: those of roles whose privileges the
    admin has. Else the server waits some seconds for them to end."""

    database: str
    force: bool = True
    alone: ClassVar[bool] = True
    stage: ClassVar[ConditionType] = ConditionType.DATABASE_READY

    def statements(self) -> tuple[sql.Composed, ...]:
        force = sql.SQL(" WITH (FORCE)" if self.force else "")
        return (compose("DROP DATABASE {database}{force}", database=self.database, force=force),)


@dataclass(frozen=True, slots=True)
class EndSessions:
    """End a login's sessions in a database, as that login."""

    database: str
    acting: str
    stage: ClassVar[ConditionType] = ConditionType.DATABASE_READY

    def statements(self) -> tuple[sql.Composed, ...]:
        return (
            compose(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = {database} AND usename = {role}",
                database=sql.Literal(self.database),
                role=sql.Literal(self.acting),
            ),
        )


@dataclass(frozen=True, slots=True)
class DropTable:
    """Drop one of Cipher's tables; never what depends on it. Fenced."""

    schema: str
    table: str
    acting: str | None = None
    stage: ClassVar[ConditionType] = ConditionType.SCHEMA_APPLIED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("DROP TABLE {schema}.{table} RESTRICT", schema=self.schema, table=self.table),)


@dataclass(frozen=True, slots=True)
class DropSchema:
    """Drop a schema that we created and that is empty. Fenced."""

    schema: str
    acting: str | None = None
    stage: ClassVar[ConditionType] = ConditionType.SCHEMA_APPLIED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("DROP SCHEMA {schema} RESTRICT", schema=self.schema),)


@dataclass(frozen=True, slots=True)
class RevokeDatabase:
    """Take our grants on a database back, as the role that made them, so that the owner role can be dropped. Fenced."""

    database: str
    owner: str
    acting: str | None = None
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("REVOKE ALL ON DATABASE {database} FROM {owner}", database=self.database, owner=self.owner),)


@dataclass(frozen=True, slots=True)
class RevokeSchema:
    """The same for a schema."""

    schema: str
    owner: str
    acting: str | None = None
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("REVOKE ALL ON SCHEMA {schema} FROM {owner}", schema=self.schema, owner=self.owner),)


@dataclass(frozen=True, slots=True)
class RevokeFuture:
    """The same for what the admin will make in a schema. `kind` is 'r' or 'S'."""

    schema: str
    kind: str
    admin: str
    owner: str
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        change = compose("REVOKE ALL ON {kind} FROM {owner}", kind=plural(self.kind), owner=self.owner)
        return (for_future(self.schema, self.admin, change),)


@dataclass(frozen=True, slots=True)
class DropRole:
    """Drop a role that we created. Fenced."""

    role: str
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("DROP ROLE {role}", role=self.role),)
