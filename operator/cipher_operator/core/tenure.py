"""What a tenant has on the server, as the server itself tells: where he stood before a limit, and what he may inherit.

A status proves nothing: it may come from another server, and whether a database exists is others' business.
"""

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import MAX_NAME, derived_name
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import Excess
from cipher_operator.core.desired import Desired
from cipher_operator.core.marker import DATABASE, Identity, Marker, parse_marker
from cipher_operator.core.observed import Observed
from cipher_operator.core.orders import Orders
from cipher_operator.core.ownership import Claim, standing_comment
from cipher_operator.core.schema import TABLE_NAMES

OR_ASK = "Change it, or ask whoever runs the CipherServer"


def exceeded(excess: Excess) -> Failure:
    """Return the failure of a storage that asks for more than its CipherServer allows."""
    return Failure(Reason.LIMIT_EXCEEDED, f"{excess.what}. {excess.remedy}", stage=ConditionType.CONNECTED)


def going_on(excess: Excess) -> str:
    """Return what Ready says of a storage that is beyond a limit and goes on."""
    remedy = excess.remedy[0].lower() + excess.remedy[1:]
    return f"{excess.what}; it goes on because it stood before (to make it anew, {remedy})"


def refuse_beyond(desired: Desired, orders: Orders, observed: Observed) -> None:
    """Raise LimitExceeded where a tenant is beyond the limits and did not stand there before they came, as the server
    itself tells. Before anything else is said, or looked into: whether a database exists is others' business."""
    tenant = desired.tenant
    if tenant is None or _stood(desired, orders, standing_comment(desired, observed)):
        return
    if tenant.beyond:
        raise exceeded(tenant.beyond[0])
    rivals = tenant.rivals
    if rivals is not None and len(rivals.owners & observed.claimants) >= rivals.places:
        raise exceeded(rivals.excess)
    if tenant.former is not None and orders.recreate:
        raise exceeded(tenant.former)
    if tenant.heir is not None and not _may_look(desired, observed) and not _inherited(desired, observed):
        raise exceeded(tenant.heir)


def refuse_foreign_database(desired: Desired, orders: Orders, observed: Observed, claim: Claim) -> None:
    """Raise LimitExceeded where a tenant would begin to use a database of others that the limits close."""
    tenant, database = desired.tenant, observed.database
    if tenant is None or database is None or tenant.foreign_database:
        return
    made = orders.database_made or claim.created(DATABASE)
    if made or _stood(desired, orders, claim.standing) or _inherited(desired, observed):
        return
    what = f"database '{desired.database}' exists and was not created by this storage"
    limit = "`limits.existingDatabases` of the CipherServer does not allow to use it"
    if not tenant.derived:
        raise exceeded(Excess(f"{what}: {limit}", OR_ASK))
    raise exceeded(
        Excess(
            f"{what}, whose name comes from `databaseNameTemplate` of the CipherServer: {limit}",
            f"Ask whoever runs CipherServer '{tenant.server}' to drop or rename that database, or create a new "
            "CipherStorage with another name",
        )
    )


def _stood(desired: Desired, orders: Orders, standing: str | None) -> bool:
    """Return whether a storage was ready in this database, with its own marker for it: the status alone proves nothing,
    it came from another server perhaps."""
    marker = parse_marker(standing)
    ours = marker is not None and marker.identity.same_storage(desired.identity)
    return orders.established and ours and marker is not None and marker.place.database == desired.database


def _may_look(desired: Desired, observed: Observed) -> bool:
    """Return whether the database is there and is still to be looked into for the data of the owner whom `adoptFrom`
    names: its name was derived for him, or his marker says that it is his."""
    source = desired.adopt_from
    if observed.database is None or observed.local is not None or source is None:
        return False
    if desired.database.endswith(derived_name("", source.namespace, source.name, MAX_NAME)):
        return True
    role = observed.roles.get(desired.heir_of or "")
    return role is not None and role.marker is not None and _inherits(desired, role.marker)


def _inherited(desired: Desired, observed: Observed) -> bool:
    """Return whether Cipher's tables in this database are those of the owner whom `adoptFrom` names, in the storage's
    own namespace and of this operator, or were taken over from him by a run that did not end."""
    relations = observed.local.relations.values() if observed.local is not None else ()
    return any(_inherits(desired, marker) for each in relations if (marker := each.owner_marker) is not None)


def _inherits(desired: Desired, marker: Marker) -> bool:
    own, source = desired.identity, desired.adopt_from
    if marker.place.database != desired.database or source is None:
        return False
    if marker.identity.same_storage(own):
        return not marker.adopted.isdisjoint(TABLE_NAMES)
    former = Identity(own.instance, own.namespace, source.name, marker.identity.uid)
    return source.instance == own.instance and source.namespace == own.namespace and marker.identity == former
