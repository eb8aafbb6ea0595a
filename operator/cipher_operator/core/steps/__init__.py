"""The closed set of plan steps. Each renders SQL; none knows a connection.

Statements run behind the prefix of `postgres.apply` (role NONE, search_path pg_catalog) unless `alone`, which
PostgreSQL refuses to run in a transaction: those name everything in full. `acting` is the role that runs a step.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeAlias

from psycopg import sql

from cipher_operator.core.steps.composing import compose
from cipher_operator.core.steps.databases import (
    CreateDatabase,
    CreateSchema,
    GrantDatabase,
    GrantFuture,
    GrantRelations,
    GrantSchema,
    LiftLimit,
    RevokePublic,
)
from cipher_operator.core.steps.extensions import CreateExtension, CreateExtensionSchema, DropExtension, GrantUsage
from cipher_operator.core.steps.mending import MendTable
from cipher_operator.core.steps.removals import (
    CloseDatabase,
    DropDatabase,
    DropRole,
    DropSchema,
    DropTable,
    EndSessions,
    RevokeDatabase,
    RevokeFuture,
    RevokeSchema,
)
from cipher_operator.core.steps.roles import (
    AlterLogin,
    CreateLogin,
    CreateOwner,
    DisableLogin,
    InheritRoles,
    JoinRole,
    ReleaseTables,
    ResetSetting,
    SetActingRole,
    SetPassword,
    SetSearchPath,
    WriteMarker,
    unchanged,
)
from cipher_operator.core.steps.tables import (
    CreateIndex,
    CreateTable,
    DropInvalidIndex,
    SetTableOwner,
    WriteTableMarker,
)

Step: TypeAlias = (
    CreateOwner
    | WriteMarker
    | ReleaseTables
    | JoinRole
    | CreateLogin
    | SetPassword
    | DisableLogin
    | InheritRoles
    | AlterLogin
    | SetActingRole
    | ResetSetting
    | SetSearchPath
    | CreateDatabase
    | GrantDatabase
    | LiftLimit
    | RevokePublic
    | CreateSchema
    | GrantSchema
    | GrantRelations
    | GrantFuture
    | CreateTable
    | CreateIndex
    | DropInvalidIndex
    | SetTableOwner
    | WriteTableMarker
    | MendTable
    | CreateExtensionSchema
    | CreateExtension
    | GrantUsage
    | DropExtension
    | CloseDatabase
    | DropDatabase
    | DropTable
    | DropSchema
    | RevokeDatabase
    | RevokeSchema
    | RevokeFuture
    | EndSessions
    | DropRole
)

__all__ = [
    "AlterLogin",
    "CloseDatabase",
    "CreateDatabase",
    "CreateExtension",
    "CreateExtensionSchema",
    "CreateIndex",
    "CreateLogin",
    "CreateOwner",
    "CreateSchema",
    "CreateTable",
    "DisableLogin",
    "DropDatabase",
    "DropExtension",
    "DropInvalidIndex",
    "DropRole",
    "DropSchema",
    "DropTable",
    "EndSessions",
    "GrantDatabase",
    "GrantFuture",
    "GrantRelations",
    "GrantSchema",
    "GrantUsage",
    "InheritRoles",
    "JoinRole",
    "LiftLimit",
    "MendTable",
    "ReleaseTables",
    "ResetSetting",
    "RevokeDatabase",
    "RevokeFuture",
    "RevokePublic",
    "RevokeSchema",
    "SetActingRole",
    "SetPassword",
    "SetSearchPath",
    "SetTableOwner",
    "Step",
    "WriteMarker",
    "WriteTableMarker",
    "is_alone",
    "masked",
    "statements_of",
    "unchanged",
]


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
            statements.append(
                compose("SET LOCAL ROLE {role}", role=wanted) if wanted else compose("SET LOCAL ROLE NONE")
            )
            acting = wanted
        statements.extend(step.statements())
    if acting is not None:
        statements.append(compose("SET LOCAL ROLE NONE"))
    return statements


def masked(step: Step) -> Step:
    """Return the step for people: its verifier is '***'."""
    if isinstance(step, CreateLogin | SetPassword):
        return replace(step, verifier="***")
    return step
