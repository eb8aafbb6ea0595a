"""Planning of grants on the database and the schema, and of the schema itself."""

from cipher_operator.core.desired import Desired
from cipher_operator.core.marker import BIRTHMARKS
from cipher_operator.core.observed import Admin, Database, Observed, Schema
from cipher_operator.core.orders import Orders
from cipher_operator.core.plan.extensions import search_path
from cipher_operator.core.plan.privileges import lacking, must_inherit
from cipher_operator.core.sql import steps
from cipher_operator.core.sql.composing import quoted
from cipher_operator.core.sql.step import Step

ALL_ON_DATABASE = frozenset({"CREATE", "CONNECT", "TEMPORARY"})
ALL_ON_SCHEMA = frozenset({"USAGE", "CREATE"})


def may_grant(admin: Admin, on: Database | Schema) -> bool:
    """Return whether the session may grant on this, if need be as its owner."""
    return grantor(admin, on) is None or on.settable


def grantor(admin: Admin, on: Database | Schema) -> str | None:
    """Return the role to grant and revoke as; None where the session itself may."""
    owned = isinstance(on, Database) and on.owned
    return None if admin.superuser or owned or on.grantable else on.owner


def owner_of(schema: Schema, database: Database) -> str:
    """Return the role that can act as the schema's owner: of pg_database_owner only the database's is a member."""
    return database.owner if schema.owner == "pg_database_owner" else schema.owner


def open_database(desired: Desired, orders: Orders) -> tuple[Step, ...]:
    """Return what lets the login, and nobody else, into the database that the plan has just created."""
    assert orders.login is not None  # settled before every plan
    return (
        steps.lift_limit(desired.database),
        steps.grant_database(desired.database, desired.owner),
        steps.revoke_public(desired.database),
        steps.set_search_path(orders.login, desired.database, search_path(desired, None)),
    )


def plan_database_access(desired: Desired, orders: Orders, observed: Observed, ours: bool) -> tuple[Step, ...]:
    """Return the grants that the database lacks; `ours` where the operator created it."""
    database = observed.database
    if desired.shared or database is None:
        return ()
    planned: list[Step] = []
    admin = observed.server.admin
    if ours and database.connection_limit >= BIRTHMARKS:
        planned.append(steps.lift_limit(desired.database))
    has = database.granted if ours else database.effective
    if not has >= ALL_ON_DATABASE:
        if not may_grant(admin, database):
            raise lacking(
                f"role '{admin.name}' may not grant on database '{desired.database}'",
                f"GRANT ALL ON DATABASE {quoted(desired.database)} TO {quoted(admin.name)} WITH GRANT OPTION "
                f"(as its owner '{database.owner}')",
            )
        planned.append(steps.grant_database(desired.database, desired.owner, grantor(admin, database)))
    if ours and database.public & {"CONNECT", "TEMPORARY"}:
        planned.append(steps.revoke_public(desired.database))
    if orders.login is not None and orders.login not in observed.roles:
        planned.append(steps.set_search_path(orders.login, desired.database, search_path(desired, observed.local)))
    return tuple(planned)


def plan_schema_access(desired: Desired, observed: Observed, ours: bool) -> tuple[tuple[Step, ...], bool]:
    """Return the steps for the schema and its grants, and whether they create it."""
    local, database = observed.local, observed.database
    assert local is not None and database is not None  # the caller planned inside the database
    admin, planned = observed.server.admin, list[Step]()
    schema = local.schema
    if schema is None:
        itself = admin.superuser or database.can_create or database.owned
        if not itself and desired.shared:
            raise lacking(
                f"role '{admin.name}' may not create schema '{desired.schema}' in database '{desired.database}'",
                f"GRANT CREATE ON DATABASE {quoted(desired.database)} TO {quoted(admin.name)} "
                f"(as its owner '{database.owner}')",
            )
        # The owner role has CREATE on the database, if only since the grant just planned.
        planned.append(steps.create_schema(desired.schema, desired.owner, None if itself else desired.owner))
    elif not schema.effective >= ALL_ON_SCHEMA:
        # What an owner took from itself, it can give back.
        strange = desired.shared and schema.owner != desired.owner
        if strange and schema.settable and observed.server.by_set_role:
            raise must_inherit(observed, f"create in schema '{desired.schema}' of database '{desired.database}'")
        if not may_grant(admin, schema) or strange:
            doing = "create in" if desired.shared else "grant on"
            raise lacking(
                f"role '{admin.name}' may not {doing} schema '{desired.schema}' of database '{desired.database}'",
                f"GRANT USAGE, CREATE ON SCHEMA {quoted(desired.schema)} TO {quoted(admin.name)}"
                f"{'' if desired.shared else ' WITH GRANT OPTION'} (as its owner '{owner_of(schema, database)}')",
            )
        planned.append(steps.grant_schema(desired.schema, desired.owner, grantor(admin, schema)))
    if ours and not desired.shared:
        for kind in ("TABLE", "SEQUENCE"):
            if names := tuple(name for of, name in local.ungranted if of == kind):
                planned.append(steps.grant_relations(desired.schema, kind, names, desired.owner))
        for kind in ("r", "S"):
            if kind not in local.default_privileges:
                planned.append(steps.grant_future(desired.schema, kind, admin.name, desired.owner))
    return tuple(planned), schema is None
