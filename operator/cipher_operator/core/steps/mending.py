"""Steps that bring a table back to what Cipher makes."""

from dataclasses import dataclass
from typing import ClassVar

from psycopg import sql

from cipher_operator.api.failures import ConditionType
from cipher_operator.core.steps.composing import compose


@dataclass(frozen=True, slots=True)
class MendTable:
    """Make one change to a table, or to a column of it, as its owner. `change` is one of ours, never a stranger's."""

    schema: str
    table: str
    column: str | None
    change: str
    owner: str
    stage: ClassVar[ConditionType] = ConditionType.SCHEMA_APPLIED

    def statements(self) -> tuple[sql.Composed, ...]:
        what = sql.SQL("") if self.column is None else compose("ALTER COLUMN {column} ", column=self.column)
        change = sql.SQL(self.change)
        return (
            compose(
                "ALTER TABLE {schema}.{table} {what}{change}",
                schema=self.schema,
                table=self.table,
                what=what,
                change=change,
            ),
        )

    @property
    def acting(self) -> str:
        """Return the role that runs it."""
        return self.owner
