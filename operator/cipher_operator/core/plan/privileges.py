"""What keeps an administrator from what a plan needs, each with the SQL that mends it."""

from collections.abc import Iterable

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.desired import Desired
from cipher_operator.core.observed import Observed
from cipher_operator.core.sql.composing import quoted


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
    strange = _unmanaged(desired, observed)
    if any(name in strange for name in roles):
        admin = observed.server.admin.name
        raise lacking(
            f"role '{admin}' may not manage what another admin created: role {', '.join(map(repr, strange))}",
            _give_admin(admin, strange),
        )


def outlasts_upgrades(observed: Observed, name: str) -> bool:
    """Return whether the admin must still be given the ADMIN option on a role of ours. Until PostgreSQL 15 CREATEROLE
    is enough, to manage a role as to give oneself that option; after an upgrade the option alone counts, and only a
    superuser could give it."""
    admin, role = observed.server.admin, observed.roles.get(name)
    if observed.server.modern or admin.superuser or not admin.createrole:
        return False
    return role is None or not (role.admin or role.in_admin)


def unmanaged_warnings(desired: Desired, observed: Observed) -> tuple[str, ...]:
    """Return what is to be known before the first rotation needs it: an upgrade from 15 or older leaves roles without
    anybody who may manage them but superusers."""
    strange = [] if desired.shared else _unmanaged(desired, observed)
    if not strange:
        return () if desired.shared else _upgrade_warnings(desired, observed)
    admin = observed.server.admin.name
    return (
        f"role '{admin}' may not manage role {', '.join(map(repr, strange))}, so a rotation, a mend or a deletion will "
        f"fail; run: {_give_admin(admin, strange)}",
    )


def _upgrade_warnings(desired: Desired, observed: Observed) -> tuple[str, ...]:
    """Return what keeps the admin, until PostgreSQL 15, from giving itself what it needs after an upgrade to 16."""
    server, admin = observed.server, observed.server.admin.name
    if server.modern or server.admin.superuser:
        return ()
    there = (observed.roles[name] for name in (desired.owner, *desired.logins) if name in observed.roles)
    return tuple(
        f"role '{role.name}' is a member of role '{admin}', which so can be none of it and may not manage it after an "
        f"upgrade to PostgreSQL 16; run before that: REVOKE {quoted(admin)} FROM {quoted(role.name)}"
        for role in there
        if role.in_admin and not role.admin
    )


def _unmanaged(desired: Desired, observed: Observed) -> list[str]:
    """Return those of our roles that the admin may not manage; until PostgreSQL 15 CREATEROLE is enough."""
    if observed.server.admin.superuser or not observed.server.modern:
        return []
    there = (observed.roles[name] for name in (desired.owner, *desired.logins) if name in observed.roles)
    return [role.name for role in there if not role.admin]


def _give_admin(admin: str, roles: Iterable[str]) -> str:
    return (
        f"GRANT {', '.join(map(quoted, roles))} TO {quoted(admin)} WITH ADMIN OPTION "
        "(as the admin that created them, or a superuser)"
    )
