"""Planning of roles, memberships, settings and grants."""

import re
from collections.abc import Iterable

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core import steps
from cipher_operator.core.desired import Desired
from cipher_operator.core.marker import BIRTHMARKS, OWNER
from cipher_operator.core.observed import Admin, Database, Observed, Role, Schema
from cipher_operator.core.ownership import Claim, Part, judge_login, tokens_of_roles
from cipher_operator.core.plan.extensions import search_path
from cipher_operator.core.plan.settings import reset_settings
from cipher_operator.core.steps import Step
from cipher_operator.core.steps.composing import quoted

ALL_ON_DATABASE = frozenset({"CREATE", "CONNECT", "TEMPORARY"})
ALL_ON_SCHEMA = frozenset({"USAGE", "CREATE"})

_SCHEMA = re.compile(r'(?:"(?:[^"]|"")*"|[^,])+')
"""One item of a list in a setting: a comma within quotes ends none."""


def lacking(what: str, remedy: str) -> Failure:
    """Return InsufficientPrivilege with the SQL that mends it."""
    return Failure(
        Reason.INSUFFICIENT_PRIVILEGE, f"{what}; run: {remedy}", stage=ConditionType.ACCESS_GRANTED, sqlstate="42501"
    )


def elsewhere(attribute: str, through: tuple[str, ...]) -> str:
    """Return where an attribute is that the admin lacks and that a role it may act as has; '' where there is none."""
    if not through:
        return ""
    named = ", ".join(f"'{name}'" for name in through[:3])
    return (
        f": {attribute} is with role {named}, and a membership hands no attribute on. Put a login that has it itself "
        "into the connection Secret"
    )


def must_inherit(observed: Observed, what: str) -> Failure:
    """Return what keeps an admin that acts by SET ROLE alone from what no single role can do."""
    admin = observed.server.admin.name
    return lacking(
        f"role '{admin}' is NOINHERIT and so may not {what}", f"ALTER ROLE {quoted(admin)} INHERIT (as itself)"
    )


def refuse_unmanaged(desired: Desired, observed: Observed, roles: Iterable[str]) -> None:
    """Raise InsufficientPrivilege where the admin may not manage one of these roles: since PostgreSQL 16 that takes
    the ADMIN option, which only the admin that created a role has by itself. The remedy is for all of ours."""
    admin = observed.server.admin
    if admin.superuser or not observed.server.modern:
        return
    strange = [name for name in (desired.owner, *desired.logins) if name in observed.roles]
    strange = [name for name in strange if not observed.roles[name].admin]
    if not any(name in strange for name in roles):
        return
    raise lacking(
        f"role '{admin.name}' may not manage what another admin created: role {', '.join(map(repr, strange))}",
        f"GRANT {', '.join(map(quoted, strange))} TO {quoted(admin.name)} WITH ADMIN OPTION "
        "(as the admin that created them, or a superuser)",
    )


def plan_roles(desired: Desired, observed: Observed, claim: Claim) -> Part:
    """Return the steps for roles. Raises Failure InsufficientPrivilege or AlreadyExists."""
    credential = desired.credential
    if credential is None:
        return Part()
    tokens, adopted = tokens_of_roles(desired), list[str]()
    modern = observed.server.modern
    # A stranger that only has the name of the second login matters when that login is wanted.
    wanted = (desired.user, credential.login)
    ours = [login for login in desired.logins if login in wanted or claim.holds(tokens[login])]
    for login in ours:
        if (role := observed.roles.get(login)) is not None:
            judge_login(desired, observed, claim, role)
    planned, created = _plan_owner(desired, observed, modern)
    if desired.owner in observed.roles and not claim.holds(OWNER):
        adopted.append(OWNER)
    for login in ours:
        role = observed.roles.get(login)
        if role is not None:
            planned.extend(_keep_login(desired, observed, role, modern))
            if login == credential.login and credential.change:
                planned.append(steps.SetPassword(login, credential.verifier))
            elif login != credential.login and desired.revoke_previous and role.login:
                planned.append(steps.DisableLogin(login))
        elif login == credential.login:
            planned.append(steps.CreateLogin(login, desired.owner, credential.verifier, desired.connection_limit))
            created.append(tokens[login])
        if role is not None and not claim.holds(tokens[login]):
            adopted.append(tokens[login])
    # A new login joins the owner role.
    refuse_unmanaged(
        desired, observed, [getattr(step, "login", "") for step in planned] + [desired.owner] * len(created)
    )
    return Part(tuple(planned), tuple(created), tuple(adopted))


def _plan_owner(desired: Desired, observed: Observed, modern: bool) -> tuple[list[Step], list[str]]:
    """Return the steps that give the session a usable owner role, and the token of one that they create."""
    admin, owner = observed.server.admin, observed.roles.get(desired.owner)
    login = desired.credential.login if desired.credential else None
    if (owner is None or login not in observed.roles) and not (admin.superuser or admin.createrole):
        raise lacking(
            f"role '{admin.name}' may not create roles{elsewhere('CREATEROLE', admin.createrole_through)}",
            f"ALTER ROLE {quoted(admin.name)} CREATEROLE (as a superuser); where nobody can, as on Heroku, create a "
            "new CipherStorage with `spec.user.mode: Shared`",
        )
    planned: list[Step] = [] if owner is not None else [steps.CreateOwner(desired.owner, "")]
    # Where SET ROLE is the only way, no GRANT gives USAGE.
    usable = owner is not None and owner.set and (owner.usage or observed.server.by_set_role)
    if not (admin.superuser or usable):
        refuse_unmanaged(desired, observed, [desired.owner])
        planned.append(steps.JoinRole(desired.owner, admin.name, modern))
    if owner is not None and owner.login:
        planned.append(steps.DisableLogin(owner.name))
    return planned, [] if owner is not None else [OWNER]


def _keep_login(desired: Desired, observed: Observed, role: Role, modern: bool) -> list[Step]:
    """Return what restores a login of ours. The one that is not published may be disabled, and stays so."""
    planned: list[Step] = []
    credential = desired.credential
    published = credential is not None and role.name == credential.login
    drifted = not role.login or role.connection_limit != desired.connection_limit or role.expires
    if published and drifted and not (credential is not None and credential.change and not role.login):
        planned.append(steps.AlterLogin(role.name, desired.connection_limit))
    if not role.in_owner:
        if not role.inherits and not modern:
            planned.append(steps.InheritRoles(role.name))
        planned.append(steps.JoinRole(desired.owner, role.name, modern))
    everywhere = dict(setting.split("=", 1) for setting in role.settings.get("", ()))
    here = dict(setting.split("=", 1) for setting in role.settings.get("=", ()))
    if everywhere.get("role") != desired.owner:
        planned.append(steps.SetActingRole(role.name, desired.owner))
    if "role" in here:
        planned.append(steps.ResetSetting(role.name, "role", desired.database))
    planned.extend(reset_settings(role, desired.database))
    path = search_path(desired, observed.local)
    if observed.local is not None and schemas_in(here.get("search_path", "")) != path:
        planned.append(steps.SetSearchPath(role.name, desired.database, path))
    return planned


def schemas_in(setting: str) -> tuple[str, ...]:
    """Return the schemas that a setting of search_path names, as the server writes it."""
    parts = (part.strip() for part in _SCHEMA.findall(setting) or ("",))
    return tuple(part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts)


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


def open_database(desired: Desired) -> tuple[Step, ...]:
    """Return what lets the login, and nobody else, into the database that the plan has just created."""
    assert desired.credential is not None and desired.credential.login is not None  # settled before every plan
    return (
        steps.LiftLimit(desired.database),
        steps.GrantDatabase(desired.database, desired.owner),
        steps.RevokePublic(desired.database),
        steps.SetSearchPath(desired.credential.login, desired.database, search_path(desired, None)),
    )


def plan_database_access(desired: Desired, observed: Observed, ours: bool) -> tuple[Step, ...]:
    """Return the grants that the database lacks; `ours` where the operator created it."""
    database = observed.database
    if desired.shared or database is None:
        return ()
    planned: list[Step] = []
    admin, credential = observed.server.admin, desired.credential
    if ours and database.connection_limit >= BIRTHMARKS:
        planned.append(steps.LiftLimit(desired.database))
    has = database.granted if ours else database.effective
    if not has >= ALL_ON_DATABASE:
        if not may_grant(admin, database):
            raise lacking(
                f"role '{admin.name}' may not grant on database '{desired.database}'",
                f"GRANT ALL ON DATABASE {quoted(desired.database)} TO {quoted(admin.name)} WITH GRANT OPTION "
                f"(as its owner '{database.owner}')",
            )
        planned.append(steps.GrantDatabase(desired.database, desired.owner, grantor(admin, database)))
    if ours and database.public & {"CONNECT", "TEMPORARY"}:
        planned.append(steps.RevokePublic(desired.database))
    if credential is not None and credential.login and credential.login not in observed.roles:
        planned.append(steps.SetSearchPath(credential.login, desired.database, search_path(desired, observed.local)))
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
        planned.append(steps.CreateSchema(desired.schema, desired.owner, None if itself else desired.owner))
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
        planned.append(steps.GrantSchema(desired.schema, desired.owner, grantor(admin, schema)))
    if ours and not desired.shared:
        for kind in ("TABLE", "SEQUENCE"):
            if names := tuple(name for of, name in local.ungranted if of == kind):
                planned.append(steps.GrantRelations(desired.schema, kind, names, desired.owner))
        for kind in ("r", "S"):
            if kind not in local.default_privileges:
                planned.append(steps.GrantFuture(desired.schema, kind, admin.name, desired.owner))
    return tuple(planned), schema is None
