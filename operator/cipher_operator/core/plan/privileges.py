"""What keeps an administrator from what a plan needs, each with the SQL that mends it."""

from collections.abc import Iterable

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.desired import Desired
from cipher_operator.core.observed import Observed, Role
from cipher_operator.core.sql.composing import quoted
from cipher_operator.core.sql.step import Kind, Step

_CHANGES = frozenset(
    {
        Kind.CREATE_OWNER,
        Kind.CREATE_LOGIN,
        Kind.WRITE_MARKER,
        Kind.SET_PASSWORD,
        Kind.DISABLE_LOGIN,
        Kind.INHERIT_ROLES,
        Kind.ALTER_LOGIN,
        Kind.SET_ACTING_ROLE,
        Kind.RESET_SETTING,
        Kind.SET_SEARCH_PATH,
        Kind.DROP_ROLE,
    }
)
"""Steps that create, alter, comment or drop a role of ours."""


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


def refuse_steps(desired: Desired, observed: Observed, planned: Iterable[Step]) -> None:
    """Raise InsufficientPrivilege where the admin may not do to roles what these steps do."""
    steps = tuple(planned)
    changed = [step.on for step in steps if step.kind in _CHANGES]
    granted = [step.on for step in steps if step.kind is Kind.JOIN_ROLE]
    if any(step.kind is Kind.CREATE_LOGIN for step in steps):
        granted.append(desired.owner)
    refuse_unable(desired, observed, changed, granted)


def refuse_unable(desired: Desired, observed: Observed, changed: Iterable[str], granted: Iterable[str]) -> None:
    """Raise InsufficientPrivilege where the admin may not change these roles, or not make others members of those.

    A change takes CREATEROLE, and since PostgreSQL 16 the ADMIN option on that role, which only the admin that created
    it has by itself; a GRANT takes that option, until 15 either. The remedy is for all of ours.
    """
    server, admin, roles = observed.server, observed.server.admin, observed.roles
    if admin.superuser:
        return
    changes, gives = tuple(changed), [roles[name] for name in granted if name in roles]
    if not admin.createrole and (changes or not (server.modern or all(role.grants for role in gives))):
        raise _no_createrole(observed)
    if not server.modern:
        return
    strange = _unmanaged(desired, observed)
    if any(name in strange for name in (*changes, *(role.name for role in gives))):
        raise lacking(
            f"role '{admin.name}' may not manage what another admin created: role {', '.join(map(repr, strange))}",
            _give_admin(admin.name, strange),
        )
    if not all(role.grants for role in gives):
        ungranted = _ungranted(desired, observed)
        raise lacking(_not_inherited(admin.name, ungranted), _give_admin(admin.name, ungranted))


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
    if desired.shared:
        return ()
    admin, outlook = observed.server.admin, "so a rotation, a mend or a deletion will fail"
    if not (admin.superuser or admin.createrole):
        return (f"{_may_not_change(observed)}, {outlook}; run: {_give_createrole(admin.name)}",)
    if strange := _unmanaged(desired, observed):
        named = ", ".join(map(repr, strange))
        return (f"role '{admin.name}' may not manage role {named}, {outlook}; run: {_give_admin(admin.name, strange)}",)
    if ungranted := _ungranted(desired, observed):
        what = _not_inherited(admin.name, ungranted)
        return (f"{what}, so a mend or a deletion may fail; run: {_give_admin(admin.name, ungranted)}",)
    return _upgrade_warnings(desired, observed)


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
    return [role.name for role in _judged(desired, observed) if not role.admin]


def _ungranted(desired: Desired, observed: Observed) -> list[str]:
    """Return those of our roles that the admin may not grant, whether it manages them or not."""
    return [role.name for role in _judged(desired, observed) if not role.grants]


def _judged(desired: Desired, observed: Observed) -> list[Role]:
    """Return our roles where the ADMIN option counts."""
    if observed.server.admin.superuser or not observed.server.modern:
        return []
    return [observed.roles[name] for name in (desired.owner, *desired.logins) if name in observed.roles]


def _no_createrole(observed: Observed) -> Failure:
    return lacking(_may_not_change(observed), _give_createrole(observed.server.admin.name))


def _may_not_change(observed: Observed) -> str:
    admin = observed.server.admin
    return f"role '{admin.name}' may not change roles{elsewhere('CREATEROLE', admin.createrole_through)}"


def _give_createrole(admin: str) -> str:
    return f"ALTER ROLE {quoted(admin)} CREATEROLE (as a superuser)"


def _not_inherited(admin: str, roles: Iterable[str]) -> str:
    named = ", ".join(map(repr, roles))
    return f"role '{admin}' may not grant role {named}: it does not inherit the ADMIN option that another role has"


def _give_admin(admin: str, roles: Iterable[str]) -> str:
    return (
        f"GRANT {', '.join(map(quoted, roles))} TO {quoted(admin)} WITH ADMIN OPTION "
        "(as the admin that created them, or a superuser)"
    )
