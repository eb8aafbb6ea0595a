"""Planning of a deletion: only what the marker says we created, and never what anybody else put inside."""

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import ANNOTATION_FORCE_DELETE
from cipher_operator.api.reasons import Reason
from cipher_operator.core import steps
from cipher_operator.core.access import MODERN_MEMBERSHIP
from cipher_operator.core.desired import Desired
from cipher_operator.core.marker import CLOSING, DATABASE, LOGIN, SCHEMA, Marker, parse_marker
from cipher_operator.core.observed import Observed
from cipher_operator.core.ownership import standing_comment, tokens_of_roles
from cipher_operator.core.plan import Fence, Plan
from cipher_operator.core.schema import MARKER_TABLE, TABLE_NAMES
from cipher_operator.core.steps import Step

SHOWN = 5
"""Names of foreign relations that a message lists."""


def claimed(desired: Desired, observed: Observed) -> Marker | None:
    """Return our marker, or None where nothing on the server is ours (any more): then there is nothing to drop."""
    marker = parse_marker(standing_comment(desired, observed))
    return marker if marker is not None and marker.identity.same_storage(desired.identity) else None


def plan_inside(desired: Desired, observed: Observed, marker: Marker, foreign: tuple[str, ...]) -> Plan:
    """Return what is dropped inside the database, seen from inside it.

    Raises Failure DeletionBlocked where relations of others would be lost with a database that we created.
    """
    local = observed.local
    if local is None:
        return Plan()
    fence = _fence(desired, observed)
    if DATABASE in marker.created:
        if foreign:
            raise _blocked(desired, foreign)
        # The sessions of our own logins keep DROP DATABASE from working for an admin that is no member of them.
        return Plan(tuple(_memberships(desired, observed)), fence, desired.owner)
    dropped = [name for name in TABLE_NAMES if name in local.relations and name in marker.created]
    planned: list[Step] = [*_give_back(desired, observed, marker)]
    planned += [steps.DropTable(desired.schema, name) for name in dropped]
    if SCHEMA in marker.created and local.schema is not None:
        planned.append(steps.DropSchema(desired.schema))
    if not desired.shared:
        schema = None if SCHEMA in marker.created or local.schema is None else desired.schema
        planned.append(steps.RevokeGrants(desired.database, schema, desired.owner))
        planned.extend(_drop_roles(desired, observed, marker))
    return Plan(tuple(planned), fence, desired.owner)


def plan_outside(desired: Desired, observed: Observed, marker: Marker) -> Plan:
    """Return what is dropped from another database: the database that we created, and the roles."""
    planned: list[Step] = []
    if DATABASE in marker.created and observed.database is not None:
        # Each time, as the fence of the drop: that runs in no transaction. The marker tells a later try that the
        # database was looked into before it was closed.
        closing = marker.having(CLOSING).text()
        planned.append(steps.CloseDatabase(desired.database))
        if closing != standing_comment(desired, observed):
            planned.append(_write_marker(desired, closing))
        planned.append(steps.DropDatabase(desired.database))
    if DATABASE in marker.created or observed.database is None:
        planned.extend(_drop_roles(desired, observed, marker))
    return Plan(tuple(planned), _fence(desired, observed), desired.owner)


def _write_marker(desired: Desired, text: str) -> Step:
    if desired.shared:
        return steps.WriteTableMarker(desired.schema, MARKER_TABLE, text)
    return steps.WriteMarker(desired.owner, text)


def _give_back(desired: Desired, observed: Observed, marker: Marker) -> list[Step]:
    """Return what gives adopted tables back: to the adopted login, else to the admin."""
    local, admin = observed.local, observed.server.admin
    login = observed.roles.get(desired.user) if LOGIN in marker.adopted else None
    planned: list[Step] = []
    if login is not None:
        if not (admin.superuser or login.usage):
            planned.append(steps.JoinRole(login.name, admin.name, observed.server.version >= MODERN_MEMBERSHIP))
        planned.append(steps.ResetSetting(login.name, "role", None))
        planned.append(steps.ResetSetting(login.name, "search_path", desired.database))
    if local is not None and not desired.shared:
        owner = login.name if login is not None else admin.name
        tables = [name for name in TABLE_NAMES if name in local.relations and name in marker.adopted]
        planned += [steps.SetTableOwner(desired.schema, name, owner) for name in tables]
    return planned


def _drop_roles(desired: Desired, observed: Observed, marker: Marker) -> list[Step]:
    tokens = tokens_of_roles(desired)
    logins = [login for login in desired.logins if login in observed.roles and tokens[login] in marker.created]
    owner = [desired.owner] if desired.owner in observed.roles and tokens.get(desired.owner) in marker.created else []
    return [steps.DropRole(role) for role in (*logins, *owner)]


def _memberships(desired: Desired, observed: Observed) -> list[Step]:
    admin, modern = observed.server.admin, observed.server.version >= MODERN_MEMBERSHIP
    if admin.superuser:
        return []
    roles = (observed.roles.get(name) for name in (desired.owner, *desired.logins))
    return [steps.JoinRole(role.name, admin.name, modern) for role in roles if role is not None and not role.usage]


def _fence(desired: Desired, observed: Observed) -> Fence | None:
    standing = standing_comment(desired, observed)
    if standing is None:
        return None
    return Fence(MARKER_TABLE, standing, desired.schema) if desired.shared else Fence(desired.owner, standing)


def _blocked(desired: Desired, foreign: tuple[str, ...]) -> Failure:
    shown = ", ".join(foreign[:SHOWN])
    more = f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else ""
    return Failure(
        Reason.DELETION_BLOCKED,
        f"database '{desired.database}' holds what this storage did not create: {shown}{more}. Move or drop it, or let "
        f'go of everything on the server with annotation `{ANNOTATION_FORCE_DELETE}: "true"`',
        stage=ConditionType.DATABASE_READY,
    )
