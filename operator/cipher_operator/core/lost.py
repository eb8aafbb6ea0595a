"""What it means that something of a storage is not there: lost, still to be made, or out of sight."""

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import ANNOTATION_RECREATE
from cipher_operator.api.reasons import Reason
from cipher_operator.core import remedies
from cipher_operator.core.desired import Desired
from cipher_operator.core.observed import Local, Observed
from cipher_operator.core.orders import Orders
from cipher_operator.core.schema import TABLE_NAMES
from cipher_operator.core.sql.composing import quoted


def refuse_lost(desired: Desired, orders: Orders, observed: Observed) -> None:
    """Raise DatabaseLost where another or an empty server answers behind the same name (design: lost data)."""
    lost, besides, without = None, "", "roles"
    if observed.database is None:
        raise database_gone(desired, orders, observed)
    if not desired.shared and desired.owner not in observed.roles:
        lost = f"role '{desired.owner}' does not exist any more"
    elif not desired.shared and observed.roles[desired.owner].marker is None:
        lost = f"role '{desired.owner}' has lost its marker"
        besides, without = f", and {remedies.adopting(desired.tenant)}", "roles' comments"
    elif observed.local is not None and not observed.local.relations:
        lost = f"all of Cipher's tables are gone from schema '{desired.schema}' of database '{desired.database}'"
    elif desired.shared and observed.local is not None and not marked(observed.local):
        place = f"in schema '{desired.schema}' of database '{desired.database}'"
        lost, without = f"no table of Cipher's {place} has this storage's marker any more", "comments"
    if lost is not None:
        tables = observed.local is not None and bool(observed.local.relations)
        raise _moved(desired, lost, without) if tables else _lost(desired, lost, besides)


def marked(local: Local) -> tuple[str, ...]:
    """Return those of Cipher's tables that carry a marker, anybody's, in their order: in Shared mode there is no role
    that could."""
    relations = local.relations
    return tuple(name for name in TABLE_NAMES if name in relations and relations[name].marker is not None)


def _moved(desired: Desired, what: str, without: str) -> Failure:
    """Return what it means that the tables are there and what says whose they are is not: a dump was restored."""
    return Failure(
        Reason.DATABASE_LOST,
        f"{what}, but Cipher's tables are there, as after a dump and restore without the {without}; nothing was "
        f"written. To take the tables over, set annotation `{ANNOTATION_RECREATE}` to a new value and "
        f"{remedies.adopting(desired.tenant)}: all rows are kept. If it is another server, "
        f"{remedies.point_elsewhere(desired.tenant)}",
        stage=ConditionType.DATABASE_READY,
    )


def _lost(desired: Desired, what: str, besides: str = "") -> Failure:
    return Failure(
        Reason.DATABASE_LOST,
        f"{what}: this may be another or an empty server, and nothing was written. Restore the data, or "
        f"{remedies.point_elsewhere(desired.tenant)}; to begin again empty, set annotation `{ANNOTATION_RECREATE}` "
        f"to a new value{besides}",
        stage=ConditionType.DATABASE_READY,
    )


def database_gone(desired: Desired, orders: Orders, observed: Observed | None = None) -> Failure:
    """Return what a missing database means: lost where it was ready before, else still to be created. `observed` is
    None where the operator is in no other database either."""
    if orders.established and not orders.recreate:
        return _lost(desired, f"database '{desired.database}' does not exist any more")
    admin = quoted(observed.server.admin.name) if observed is not None else "<the operator's admin role>"
    by_hand = (
        f", or run: CREATE DATABASE {quoted(desired.database)}; GRANT ALL ON DATABASE {quoted(desired.database)} TO "
        f"{admin} WITH GRANT OPTION"
    )
    if desired.schema == "public":
        # Any other is made by the operator: there is none yet to grant.
        by_hand += f', and in it: GRANT ALL ON SCHEMA "public" TO {admin} WITH GRANT OPTION'
    return Failure(
        Reason.DATABASE_MISSING,
        f"database '{desired.database}' does not exist; set `spec.database.create: true`"
        f"{by_hand if desired.tenant is None else ''}",
        stage=ConditionType.DATABASE_READY,
    )


def out_of_sight(desired: Desired) -> Failure:
    """Return what it means that the server has the database, and does not let the operator in to it by that name."""
    listing = "the database, or an entry `*`, to that list (PgBouncer: section [databases])"
    remedy = f"Add {listing}, or point the connection at the one server"
    if desired.tenant is not None:
        remedy = f"To add {listing} is for {remedies.whoever_runs(desired.tenant)}"
    return Failure(
        Reason.DATABASE_MISSING,
        f"the server has database '{desired.database}', and what the operator came to by that name does not know it: a "
        f"connection pooler with a list of its own, or another server behind the same host name. {remedy}",
        stage=ConditionType.DATABASE_READY,
    )
