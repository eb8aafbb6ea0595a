"""From desired, orders and observed to the steps that are missing: pure, total, and empty when nothing is."""

from dataclasses import dataclass, field, replace

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.desired import Desired
from cipher_operator.core.marker import DATABASE, LOGIN, SCHEMA, Marker, parse_marker
from cipher_operator.core.observed import Local, Observed
from cipher_operator.core.orders import Orders
from cipher_operator.core.ownership import Claim, Part, bearer, judge, standing_comment, tokens_of_roles
from cipher_operator.core.plan.extensions import plan_extensions
from cipher_operator.core.plan.fitness import fitness_warnings, refuse_unfit
from cipher_operator.core.plan.flaws import Mend, mends
from cipher_operator.core.plan.grants import open_database, plan_database_access, plan_schema_access
from cipher_operator.core.plan.privileges import elsewhere, refuse_steps, unmanaged_warnings
from cipher_operator.core.plan.relations import being_built, plan_relations
from cipher_operator.core.plan.roles import plan_roles
from cipher_operator.core.plan.settings import read_only_setting
from cipher_operator.core.schema import MARKER_TABLE, TABLE_NAMES
from cipher_operator.core.sql import steps
from cipher_operator.core.sql.composing import quoted
from cipher_operator.core.sql.step import PASSWORDS, Step, lines_of
from cipher_operator.core.tenure import refuse_beyond, refuse_foreign_database

OPEN_GRANTEES = frozenset({"PUBLIC", "anon"})
"""Everybody with a login, and on Supabase everybody with the public API key."""
PROVIDER_SINCE = 150000
"""server_version_num from which CREATE DATABASE knows LOCALE_PROVIDER."""


@dataclass(frozen=True, slots=True)
class Fence:
    """The comment that must still stand when a message runs; `schema` is set where it stands on a table."""

    on: str
    comment: str
    schema: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """Steps that are sent together, in one transaction, or one that runs alone; and what must stand before."""

    steps: tuple[Step, ...]
    fence: Fence | None

    @property
    def alone(self) -> bool:
        """Return whether it runs outside a transaction, without its fence."""
        return self.steps[0].alone


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in their order. Empty means: the server is as desired, as far as it could be seen.

    `fence` is the marker that was observed, `marked` the one that the first message leaves.
    """

    steps: tuple[Step, ...] = ()
    fence: Fence | None = None
    marked: Fence | None = None
    lock: str = ""
    """Whose advisory lock the messages take: the owner role's name."""
    warnings: tuple[str, ...] = field(default=(), compare=False)
    mends: tuple[Mend, ...] = ()
    """Each a message of its own, once there are no steps left."""
    deferred: tuple[Step, ...] = ()
    """Builds of indexes on large tables, which take their time: no part of the messages, and no reason to wait."""
    building: tuple[str, ...] = field(default=(), compare=False)
    """Indexes that are being built already."""

    def __bool__(self) -> bool:
        return bool(self.steps)

    def messages(self) -> tuple[Message, ...]:
        """Return the steps grouped into messages: one transaction each, steps that run alone by themselves."""
        groups: list[list[Step]] = []
        for step in self.steps:
            if step.alone or step.apart or not groups or groups[-1][0].alone:
                groups.append([])
            groups[-1].append(step)
        return tuple(Message(tuple(group), self.marked if index else self.fence) for index, group in enumerate(groups))

    def lines(self) -> tuple[str, ...]:
        """Return the SQL for people, a statement each, passwords as '***'."""
        return lines_of((*self.steps, *(mend.step for mend in self.mends), *self.deferred))


def refuse_read_only(desired: Desired, observed: Observed) -> None:
    """Raise ReadOnlyServer where nothing could be written: it is said, not tried."""
    if observed.server.read_only:
        raise Failure(
            Reason.READ_ONLY_SERVER,
            "the server is read-only (a standby, or default_transaction_read_only is on); point the connection Secret "
            "at the writer endpoint, free the server's disk, or take the setting back (pg_settings.source says where "
            f"it is made){read_only_setting(desired, observed)}",
            stage=ConditionType.CONNECTED,
        )


def plan(desired: Desired, orders: Orders, observed: Observed) -> Plan:
    """Return what is missing.

    Seen from another database (`observed.local` is None), it covers roles and the database itself; seen from
    inside, everything. Raises Failure where the storage cannot or must not be provisioned; then nothing was
    planned and nothing is written.
    """
    refuse_read_only(desired, observed)
    login = orders.login or desired.user
    if desired.tenant is not None:
        # Before anything is said of a database that may be another's.
        refuse_beyond(desired, orders, observed)
        refuse_foreign_database(desired, orders, observed, judge(desired, orders, observed))
    refuse_unfit(desired, observed, login)
    claim = judge(desired, orders, observed)
    # Judged before any step is planned: a conflict on a table must leave the server without new roles.
    relations = plan_relations(desired, orders, observed, claim) if observed.local is not None else Part()
    extensions = plan_extensions(desired, observed) if observed.local is not None else Part()
    roles = plan_roles(desired, orders, observed, claim)
    created = [*roles.created, *relations.created, *extensions.created]
    planned: list[Step] = [*roles.steps]
    if observed.database is None:
        # Granted and closed from here, in the message behind it: a claim that a crash cannot part from its proof.
        # With that message the login works, so its test need not wait for the schema.
        planned.append(_create_database(desired, observed))
        if not desired.shared:
            created.append(DATABASE)
            planned.extend(open_database(desired, orders))
    elif observed.local is not None:
        ours = claim.created(DATABASE)
        planned.extend(plan_database_access(desired, orders, observed, ours))
        schema_steps, made = plan_schema_access(desired, observed, ours)
        created.extend([SCHEMA] if made else [])
        planned.extend(schema_steps)
        planned.extend(extensions.steps)
        planned.extend(relations.steps)
    marker = claim.marker.having(*created).taking(*roles.adopted, *relations.adopted)
    if any(step.kind in PASSWORDS for step in planned):
        marker = replace(marker, rev=marker.rev + 1)
    marker = _naming_published(desired, orders, marker)
    claiming = _plan_shared if desired.shared else _plan_dedicated
    whole = claiming(desired, observed, replace(claim, marker=marker), tuple(planned))
    refuse_steps(desired, observed, whole.steps)
    building = being_built(observed.local) if observed.local is not None else ()
    unmanaged = unmanaged_warnings(desired, observed)
    warnings = (*_warnings(observed), *unmanaged, *fitness_warnings(desired, observed, login))
    return replace(
        whole,
        warnings=warnings,
        mends=(*whole.mends, *mends(desired, observed)),
        deferred=relations.deferred,
        building=building,
    )


def _plan_dedicated(desired: Desired, observed: Observed, claim: Claim, planned: tuple[Step, ...]) -> Plan:
    """Return the plan that begins with its marker: what a step makes that runs alone is claimed when it exists."""
    owner, text = desired.owner, claim.marker.text()
    marked = Fence(owner, text)
    if owner not in observed.roles:
        claiming: tuple[Step, ...] = (steps.create_owner(owner), steps.write_marker(owner, text))
        return Plan((*claiming, *planned), None, marked, owner)
    claiming = (steps.write_marker(owner, text),) if text != claim.standing else ()
    return Plan((*claiming, *planned), Fence(owner, claim.standing or ""), marked, owner)


def _plan_shared(desired: Desired, observed: Observed, claim: Claim, planned: tuple[Step, ...]) -> Plan:
    """Return the plan that ends with its marker, on the tables that it makes or finds; all of it is one message.

    Where nothing but copies of it are missing, as versions left it that marked one table, nothing depends on them.
    """
    if observed.local is None:
        return Plan(planned, None, None, desired.owner)
    text = claim.marker.text()
    lacking = _lacking(observed.local, text)
    claiming = tuple(steps.write_table_marker(desired.schema, name, text) for name in lacking)
    fence = Fence(bearer(observed), claim.standing, desired.schema) if claim.standing is not None else None
    marked = Fence(MARKER_TABLE, text, desired.schema)
    if not planned and all(_is_copy(desired, *each) for each in lacking.items()):
        return Plan((), fence, marked, desired.owner, mends=tuple(Mend(step, step.on, None) for step in claiming))
    return Plan((*planned, *claiming), fence, marked, desired.owner)


def _lacking(local: Local, text: str) -> dict[str, str | None]:
    """Return the tables that lack the marker, each with its comment: a person's own words stay in place of a copy."""
    comments = {name: local.relations[name].comment if name in local.relations else None for name in TABLE_NAMES}
    words = {name for name, comment in comments.items() if comment is not None and parse_marker(comment) is None}
    return {name: each for name, each in comments.items() if each != text and name not in words - {MARKER_TABLE}}


def _is_copy(desired: Desired, table: str, comment: str | None) -> bool:
    """Return whether a table lacks a copy and no more: a former owner's marker is no copy, and goes with his tables."""
    marker = parse_marker(comment)
    return table != MARKER_TABLE and (marker is None or marker.identity.same_storage(desired.identity))


def _naming_published(desired: Desired, orders: Orders, marker: Marker) -> Marker:
    """Return the marker with the login that is known to be published."""
    published = tokens_of_roles(desired).get(orders.published or "")
    if published is None or published == (marker.published or LOGIN):
        return marker
    return replace(marker, published=published)


def _warnings(observed: Observed) -> tuple[str, ...]:
    """Return what people should know and only they can judge: grants of others are left alone."""
    if observed.local is None:
        return ()
    open_to = {
        grantee: name
        for name, relation in sorted(observed.local.relations.items())
        for grantee in relation.foreign_grantees
        if grantee in OPEN_GRANTEES
    }
    return tuple(f"table '{name}' is open to {grantee}: REVOKE that grant" for grantee, name in sorted(open_to.items()))


def settle(desired: Desired, orders: Orders, observed: Observed) -> Orders:
    """Return the orders with their login decided: where the caller knows of no published one, not the one that the
    marker says was published last, so that whoever still uses it goes on. A login that is still to be adopted is in
    use, too."""
    if orders.credential is None or orders.login is not None:
        return orders
    marker = parse_marker(standing_comment(desired, observed))
    if marker is None:
        second = desired.user in observed.roles
    else:
        second = (marker.published or LOGIN) == LOGIN and marker.holds(LOGIN) and desired.user in observed.roles
    return orders.on(desired.logins[int(second)])


def noted(desired: Desired, orders: Orders, observed: Observed) -> bool:
    """Return whether the marker says of the login that this run worked towards that it is the published one."""
    if orders.login is None:
        return True
    marker = parse_marker(standing_comment(desired, observed))
    token = tokens_of_roles(desired)[orders.login]
    return marker is not None and token == (marker.published or LOGIN)


def _create_database(desired: Desired, observed: Observed) -> Step:
    admin = observed.server.admin
    if not (admin.superuser or admin.createdb):
        raise Failure(
            Reason.INSUFFICIENT_PRIVILEGE,
            f"role '{admin.name}' may not create database '{desired.database}'"
            f"{elsewhere('CREATEDB', admin.createdb_through)}; run as a superuser: "
            f"ALTER ROLE {quoted(admin.name)} CREATEDB",
            stage=ConditionType.DATABASE_READY,
        )
    provider = observed.server.version >= PROVIDER_SINCE
    limit = -1 if desired.shared else desired.identity.birthmark
    return steps.create_database(desired.database, admin.name, provider, limit)
