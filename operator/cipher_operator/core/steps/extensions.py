"""Steps on extensions."""

from dataclasses import dataclass
from typing import ClassVar

from psycopg import sql

from cipher_operator.api.failures import ConditionType
from cipher_operator.core.steps.composing import compose


@dataclass(frozen=True, slots=True)
class CreateExtensionSchema:
    """Create a schema of the admin's own, which nobody else can write."""

    schema: str
    stage: ClassVar[ConditionType] = ConditionType.SCHEMA_APPLIED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("CREATE SCHEMA {schema}", schema=self.schema),)


@dataclass(frozen=True, slots=True)
class CreateExtension:
    """Create an extension in a schema that the tenant cannot write."""

    extension: str
    schema: str
    stage: ClassVar[ConditionType] = ConditionType.SCHEMA_APPLIED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("CREATE EXTENSION {extension} SCHEMA {schema}", extension=self.extension, schema=self.schema),)


@dataclass(frozen=True, slots=True)
class GrantUsage:
    """Let the owner role use an extension's schema."""

    schema: str
    owner: str
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("GRANT USAGE ON SCHEMA {schema} TO {owner}", schema=self.schema, owner=self.owner),)


@dataclass(frozen=True, slots=True)
class DropExtension:
    """Drop an extension that we created; never what depends on it. Fenced."""

    extension: str
    stage: ClassVar[ConditionType] = ConditionType.SCHEMA_APPLIED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("DROP EXTENSION {extension} RESTRICT", extension=self.extension),)
