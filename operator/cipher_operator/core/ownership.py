"""Whose a storage on the server is: the verdict that comes before every plan."""

import json
from dataclasses import dataclass, replace

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core import remedies
from cipher_operator.core.desired import Desired
from cipher_operator.core.lost import database_gone, marked, refuse_lost
from cipher_operator.core.marker import (
    CLOSING,
    DATABASE,
    LOGIN,
    OWNER,
    SCHEMA,
    SECOND_LOGIN,
    Identity,
    Marker,
    parse_marker,
)
from cipher_operator.core.namesakes import refuse_namesakes
from cipher_operator.core.observed import Observed, Role
from cipher_operator.core.orders import Orders
from cipher_operator.core.relation import Relation
from cipher_operator.core.schema import MARKER_TABLE, TABLE_NAMES
from cipher_operator.core.sql.step import Step


@dataclass(frozen=True, slots=True)
class Claim:
    """What we own. `standing` is the comment text now, None where there is no marker yet; `marker` is the truth
    to write, still without what the coming plan creates."""

    standing: str | None
    marker: Marker

    def created(self, token: str) -> bool:
        """Return whether the operator made this thing."""
        return token in self.marker.created

    def holds(self, token: str) -> bool:
        """Return whether the operator made this thing or was allowed to take it over."""
        return self.marker.holds(token)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a plan: its steps, the marker tokens of what they create or take over, and steps for later."""

    steps: tuple[Step, ...] = ()
    created: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()
    deferred: tuple[Step, ...] = ()


def judge(desired: Desired, orders: Orders, observed: Observed) -> Claim:
    """Return our claim on the storage.

    Raises Failure: DatabaseLost where an established storage is gone, Conflict for another owner's marker,
    AlreadyExists for an unmarked role, DatabaseMissing where the database shall not be created.
    """
    if orders.established and not orders.recreate:
        refuse_lost(desired, orders, observed)
    if observed.database is None and not desired.create_database:
        raise database_gone(desired, orders, observed)
    standing = standing_comment(desired, observed)
    if standing is None:
        if not desired.shared and (owner := observed.roles.get(desired.owner)) is not None:
            _refuse_unmarked(desired, orders, observed, owner)
        return Claim(None, Marker(desired.identity, desired.place))
    marker = parse_marker(standing)
    if marker is None:
        if not desired.shared:
            _refuse_unmarked(desired, orders, observed, observed.roles[desired.owner])
        return Claim(standing, Marker(desired.identity, desired.place))
    if not marker.identity.same_storage(desired.identity) and not _handed_over(desired, orders, marker):
        raise _foreign(desired, f"table '{bearer(observed)}'" if desired.shared else f"role '{desired.owner}'", marker)
    marker = _true_claim(desired, orders, observed, marker)
    return Claim(standing, replace(marker, identity=desired.identity, place=desired.place))


def _true_claim(desired: Desired, orders: Orders, observed: Observed, marker: Marker) -> Marker:
    """Return the marker with its claims on database, schema and tables set right: they mean one place.

    The claim on the database is written before CREATE DATABASE, which runs in no transaction; it is true once the
    owner role has its grant there; until then its birthmark tells.
    """
    database = observed.database
    renamed = marker.dropping in observed.dropping
    # A deletion that was begun and not finished says nothing of what is put inside from now on.
    marker = claims_here(desired, marker).without(CLOSING)
    if database is None or renamed:
        return marker.without(DATABASE, SCHEMA, *TABLE_NAMES)
    if orders.database_made and not desired.shared:
        return marker.having(DATABASE)
    return proven_database(desired, orders, observed, marker)


def proven_database(desired: Desired, orders: Orders, observed: Observed, marker: Marker) -> Marker:
    """Return the marker without a claim on a database that others made after ours was written."""
    database = observed.database
    if database is None or orders.established or database.granted:
        return marker
    return marker if database.connection_limit == marker.identity.birthmark else marker.without(DATABASE)


def claims_here(desired: Desired, marker: Marker) -> Marker:
    """Return the marker without its claims on what has the same name in another database or schema."""
    if marker.place.database != desired.database:
        marker = marker.without(DATABASE, *(token for token in marker.created if token.startswith("extension")))
    if marker.place != desired.place:
        marker = marker.without(SCHEMA, *TABLE_NAMES)
    return marker


def standing_comment(desired: Desired, observed: Observed) -> str | None:
    """Return the comment that carries, or would carry, our marker; None where there is none."""
    if desired.shared:
        relation = observed.local.relations.get(bearer(observed)) if observed.local else None
        return relation.comment if relation else None
    owner = observed.roles.get(desired.owner)
    return owner.comment if owner else None


def bearer(observed: Observed) -> str:
    """Return the table whose comment is the marker in Shared mode: the first that has one."""
    return next(iter(marked(observed.local) if observed.local is not None else ()), MARKER_TABLE)


def watched(desired: Desired, orders: Orders, observed: Observed) -> Orders:
    """Return the orders with the marker that this run has seen.

    Raises Failure where that is another than it saw or wrote last: somebody else works on this storage, a later leader
    for one. What was planned, the password to set for one, may not be true any more; only a new run can know.
    """
    if desired.shared and observed.local is None:
        return orders
    standing = standing_comment(desired, observed) or ""
    if orders.standing not in (None, standing):
        raise marker_changed()
    return replace(orders, standing=standing)


def marker_changed() -> Failure:
    """Return what a fence that does not hold means: it ends the run."""
    return Failure(
        Reason.UNKNOWN,
        "the ownership marker changed while the operator worked: another leader, or a person, works on this storage. "
        "Wait: the next run begins anew, at the API server",
        stage=ConditionType.ACCESS_GRANTED,
    )


def judge_login(desired: Desired, observed: Observed, claim: Claim, role: Role) -> None:
    """Raise AlreadyExists for a login of our name that we did not make and may not adopt."""
    token = LOGIN if role.name == desired.user else SECOND_LOGIN
    refused = " (the admin's own role, or one with SUPERUSER, CREATEROLE, CREATEDB, REPLICATION or BYPASSRLS, is not)"
    powerful = role.elevated or role.name == observed.server.admin.name
    if claim.holds(token) or (desired.adopt_unowned and not powerful):
        return
    raise Failure(
        Reason.ALREADY_EXISTS,
        f"role '{role.name}' exists and was not created by this CipherStorage; set "
        f"`spec.adoptionPolicy: IfUnowned` to take it over{refused if powerful else ''}, or create a new CipherStorage "
        "with another `spec.user.name`",
        stage=ConditionType.ACCESS_GRANTED,
    )


def judge_relation(desired: Desired, orders: Orders, claim: Claim, name: str, relation: Relation) -> None:
    """Raise Conflict or AlreadyExists for a table of our name that belongs to somebody else."""
    if not desired.shared and relation.owner in (desired.owner, *desired.logins):
        return
    where = f"table '{name}' in schema '{desired.schema}' of database '{desired.database}'"
    if relation.owner_marker is not None:
        # Before what we made: another storage that took it over is not fought.
        same = relation.owner_marker.identity.same_storage(desired.identity)
        if same or _handed_over(desired, orders, relation.owner_marker):
            return
        raise _foreign(desired, where, relation.owner_marker)
    if desired.shared and (marker := relation.marker) is not None:
        # Whatever the other tables say: one that was restored alone is still its owner's.
        if marker.identity.same_storage(desired.identity) or _handed_over(desired, orders, marker):
            return
        raise _foreign(desired, where, marker)
    if claim.holds(name):
        return
    # An app can forge a comment on its own tables: here it gives nothing, and may only keep from a grab.
    marker = relation.marker if not desired.shared else None
    if marker is not None and not (marker.identity.same_storage(desired.identity) or _named(desired, marker)):
        raise _foreign(desired, where, marker, "` and `spec.adoptionPolicy: IfUnowned")
    if desired.adopt_unowned:
        return
    elsewhere = remedies.clear_of(shared=desired.shared, field="`spec.schema`")
    raise Failure(
        Reason.ALREADY_EXISTS,
        f"{where} exists and is owned by role '{relation.owner}'; set `spec.adoptionPolicy: IfUnowned` to take it "
        f"over, or create a new CipherStorage with another {elsewhere}",
        stage=ConditionType.SCHEMA_APPLIED,
    )


def _handed_over(desired: Desired, orders: Orders, marker: Marker) -> bool:
    """Return whether `adoptFrom` names exactly the owner in the marker, and has not been carried out yet."""
    return _named(desired, marker) and not orders.adopted


def _named(desired: Desired, marker: Marker) -> bool:
    source, owner = desired.adopt_from, marker.identity
    return source is not None and (source.instance, source.namespace, source.name) == (
        owner.instance,
        owner.namespace,
        owner.name,
    )


def _foreign(desired: Desired, what: str, marker: Marker, besides: str = "") -> Failure:
    owner = marker.identity
    # Quoted: YAML would take a name such as 2024 for a number.
    texts = {"instance": owner.instance, "namespace": owner.namespace, "name": owner.name}
    source = ", ".join(f"{key}: {json.dumps(text)}" for key, text in texts.items())
    instance = "" if owner.instance == desired.identity.instance else " of another operator instance"
    elsewhere = remedies.clear_of(shared=desired.shared, field="database, schema or user name")
    if _named(desired, marker):
        return Failure(
            Reason.CONFLICT,
            f"{what} belongs to CipherStorage '{owner.namespace}/{owner.name}'{instance}, which has taken it back "
            "since `spec.adoptFrom` was carried out, or the server has lost that (a restore, a failover); to take it "
            "over once more, remove that field and set it again",
            stage=ConditionType.ACCESS_GRANTED,
        )
    return Failure(
        Reason.CONFLICT,
        f"{what} belongs to CipherStorage '{owner.namespace}/{owner.name}'{instance}; create a new "
        f"CipherStorage with another {elsewhere}, or take its objects over with "
        f"`spec.adoptFrom: {{{source}}}{besides}`{_cluster_made_anew(desired, owner)}",
        stage=ConditionType.ACCESS_GRANTED,
    )


def _cluster_made_anew(desired: Desired, owner: Identity) -> str:
    """Return the remedy where the same storage comes from another instance: for all storages at once."""
    here = desired.identity
    if owner.instance == here.instance or (owner.namespace, owner.name) != (here.namespace, here.name):
        return ""
    return (
        "; or, if that cluster is gone and this one takes its place, start this operator with "
        f"`--instance-id {owner.instance}`"
    )


def _refuse_unmarked(desired: Desired, orders: Orders, observed: Observed, role: Role) -> None:
    refuse_namesakes(desired, observed, [role.name])
    asked = desired.adopt_unowned or (orders.established and orders.recreate)
    if asked and not role.elevated and not role.login:
        return
    raise Failure(
        Reason.ALREADY_EXISTS,
        f"role '{role.name}' exists without a marker of this operator; drop the role, set "
        "`spec.adoptionPolicy: IfUnowned` to take it over, or create a new CipherStorage with another "
        "`spec.user.name`",
        stage=ConditionType.ACCESS_GRANTED,
    )


def tokens_of_roles(desired: Desired) -> dict[str, str]:
    """Return role name to its token in the marker."""
    if desired.shared:
        return {}
    return {desired.owner: OWNER, desired.logins[0]: LOGIN, desired.logins[1]: SECOND_LOGIN}
