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
