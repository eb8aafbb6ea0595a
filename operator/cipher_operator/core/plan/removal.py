"""Planning of a deletion: only what the marker says we created, and never what anybody else put inside."""

from dataclasses import replace

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import ANNOTATION_FORCE_DELETE
from cipher_operator.api.reasons import Reason
from cipher_operator.core.desired import Desired
from cipher_operator.core.marker import CLOSING, DATABASE, LOGIN, SCHEMA, Marker, parse_marker
from cipher_operator.core.observed import Local, Observed
from cipher_operator.core.orders import Orders
from cipher_operator.core.ownership import bearer, claims_here, proven_database, standing_comment, tokens_of_roles
from cipher_operator.core.plan.extensions import SCHEMA_TOKEN, TOKEN
from cipher_operator.core.plan.grants import grantor, may_grant, owner_of
from cipher_operator.core.plan.plan import Fence, Plan, refuse_read_only
from cipher_operator.core.plan.privileges import lacking, must_inherit, refuse_steps, refuse_unable
from cipher_operator.core.schema import EXTENSION_SCHEMA, TABLE_NAMES
from cipher_operator.core.sql import removals, steps
from cipher_operator.core.sql.composing import quoted
from cipher_operator.core.sql.step import Step

SHOWN = 5
"""Names of foreign relations that a message lists."""


def claimed(desired: Desired, orders: Orders, observed: Observed) -> Marker | None:
    """Return our marker as far as it means this place, or None where nothing on the server is ours (any more): then
    there is nothing to drop."""
    marker = parse_marker(standing_comment(desired, observed))
    if marker is None or marker.identity != desired.identity:
        # One of the same name and another uid was made after this one, here or in another cluster.
        return None
    if desired.shared and observed.local is not None and _others(desired, observed.local):
        return None
    marker = claims_here(desired, marker)
    return marker if marker.dropping in observed.dropping else proven_database(desired, orders, observed, marker)


def _others(desired: Desired, local: Local) -> bool:
    """Return whether a table of Cipher's carries another's marker: one who took over may have written no other, as
    versions did that marked a single table."""
    markers = (relation.marker for relation in local.relations.values())
    return any(marker is not None and not marker.identity.same_storage(desired.identity) for marker in markers)


def made_extensions(marker: Marker) -> frozenset[str]:
    """Return the extensions that the operator made, also those that the spec does not name any more."""
    return frozenset(token.removeprefix(TOKEN) for token in marker.created if token.startswith(TOKEN))


def refuse_inherited(desired: Desired, observed: Observed, heir: str) -> None:
    """Raise DeletionBlocked where the server says of tables that another storage took over that they are this one's:
    a restore or a failover has lost that, and that one's pods write to them."""
    if observed.local is None or not _our_tables(desired, observed):
        return
    neighbour = heir.startswith(f"{desired.identity.namespace}/")
    # Of other namespaces no tenant is told.
    who = f"CipherStorage '{heir}'" if desired.tenant is None or neighbour else "another CipherStorage"
    raise Failure(
        Reason.DELETION_BLOCKED,
        f"{who} took this one's tables over with `spec.adoptFrom`, and the server has lost that (a "
        "restore, a failover): they would be dropped. Let go of everything on the server with annotation "
        f'`{ANNOTATION_FORCE_DELETE}: "true"`, and have that one take them over once more: remove its '
        "`spec.adoptFrom` and set it again",
        stage=ConditionType.DATABASE_READY,
    )


def plan_inside(desired: Desired, observed: Observed, marker: Marker, foreign: tuple[str, ...]) -> Plan:
    """Return what is dropped inside the database, seen from inside it.

    Raises Failure DeletionBlocked where relations of others would be lost with a database that we created.
    """
    refuse_read_only(desired, observed)
    local = observed.local
    if local is None:
        return Plan()
    fence = _fence(desired, observed)
    if DATABASE in marker.created:
        if foreign:
            raise _blocked(desired, foreign)
        # The sessions of our own logins keep DROP DATABASE from working for an admin that is no member of them.
        _refuse_others_database(desired, observed)
        joined = _memberships(desired, observed, desired.owner, *desired.logins)
        return Plan(tuple(joined), fence, fence, desired.owner)
    dropped = [name for name in _our_tables(desired, observed) if name in marker.created]
    acting = desired.owner if observed.server.by_set_role and not desired.shared else None
    planned: list[Step] = [] if desired.shared else _memberships(desired, observed, desired.owner)
    planned += _give_back(desired, observed, marker)
    planned += [removals.drop_table(desired.schema, name, acting) for name in dropped]
    planned += [removals.drop_extension(name) for name in sorted(made_extensions(marker)) if name in local.extensions]
    if SCHEMA_TOKEN in marker.created and local.extension_schema is not None:
        planned.append(removals.drop_schema(EXTENSION_SCHEMA))
    if SCHEMA in marker.created and local.schema is not None:
        planned.append(removals.drop_schema(desired.schema, acting))
    if not desired.shared:
        planned.extend(_revoke(desired, observed, marker))
        planned.extend(_drop_roles(desired, observed, marker))
    refuse_steps(desired, observed, planned)
    return Plan(tuple(planned), fence, fence, desired.owner)


def plan_outside(desired: Desired, observed: Observed, marker: Marker) -> Plan:
    """Return what is dropped from another database: the database that we created, and the roles."""
    refuse_read_only(desired, observed)
    fence = marked = _fence(desired, observed)
    planned: list[Step] = []
    if DATABASE in marker.created and not desired.shared:
        closing = marker.having(CLOSING)
        if closing.dropping in observed.dropping:
            # An earlier try has renamed it: what has the old name now, if anything, is another.
            planned.append(removals.drop_database(closing.dropping))
        elif observed.database is not None:
            _refuse_others_database(desired, observed)
            planned += _drop_database(desired, observed, closing)
            marked = Fence(desired.owner, closing.text())
    if DATABASE in marker.created or observed.database is None:
        planned.extend(_drop_roles(desired, observed, marker))
    refuse_steps(desired, observed, planned)
    return Plan(tuple(planned), fence, marked, desired.owner)


def _drop_database(desired: Desired, observed: Observed, closing: Marker) -> list[Step]:
    """Return what drops our database: closed, and said so in the marker, which tells a later try that it was looked
    into; then, when nobody new can come in, emptied of sessions and renamed; then dropped by that name."""
    server, name = observed.server, desired.database
    writing = steps.write_marker(desired.owner, closing.text())
    if observed.database is not None and observed.database.invalid:
        # It can neither be opened nor renamed.
        return [writing, removals.drop_database(name)]
    told = closing.text() == standing_comment(desired, observed)
    planned = [removals.close_database(name), *([] if told else [writing])]
    if server.by_set_role:
        # Such an admin never has the privileges of every role that is connected at once.
        logins = [role for role in _ours(desired, observed, closing) if role != desired.owner]
        ending = [removals.end_sessions(name, login) for login in (server.admin.name, *logins)]
    else:
        ending = [removals.end_sessions(name, None)]
    ending[0] = replace(ending[0], apart=True)
    return [
        *planned,
        *ending,
        removals.rename_database(name, closing.dropping),
        removals.drop_database(closing.dropping),
    ]


def _our_tables(desired: Desired, observed: Observed) -> list[str]:
    """Return Cipher's tables that are still this storage's: our marker still names what another storage took over
    with `adoptFrom`, or somebody moved to another owner."""
    assert observed.local is not None  # the caller planned inside the database
    relations = observed.local.relations
    if desired.shared:
        return [name for name in TABLE_NAMES if name in relations and relations[name].owner_marker is None]
    ours = (desired.owner, *desired.logins)
    return [name for name in TABLE_NAMES if name in relations and relations[name].owner in ours]


def _give_back(desired: Desired, observed: Observed, marker: Marker) -> list[Step]:
    """Return what gives adopted tables back: to the adopted login, else to the admin."""
    local, admin = observed.local, observed.server.admin
    login = observed.roles.get(desired.user) if LOGIN in marker.adopted else None
    planned: list[Step] = []
    if login is not None:
        if not (admin.superuser or login.usage or (observed.server.by_set_role and login.set)):
            planned.append(steps.join_role(login.name, admin.name, observed.server.modern))
        planned.append(steps.reset_setting(login.name, "role", None))
        planned.append(steps.reset_setting(login.name, "search_path", desired.database))
    if local is not None and not desired.shared:
        owner = login.name if login is not None else admin.name
        tables = [name for name in _our_tables(desired, observed) if name in marker.adopted]
        if tables and observed.server.by_set_role and login is None:
            raise must_inherit(observed, f"take back table '{tables[0]}'")
        acting = owner if observed.server.by_set_role else None
        planned += [steps.set_table_owner(desired.schema, name, owner, acting) for name in tables]
    return planned


def _revoke(desired: Desired, observed: Observed, marker: Marker) -> list[Step]:
    """Return what takes our grants back, each as the role that made it."""
    admin, database, local = observed.server.admin, observed.database, observed.local
    planned: list[Step] = []
    if database is not None and database.granted:
        if not may_grant(admin, database):
            raise lacking(
                f"role '{admin.name}' may not revoke on database '{desired.database}'",
                f"REVOKE ALL ON DATABASE {quoted(desired.database)} FROM {quoted(desired.owner)} "
                f"(as its owner '{database.owner}')",
            )
        planned.append(removals.revoke_database(desired.database, desired.owner, grantor(admin, database)))
    schema = local.schema if local is not None else None
    if schema is not None and database is not None and schema.granted and SCHEMA not in marker.created:
        if not may_grant(admin, schema):
            raise lacking(
                f"role '{admin.name}' may not revoke on schema '{desired.schema}' of database '{desired.database}'",
                f"REVOKE ALL ON SCHEMA {quoted(desired.schema)} FROM {quoted(desired.owner)} "
                f"(as its owner '{owner_of(schema, database)}')",
            )
        planned.append(removals.revoke_schema(desired.schema, desired.owner, grantor(admin, schema)))
    if local is not None:
        planned += [
            removals.revoke_future(desired.schema, kind, admin.name, desired.owner)
            for kind in sorted(local.default_privileges)
        ]
    return planned


def _drop_roles(desired: Desired, observed: Observed, marker: Marker) -> list[Step]:
    return [removals.drop_role(role) for role in _ours(desired, observed, marker)]


def _ours(desired: Desired, observed: Observed, marker: Marker) -> list[str]:
    """Return the roles that we created and that are there, the owner role last."""
    tokens = tokens_of_roles(desired)
    roles = [] if desired.shared else [*desired.logins, desired.owner]
    return [role for role in roles if role in observed.roles and tokens[role] in marker.created]


def _memberships(desired: Desired, observed: Observed, *names: str) -> list[Step]:
    """Return what lets the admin act as these roles of ours, whose sessions and tables are about to go."""
    server, there = observed.server, [observed.roles[name] for name in names if name in observed.roles]
    if server.admin.superuser:
        return []
    joined = [role.name for role in there if not (role.usage or (server.by_set_role and role.set))]
    refuse_unable(desired, observed, [role.name for role in there], joined)
    return [steps.join_role(name, server.admin.name, server.modern) for name in joined]


def _refuse_others_database(desired: Desired, observed: Observed) -> None:
    """Raise InsufficientPrivilege for a database that an earlier admin created: only its owner may drop it, and rename
    it where that may create databases."""
    admin, database = observed.server.admin, observed.database
    if database is not None and not (admin.superuser or database.owned):
        raise lacking(
            f"role '{admin.name}' may not drop database '{desired.database}', which role '{database.owner}' owns",
            f"ALTER DATABASE {quoted(desired.database)} OWNER TO {quoted(admin.name)} (as a superuser, or as its owner "
            "where that may SET ROLE)",
        )
    if not (admin.superuser or admin.createdb):
        raise lacking(
            f"role '{admin.name}' may not rename database '{desired.database}', as it does before it drops it",
            f"ALTER ROLE {quoted(admin.name)} CREATEDB (as a superuser)",
        )


def _fence(desired: Desired, observed: Observed) -> Fence | None:
    standing = standing_comment(desired, observed)
    if standing is None:
        return None
    return Fence(bearer(observed), standing, desired.schema) if desired.shared else Fence(desired.owner, standing)


def _blocked(desired: Desired, foreign: tuple[str, ...]) -> Failure:
    shown = ", ".join(foreign[:SHOWN])
    more = f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else ""
    return Failure(
        Reason.DELETION_BLOCKED,
        f"database '{desired.database}' holds what this storage did not create: {shown}{more}. Move or drop it, or let "
        f'go of everything on the server with annotation `{ANNOTATION_FORCE_DELETE}: "true"`',
        stage=ConditionType.DATABASE_READY,
    )
