"""From desired and observed to the steps that are missing: pure, total, and empty when nothing is."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core import steps
from cipher_operator.core.desired import Desired
from cipher_operator.core.marker import DATABASE, LOGIN, SCHEMA, parse_marker
from cipher_operator.core.observed import Observed
from cipher_operator.core.ownership import Claim, Part, judge, standing_comment, tokens_of_roles
from cipher_operator.core.plan.access import (
    elsewhere,
    open_database,
    plan_database_access,
    plan_roles,
    plan_schema_access,
)
from cipher_operator.core.plan.extensions import plan_extensions
from cipher_operator.core.plan.fitness import fitness_warnings, refuse_unfit
from cipher_operator.core.plan.flaws import Mend, mends
from cipher_operator.core.plan.relations import plan_relations
from cipher_operator.core.schema import MARKER_TABLE
from cipher_operator.core.steps import Step
from cipher_operator.core.steps.composing import quoted

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
class Plan:
    """Steps in their order. Empty means: the server is as desired, as far as it could be seen."""

    steps: tuple[Step, ...] = ()
    fence: Fence | None = None
    lock: str = ""
    """Whose advisory lock the messages take: the owner role's name."""
    mends: tuple[Mend, ...] = ()
    """Each a message of its own, once there are no steps left."""
    warnings: tuple[str, ...] = field(default=(), compare=False)

    def __bool__(self) -> bool:
        return bool(self.steps)

    def messages(self) -> tuple[tuple[Step, ...], ...]:
        """Return the steps grouped into messages: one transaction each, steps that run alone by themselves."""
        groups: list[list[Step]] = []
        for step in self.steps:
            if steps.is_alone(step) or not groups or steps.is_alone(groups[-1][0]):
                groups.append([])
            groups[-1].append(step)
        return tuple(map(tuple, groups))

    def lines(self) -> tuple[str, ...]:
        """Return the SQL for people, a statement each, verifiers as '***'."""
        return lines_of((*self.steps, *(mend.step for mend in self.mends)))


def lines_of(planned: Iterable[Step]) -> tuple[str, ...]:
    """Return the SQL of steps for people, a statement each, verifiers as '***'."""
    shown = steps.statements_of(map(steps.masked, planned))
    return tuple(f"{statement.as_string(None)};" for statement in shown)


def refuse_read_only(observed: Observed) -> None:
    """Raise ReadOnlyServer where nothing could be written: it is said, not tried."""
    if observed.server.read_only:
        raise Failure(
            Reason.READ_ONLY_SERVER,
            "the server is read-only (a standby, or default_transaction_read_only is on); point the connection Secret "
            "at the writer endpoint, or free the server's disk",
            stage=ConditionType.CONNECTED,
        )


def plan(desired: Desired, observed: Observed) -> Plan:
    """Return what is missing.

    Seen from another database (`observed.local` is None), it covers roles and the database itself; seen from
    inside, everything. Raises Failure where the storage cannot or must not be provisioned; then nothing was
    planned and nothing is written.
    """
    refuse_read_only(observed)
    refuse_unfit(desired, observed, _login(desired))
    claim = judge(desired, observed)
    # Judged before any step is planned: a conflict on a table must leave the server without new roles.
    relations = plan_relations(desired, observed, claim) if observed.local is not None else Part()
    extensions = plan_extensions(desired, observed) if observed.local is not None else Part()
    roles = plan_roles(desired, observed, claim)
    created = [*roles.created, *relations.created, *extensions.created]
    planned: list[Step] = [*roles.steps]
    if observed.database is None:
        # Granted and closed from here, in the message behind it: a claim that a crash cannot part from its proof.
        # With that message the login works, so its test need not wait for the schema.
        planned.append(_create_database(desired, observed))
        if not desired.shared:
            created.append(DATABASE)
            planned.extend(open_database(desired))
    elif observed.local is not None:
        ours = claim.created(DATABASE)
        planned.extend(plan_database_access(desired, observed, ours))
        schema_steps, made = plan_schema_access(desired, observed, ours)
        created.extend([SCHEMA] if made else [])
        planned.extend(schema_steps)
        planned.extend(extensions.steps)
        planned.extend(relations.steps)
    marker = claim.marker.having(*created).taking(*roles.adopted, *relations.adopted)
    whole = _with_marker(desired, observed, replace(claim, marker=marker), planned)
    warnings = (*_warnings(observed), *fitness_warnings(desired, observed, _login(desired)))
    return replace(whole, mends=mends(desired, observed), warnings=warnings)


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


def settle(desired: Desired, observed: Observed) -> Desired:
    """Return desired with its login decided: where the caller knows of no published one, not the one that the marker
    says was published last, so that whoever still uses it goes on. A login that is still to be adopted is in use,
    too."""
    credential = desired.credential
    if credential is None or credential.login is not None:
        return desired
    marker = parse_marker(standing_comment(desired, observed))
    if marker is None:
        second = desired.user in observed.roles
    else:
        second = (marker.published or LOGIN) == LOGIN and marker.holds(LOGIN) and desired.user in observed.roles
    return replace(desired, credential=replace(credential, login=desired.logins[int(second)]))


def noted(desired: Desired, observed: Observed) -> bool:
    """Return whether the marker says of the login that this run worked towards that it is the published one."""
    if desired.credential is None or desired.credential.login is None:
        return True
    marker = parse_marker(standing_comment(desired, observed))
    token = tokens_of_roles(desired)[desired.credential.login]
    return marker is not None and token == (marker.published or LOGIN)


def _login(desired: Desired) -> str:
    """Return the login that Cipher uses."""
    return desired.credential.login or desired.user if desired.credential is not None else desired.user


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
    return steps.CreateDatabase(desired.database, admin.name, provider, limit)


def _with_marker(desired: Desired, observed: Observed, claim: Claim, planned: list[Step]) -> Plan:
    """Return the plan with its marker written in the message that does the work, and its fence."""
    marker = claim.marker
    if any(isinstance(step, steps.CreateLogin | steps.SetPassword) for step in planned):
        marker = replace(marker, rev=marker.rev + 1)
    published = tokens_of_roles(desired).get(desired.published or "")
    if published is not None and published != (marker.published or LOGIN):
        marker = replace(marker, published=published)
    text = marker.text()
    if desired.shared:
        standing = claim.standing if observed.local and MARKER_TABLE in observed.local.relations else None
        if text != standing and observed.local is not None:
            planned.append(steps.WriteTableMarker(desired.schema, MARKER_TABLE, text))
        fence = Fence(MARKER_TABLE, standing, desired.schema) if standing is not None else None
        return Plan(tuple(planned), fence, desired.owner)
    if claim.standing is None and desired.owner not in observed.roles:
        head = planned[0]
        assert isinstance(head, steps.CreateOwner)  # plan_roles puts it first where the role is missing
        planned[0] = replace(head, marker=text)
        return Plan(tuple(planned), None, desired.owner)
    if text != claim.standing:
        # Before the first step that runs alone: what it makes must be claimed when it exists.
        planned.insert(0, steps.WriteMarker(desired.owner, text))
    return Plan(tuple(planned), Fence(desired.owner, claim.standing or ""), desired.owner)
