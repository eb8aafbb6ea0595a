"""Steps on Cipher's tables and indexes."""

from dataclasses import dataclass
from typing import ClassVar

from psycopg import sql

from cipher_operator.api.failures import ConditionType
from cipher_operator.core.schema import Column, Index, Table
from cipher_operator.core.steps.composing import compose, identifiers


@dataclass(frozen=True, slots=True)
class CreateTable:
    """Create one of Cipher's tables as the owner role, so that no default privileges of the admin apply."""

    schema: str
    table: Table
    owner: str
    stage: ClassVar[ConditionType] = ConditionType.SCHEMA_APPLIED

    def statements(self) -> tuple[sql.Composed, ...]:
        body = sql.SQL(", ").join(
            [*map(_column, self.table.columns), compose("PRIMARY KEY ({key})", key=identifiers(self.table.primary_key))]
        )
        return (
            compose("CREATE TABLE {schema}.{table} ({body})", schema=self.schema, table=self.table.name, body=body),
        )

    @property
    def acting(self) -> str:
        """Return the role that runs it."""
        return self.owner


@dataclass(frozen=True, slots=True)
class CreateIndex:
    """Create one of Cipher's indexes; concurrently on a table that is large, so that writers never wait."""

    schema: str
    index: Index
    owner: str
    concurrently: bool
    stage: ClassVar[ConditionType] = ConditionType.SCHEMA_APPLIED

    @property
    def alone(self) -> bool:
        """Return whether it must not run in a transaction."""
        return self.concurrently

    def statements(self) -> tuple[sql.Composed, ...]:
        statement = compose(
            "CREATE INDEX{how} {index} ON {schema}.{table} USING btree ({columns})",
            how=sql.SQL(" CONCURRENTLY" if self.concurrently else ""),
            index=self.index.name,
            schema=self.schema,
            table=self.index.table,
            columns=identifiers(self.index.columns),
        )
        return (statement,)

    @property
    def acting(self) -> str | None:
        """Return the role that runs it."""
        return None if self.concurrently else self.owner


@dataclass(frozen=True, slots=True)
class DropInvalidIndex:
    """Drop an index that an interrupted concurrent build left invalid, to be built anew. REINDEX CONCURRENTLY would
    leave one more of them each time it is interrupted itself."""

    schema: str
    index: str
    alone: ClassVar[bool] = True
    stage: ClassVar[ConditionType] = ConditionType.SCHEMA_APPLIED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("DROP INDEX CONCURRENTLY {schema}.{index}", schema=self.schema, index=self.index),)


@dataclass(frozen=True, slots=True)
class SetTableOwner:
    """Give a table (and with it its indexes) to the owner role. Fenced."""

    schema: str
    table: str
    owner: str
    acting: str | None = None
    stage: ClassVar[ConditionType] = ConditionType.SCHEMA_APPLIED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (
            compose(
                "ALTER TABLE {schema}.{table} OWNER TO {owner}", schema=self.schema, table=self.table, owner=self.owner
            ),
        )


@dataclass(frozen=True, slots=True)
class WriteTableMarker:
    """Shared mode: the marker stands on a table of ours."""

    schema: str
    table: str
    marker: str
    stage: ClassVar[ConditionType] = ConditionType.SCHEMA_APPLIED

    def statements(self) -> tuple[sql.Composed, ...]:
        text = sql.Literal(self.marker)
        return (
            compose("COMMENT ON TABLE {schema}.{table} IS {text}", schema=self.schema, table=self.table, text=text),
        )


def _column(column: Column) -> sql.Composed:
    null = " NOT NULL" if column.not_null else ""
    default = f" DEFAULT {column.default}" if column.default is not None else ""
    rest = sql.SQL(f"{column.type}{null}{default}")
    return compose("{name} {rest}", name=column.name, rest=rest)
