"""What a session will see inside a database that a plan is about to create: so that a plan can be shown as a whole."""

from dataclasses import replace

from cipher_operator.core.desired import Desired
from cipher_operator.core.observed import Database, Local, Observed, Role, Schema
from cipher_operator.core.plan.extensions import search_path
from cipher_operator.core.plan.grants import ALL_ON_DATABASE, ALL_ON_SCHEMA
from cipher_operator.core.plan.plan import Plan
from cipher_operator.core.sql.step import Kind

PUBLIC = "public"
CLOSED_PUBLIC = 150000
"""server_version_num from which `public` in a new database is the database owner's, and PUBLIC may not create there
(release notes of PostgreSQL 15)."""


def after(desired: Desired, observed: Observed, creating: Plan) -> Observed:
    """Return what will be observed from inside the database once a plan that creates it has been applied.

    The rest of the plan follows from it: nothing of Cipher is in a database made from template0.
    """
    admin = observed.server.admin
    ours = not desired.shared
    database = Database(
        owner=admin.name,
        owned=True,
        allows_connections=True,
        can_create=True,
        grantable=True,
        public=frozenset() if ours else frozenset({"CONNECT", "TEMPORARY"}),
        granted=ALL_ON_DATABASE if ours else frozenset(),
        effective=ALL_ON_DATABASE,
        settable=True,
    )
    return Observed(
        server=replace(observed.server, database=desired.database),
        roles=_roles(desired, observed, creating) if ours else observed.roles,
        database=database,
        local=Local(
            schema=_public(desired, observed) if desired.schema == PUBLIC else None,
            relations={},
            taken_names={},
            ungranted=(),
            default_privileges=frozenset(),
            extensions={},
        ),
    )


def _roles(desired: Desired, observed: Observed, creating: Plan) -> dict[str, Role]:
    """Return our roles as the plan leaves them."""
    made = {desired.owner, *(step.on for step in creating.steps if step.kind is Kind.CREATE_LOGIN)}
    assert creating.marked is not None  # a storage with roles has its marker on one of them
    path = f"search_path={', '.join(search_path(desired, None))}"
    roles = {}
    for name in (desired.owner, *desired.logins):
        standing = observed.roles.get(name)
        if standing is None and name not in made:
            continue
        login = name != desired.owner
        roles[name] = Role(
            name=name,
            login=login if standing is None else standing.login,
            elevated=False,
            connection_limit=desired.connection_limit if login else -1,
            inherits=True,
            expires=False,
            comment=None if login else creating.marked.comment,
            usage=True,
            set=True,
            admin=True,
            grants=True,
            in_owner=login,
            settings={"": (f"role={desired.owner}",), "=": (path,)} if login else {},
        )
    return roles


def _public(desired: Desired, observed: Observed) -> Schema:
    """Return the schema `public` of a new database."""
    server = observed.server
    closed = server.version >= CLOSED_PUBLIC
    inherited = not closed or (desired.shared and not server.by_set_role)
    mine = server.admin.superuser or closed
    return Schema(
        owner="pg_database_owner" if closed else "the bootstrap superuser",
        effective=ALL_ON_SCHEMA if inherited else frozenset({"USAGE"}),
        grantable=mine and not server.by_set_role,
        settable=mine,
    )
