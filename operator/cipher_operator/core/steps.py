"""The closed set of plan steps. Each renders SQL; none knows a connection.

Statements run behind the prefix of `postgres.apply` (role NONE, search_path pg_catalog) unless `alone`, which
PostgreSQL refuses to run in a transaction: those name everything in full.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeAlias

from psycopg import sql

from cipher_operator.api.failures import ConditionType
from cipher_operator.core.schema import Column, Index, Table

_ACCESS, _DATABASE, _SCHEMA = (
    ConditionType.ACCESS_GRANTED,
    ConditionType.DATABASE_READY,
    ConditionType.SCHEMA_APPLIED,
)


def _q(template: str, **names: str | sql.Composable) -> sql.Composed:
    """Return the template with strings as quoted identifiers and Composables as they are."""
    composed = {key: sql.Identifier(value) if isinstance(value, str) else value for key, value in names.items()}
    return sql.SQL(template).format(**composed)


def _list(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _with_inherit(modern: bool) -> sql.SQL:
    """Return the options that make a membership usable since PostgreSQL 16 (release notes, GRANT)."""
    return sql.SQL(" WITH INHERIT TRUE, SET TRUE" if modern else "")


@dataclass(frozen=True, slots=True)
class CreateOwner:
    """Create the NOLOGIN role that owns Cipher's relations, with its marker."""

    owner: str
    marker: str
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        return (_q("CREATE ROLE {owner} NOLOGIN", owner=self.owner), _comment(self.owner, self.marker))


@dataclass(frozen=True, slots=True)
class WriteMarker:
    """Bring the marker up to date. Fenced."""

    owner: str
    marker: str
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        return (_comment(self.owner, self.marker),)


def _comment(role: str, text: str) -> sql.Composed:
    return _q("COMMENT ON ROLE {role} IS {text}", role=role, text=sql.Literal(text))


@dataclass(frozen=True, slots=True)
class WriteTableMarker:
    """Shared mode: the marker stands on a table of ours."""

    schema: str
    table: str
    marker: str
    stage: ClassVar[ConditionType] = _SCHEMA

    def statements(self) -> tuple[sql.Composed, ...]:
        text = sql.Literal(self.marker)
        return (_q("COMMENT ON TABLE {schema}.{table} IS {text}", schema=self.schema, table=self.table, text=text),)


@dataclass(frozen=True, slots=True)
class JoinRole:
    """Make a role a member of another, so that it can use what that one owns."""

    role: str
    member: str
    modern: bool
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        options = _with_inherit(self.modern)
        return (_q("GRANT {role} TO {member}{options}", role=self.role, member=self.member, options=options),)


@dataclass(frozen=True, slots=True)
class CreateLogin:
    """Create a login that acts as the owner role."""

    login: str
    owner: str
    verifier: str = field(repr=False)
    connection_limit: int
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        return (
            _q(
                "CREATE ROLE {login} LOGIN PASSWORD {verifier} CONNECTION LIMIT {limit} IN ROLE {owner}",
                login=self.login,
                verifier=sql.Literal(self.verifier),
                limit=sql.SQL(str(int(self.connection_limit))),
                owner=self.owner,
            ),
            _q("ALTER ROLE {login} SET role = {owner}", login=self.login, owner=sql.Literal(self.owner)),
        )


@dataclass(frozen=True, slots=True)
class SetPassword:
    """Set a login's password and let it log in. Fenced."""

    login: str
    verifier: str = field(repr=False)
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        verifier = sql.Literal(self.verifier)
        return (_q("ALTER ROLE {login} LOGIN PASSWORD {verifier}", login=self.login, verifier=verifier),)


@dataclass(frozen=True, slots=True)
class DisableLogin:
    """End a login's password; its open sessions go on. Fenced."""

    login: str
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        return (_q("ALTER ROLE {login} NOLOGIN PASSWORD NULL", login=self.login),)


@dataclass(frozen=True, slots=True)
class AlterLogin:
    """Restore LOGIN, the connection limit and a password that does not expire."""

    login: str
    connection_limit: int
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        limit = sql.SQL(str(int(self.connection_limit)))
        return (
            _q(
                "ALTER ROLE {login} LOGIN CONNECTION LIMIT {limit} VALID UNTIL 'infinity'",
                login=self.login,
                limit=limit,
            ),
        )


@dataclass(frozen=True, slots=True)
class SetActingRole:
    """Let everything a login makes belong to the owner role."""

    login: str
    owner: str
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        return (_q("ALTER ROLE {login} SET role = {owner}", login=self.login, owner=sql.Literal(self.owner)),)


@dataclass(frozen=True, slots=True)
class ResetSetting:
    """Take back a role setting that would shadow ours."""

    login: str
    setting: str
    database: str | None
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        place = sql.SQL("") if self.database is None else _q(" IN DATABASE {database}", database=self.database)
        return (_q("ALTER ROLE {login}{place} RESET {setting}", login=self.login, place=place, setting=self.setting),)


@dataclass(frozen=True, slots=True)
class SetSearchPath:
    """Point a login at Cipher's schema in this database."""

    login: str
    database: str
    path: tuple[str, ...]
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        return (
            _q(
                "ALTER ROLE {login} IN DATABASE {database} SET search_path = {path}",
                login=self.login,
                database=self.database,
                path=_list(self.path),
            ),
        )


@dataclass(frozen=True, slots=True)
class CreateDatabase:
    """Create the database, owned by the admin, from template0 with collation C.

    template0 needs no lock on template1; collation C lets `LIKE 'prefix%'` use the primary key. LOCALE_PROVIDER
    exists since PostgreSQL 15 and keeps clusters made with ICU at libc (CREATE DATABASE in the manual).
    """

    database: str
    admin: str
    provider: bool
    alone: ClassVar[bool] = True
    stage: ClassVar[ConditionType] = _DATABASE

    def statements(self) -> tuple[sql.Composed, ...]:
        provider = sql.SQL(" LOCALE_PROVIDER libc" if self.provider else "")
        return (
            _q(
                "CREATE DATABASE {database} OWNER {admin} TEMPLATE template0 ENCODING 'UTF8'{provider}"
                " LC_COLLATE 'C' LC_CTYPE 'C'",
                database=self.database,
                admin=self.admin,
                provider=provider,
            ),
        )


@dataclass(frozen=True, slots=True)
class GrantDatabase:
    """Give the owner role everything on the database."""

    database: str
    owner: str
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        return (_q("GRANT ALL ON DATABASE {database} TO {owner}", database=self.database, owner=self.owner),)


@dataclass(frozen=True, slots=True)
class RevokePublic:
    """Close a database that we created to everybody else."""

    database: str
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        return (_q("REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC", database=self.database),)


@dataclass(frozen=True, slots=True)
class CreateSchema:
    """Create the schema, owned by the owner role."""

    schema: str
    owner: str
    stage: ClassVar[ConditionType] = _SCHEMA

    def statements(self) -> tuple[sql.Composed, ...]:
        return (_q("CREATE SCHEMA {schema} AUTHORIZATION {owner}", schema=self.schema, owner=self.owner),)


@dataclass(frozen=True, slots=True)
class GrantSchema:
    """Let the owner role use the schema and create in it: Cipher creates at every start."""

    schema: str
    owner: str
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        return (_q("GRANT USAGE, CREATE ON SCHEMA {schema} TO {owner}", schema=self.schema, owner=self.owner),)


@dataclass(frozen=True, slots=True)
class CreateTable:
    """Create one of Cipher's tables as the owner role, so that no default privileges of the admin apply."""

    schema: str
    table: Table
    owner: str
    stage: ClassVar[ConditionType] = _SCHEMA

    def statements(self) -> tuple[sql.Composed, ...]:
        body = sql.SQL(", ").join(
            [*map(_column, self.table.columns), _q("PRIMARY KEY ({key})", key=_list(self.table.primary_key))]
        )
        return (_q("CREATE TABLE {schema}.{table} ({body})", schema=self.schema, table=self.table.name, body=body),)

    @property
    def acting(self) -> str:
        """Return the role that runs it."""
        return self.owner


def _column(column: Column) -> sql.Composed:
    null = " NOT NULL" if column.not_null else ""
    default = f" DEFAULT {column.default}" if column.default is not None else ""
    rest = sql.SQL(f"{column.type}{null}{default}")
    return _q("{name} {rest}", name=column.name, rest=rest)


@dataclass(frozen=True, slots=True)
class CreateIndex:
    """Create one of Cipher's indexes; concurrently on a table that is large, so that writers never wait."""

    schema: str
    index: Index
    owner: str
    concurrently: bool
    stage: ClassVar[ConditionType] = _SCHEMA

    @property
    def alone(self) -> bool:
        """Return whether it must not run in a transaction."""
        return self.concurrently

    def statements(self) -> tuple[sql.Composed, ...]:
        statement = _q(
            "CREATE INDEX{how} {index} ON {schema}.{table} USING btree ({columns})",
            how=sql.SQL(" CONCURRENTLY" if self.concurrently else ""),
            index=self.index.name,
            schema=self.schema,
            table=self.index.table,
            columns=_list(self.index.columns),
        )
        return (statement,)

    @property
    def acting(self) -> str | None:
        """Return the role that runs it."""
        return None if self.concurrently else self.owner


@dataclass(frozen=True, slots=True)
class RebuildIndex:
    """Repair an index that an interrupted concurrent build left invalid."""

    schema: str
    index: str
    alone: ClassVar[bool] = True
    stage: ClassVar[ConditionType] = _SCHEMA

    def statements(self) -> tuple[sql.Composed, ...]:
        return (_q("REINDEX INDEX CONCURRENTLY {schema}.{index}", schema=self.schema, index=self.index),)


@dataclass(frozen=True, slots=True)
class SetTableOwner:
    """Give a table (and with it its indexes) to the owner role. Fenced."""

    schema: str
    table: str
    owner: str
    stage: ClassVar[ConditionType] = _SCHEMA

    def statements(self) -> tuple[sql.Composed, ...]:
        return (
            _q("ALTER TABLE {schema}.{table} OWNER TO {owner}", schema=self.schema, table=self.table, owner=self.owner),
        )


@dataclass(frozen=True, slots=True)
class GrantRelations:
    """Give the owner role what the admin made in the schema of a database that we created."""

    schema: str
    kind: str
    names: tuple[str, ...]
    owner: str
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        relations = sql.SQL(", ").join(sql.Identifier(self.schema, name) for name in self.names)
        kind = sql.SQL("SEQUENCE" if self.kind == "SEQUENCE" else "TABLE")
        return (_q("GRANT ALL ON {kind} {relations} TO {owner}", kind=kind, relations=relations, owner=self.owner),)


@dataclass(frozen=True, slots=True)
class GrantFuture:
    """The same for what the admin will make there."""

    schema: str
    kind: str
    admin: str
    owner: str
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        return (
            _q(
                "ALTER DEFAULT PRIVILEGES FOR ROLE {admin} IN SCHEMA {schema} GRANT ALL ON {kind} TO {owner}",
                admin=self.admin,
                schema=self.schema,
                kind=sql.SQL("SEQUENCES" if self.kind == "S" else "TABLES"),
                owner=self.owner,
            ),
        )


@dataclass(frozen=True, slots=True)
class CreateExtension:
    """Create an extension in a schema that the tenant cannot write."""

    extension: str
    schema: str
    create_schema: bool
    stage: ClassVar[ConditionType] = _SCHEMA

    def statements(self) -> tuple[sql.Composed, ...]:
        schema = (_q("CREATE SCHEMA {schema}", schema=self.schema),) if self.create_schema else ()
        return (
            *schema,
            _q("CREATE EXTENSION {extension} SCHEMA {schema}", extension=self.extension, schema=self.schema),
        )


@dataclass(frozen=True, slots=True)
class GrantUsage:
    """Let the owner role use an extension's schema."""

    schema: str
    owner: str
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        return (_q("GRANT USAGE ON SCHEMA {schema} TO {owner}", schema=self.schema, owner=self.owner),)


@dataclass(frozen=True, slots=True)
class CloseDatabase:
    """Let nobody new into a database that is about to be dropped. Fenced."""

    database: str
    stage: ClassVar[ConditionType] = _DATABASE

    def statements(self) -> tuple[sql.Composed, ...]:
        return (_q("ALTER DATABASE {database} WITH ALLOW_CONNECTIONS false", database=self.database),)


@dataclass(frozen=True, slots=True)
class DropDatabase:
    """Drop a database that we created, with the sessions in it."""

    database: str
    alone: ClassVar[bool] = True
    stage: ClassVar[ConditionType] = _DATABASE

    def statements(self) -> tuple[sql.Composed, ...]:
        return (_q("DROP DATABASE {database} WITH (FORCE)", database=self.database),)


@dataclass(frozen=True, slots=True)
class DropTable:
    """Drop one of Cipher's tables; never what depends on it. Fenced."""

    schema: str
    table: str
    stage: ClassVar[ConditionType] = _SCHEMA

    def statements(self) -> tuple[sql.Composed, ...]:
        return (_q("DROP TABLE {schema}.{table} RESTRICT", schema=self.schema, table=self.table),)


@dataclass(frozen=True, slots=True)
class DropSchema:
    """Drop a schema that we created and that is empty. Fenced."""

    schema: str
    stage: ClassVar[ConditionType] = _SCHEMA

    def statements(self) -> tuple[sql.Composed, ...]:
        return (_q("DROP SCHEMA {schema} RESTRICT", schema=self.schema),)


@dataclass(frozen=True, slots=True)
class RevokeGrants:
    """Take our grants on a database and schema back, so that the owner role can be dropped. Fenced."""

    database: str
    schema: str | None
    owner: str
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        database = _q("REVOKE ALL ON DATABASE {database} FROM {owner}", database=self.database, owner=self.owner)
        if self.schema is None:
            return (database,)
        return (database, _q("REVOKE ALL ON SCHEMA {schema} FROM {owner}", schema=self.schema, owner=self.owner))


@dataclass(frozen=True, slots=True)
class DropRole:
    """Drop a role that we created. Fenced."""

    role: str
    stage: ClassVar[ConditionType] = _ACCESS

    def statements(self) -> tuple[sql.Composed, ...]:
        return (_q("DROP ROLE {role}", role=self.role),)


Step: TypeAlias = (
    CreateOwner
    | WriteMarker
    | WriteTableMarker
    | JoinRole
    | CreateLogin
    | SetPassword
    | DisableLogin
    | AlterLogin
    | SetActingRole
    | ResetSetting
    | SetSearchPath
    | CreateDatabase
    | GrantDatabase
    | RevokePublic
    | CreateSchema
    | GrantSchema
    | CreateTable
    | CreateIndex
    | RebuildIndex
    | SetTableOwner
    | GrantRelations
    | GrantFuture
    | CreateExtension
    | GrantUsage
    | CloseDatabase
    | DropDatabase
    | DropTable
    | DropSchema
    | RevokeGrants
    | DropRole
)


def is_alone(step: Step) -> bool:
    """Return whether PostgreSQL refuses this step in a transaction."""
    return bool(getattr(step, "alone", False))


def statements_of(planned: Iterable[Step]) -> list[sql.Composed]:
    """Return the SQL of the steps in their order, with changes of the acting role between them."""
    statements: list[sql.Composed] = []
    acting: str | None = None
    for step in planned:
        wanted: str | None = getattr(step, "acting", None)
        if wanted != acting:
            statements.append(_q("SET LOCAL ROLE {role}", role=wanted) if wanted else _q("SET LOCAL ROLE NONE"))
            acting = wanted
        statements.extend(step.statements())
    if acting is not None:
        statements.append(_q("SET LOCAL ROLE NONE"))
    return statements


def masked(step: Step) -> Step:
    """Return the step for people: its verifier is '***'."""
    if isinstance(step, CreateLogin | SetPassword):
        return replace(step, verifier="***")
    return step
