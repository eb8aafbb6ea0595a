"""Roles of our names that are another storage's: each derives `<user>_b` and `<user>_owner` from its user name, and
another's user name may be just that. Whoever took such a role for one that nobody owns would set its password."""

from collections.abc import Iterable

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import MAX_NAME, OWNER_SUFFIX, SECOND_LOGIN_SUFFIX
from cipher_operator.api.reasons import Reason
from cipher_operator.core.desired import Desired
from cipher_operator.core.observed import Observed


def bearers(desired: Desired) -> frozenset[str]:
    """Return the owner roles of other storages that would have a role of ours, were there such storages."""
    if desired.shared:
        return frozenset()
    roles = (desired.owner, *desired.logins)
    return frozenset(bearer for role in roles for bearer in _bearers(role)) - {desired.owner}


def refuse_namesakes(desired: Desired, observed: Observed, roles: Iterable[str]) -> None:
    """Raise Conflict where one of these roles is another storage's, whether that has made it already or is yet to."""
    for role, bearer in ((each, bearer) for each in roles for bearer in _bearers(each)):
        found = observed.roles.get(bearer) if bearer != desired.owner else None
        marker = found.marker if found is not None else None
        if marker is None or marker.identity.same_storage(desired.identity):
            continue
        owner = marker.identity
        raise Failure(
            Reason.CONFLICT,
            f"role '{role}' belongs to CipherStorage '{owner.namespace}/{owner.name}': each uses `<user>`, "
            "`<user>_b` and `<user>_owner`; create a new CipherStorage with another `spec.user.name`",
            stage=ConditionType.ACCESS_GRANTED,
        )


def _bearers(role: str) -> tuple[str, ...]:
    """Return the owner roles of those storages that have this role: as owner role itself, as login, as second login."""
    second = role.removesuffix(SECOND_LOGIN_SUFFIX)
    found = (role, role + OWNER_SUFFIX, *((second + OWNER_SUFFIX,) if second != role else ()))
    # The server would cut a longer one, and mean another.
    return tuple(bearer for bearer in found if len(bearer.encode()) <= MAX_NAME)
