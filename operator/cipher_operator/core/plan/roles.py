"""Planning of roles, memberships and settings."""

from cipher_operator.core.desired import Desired
from cipher_operator.core.marker import LOGIN, OWNER
from cipher_operator.core.namesakes import refuse_namesakes
from cipher_operator.core.observed import Observed, Role
from cipher_operator.core.orders import Orders
from cipher_operator.core.ownership import Claim, Part, judge_login, tokens_of_roles
from cipher_operator.core.plan.extensions import search_path
from cipher_operator.core.plan.privileges import elsewhere, lacking, outlasts_upgrades, refuse_steps
from cipher_operator.core.plan.settings import reset_settings
from cipher_operator.core.sql import steps
from cipher_operator.core.sql.composing import quoted, schemas_in
from cipher_operator.core.sql.step import Step


def plan_roles(desired: Desired, orders: Orders, observed: Observed, claim: Claim) -> Part:
    """Return the steps for roles; the owner role itself is made where its marker is written.

    Raises Failure InsufficientPrivilege or AlreadyExists.
    """
    credential = orders.credential
    if desired.shared or credential is None:
        return Part()
    tokens, adopted = tokens_of_roles(desired), list[str]()
    modern = observed.server.modern
    # A stranger that only has the name of the second login matters when that login is wanted.
    wanted = (desired.user, credential.login)
    ours = [login for login in desired.logins if login in wanted or claim.holds(tokens[login])]
    # Who begins with a name would want its second login one day.
    named = (desired.owner, *(ours if claim.holds(LOGIN) else desired.logins))
    refuse_namesakes(desired, observed, [role for role in named if not claim.holds(tokens[role])])
    for login in ours:
        if (role := observed.roles.get(login)) is not None:
            judge_login(desired, observed, claim, role)
    planned, created = _plan_owner(desired, orders, observed, modern)
    if desired.owner in observed.roles and not claim.holds(OWNER):
        adopted.append(OWNER)
    for login in ours:
        role = observed.roles.get(login)
        if role is not None:
            planned.extend(_keep_login(desired, orders, observed, role))
            if login == credential.login and credential.change:
                planned.append(steps.set_password(login, credential.password))
            elif login != credential.login and orders.revoke_previous and role.login:
                planned.append(steps.disable_login(login))
        elif login == credential.login:
            planned.append(steps.create_login(login, desired.owner, credential.password, desired.connection_limit))
            created.append(tokens[login])
        if outlasts_upgrades(observed, login) and (role is not None or login == credential.login):
            planned.append(steps.join_role(login, observed.server.admin.name, modern, keep=True))
        if role is not None and not claim.holds(tokens[login]):
            adopted.append(tokens[login])
    refuse_steps(desired, observed, planned)
    return Part(tuple(planned), tuple(created), tuple(adopted))


def _plan_owner(desired: Desired, orders: Orders, observed: Observed, modern: bool) -> tuple[list[Step], list[str]]:
    """Return the steps that give the session a usable owner role, and the token of one that must be created."""
    admin, owner = observed.server.admin, observed.roles.get(desired.owner)
    if (owner is None or orders.login not in observed.roles) and not (admin.superuser or admin.createrole):
        raise lacking(
            f"role '{admin.name}' may not create roles{elsewhere('CREATEROLE', admin.createrole_through)}",
            f"ALTER ROLE {quoted(admin.name)} CREATEROLE (as a superuser); where nobody can, as on Heroku, create a "
            "new CipherStorage with `spec.user.mode: Shared`",
        )
    planned: list[Step] = []
    # Where SET ROLE is the only way, no GRANT gives USAGE.
    usable = owner is not None and owner.set and (owner.usage or observed.server.by_set_role)
    keep = outlasts_upgrades(observed, desired.owner)
    if keep or not (admin.superuser or usable):
        planned.append(steps.join_role(desired.owner, admin.name, modern, keep=keep))
    if owner is not None and owner.login:
        planned.append(steps.disable_login(owner.name))
    return planned, [] if owner is not None else [OWNER]


def _keep_login(desired: Desired, orders: Orders, observed: Observed, role: Role) -> list[Step]:
    """Return what restores a login of ours. The one that is not published may be disabled, and stays so."""
    planned: list[Step] = []
    credential, modern = orders.credential, observed.server.modern
    drifted = not role.login or role.connection_limit != desired.connection_limit or role.expires
    set_anyway = credential is not None and credential.change and not role.login
    if role.name == orders.login and drifted and not set_anyway:
        planned.append(steps.alter_login(role.name, desired.connection_limit))
    if not role.in_owner:
        if not role.inherits and not modern:
            planned.append(steps.inherit_roles(role.name))
        planned.append(steps.join_role(desired.owner, role.name, modern))
    everywhere = dict(setting.split("=", 1) for setting in role.settings.get("", ()))
    here = dict(setting.split("=", 1) for setting in role.settings.get("=", ()))
    if everywhere.get("role") != desired.owner:
        planned.append(steps.set_acting_role(role.name, desired.owner))
    if "role" in here:
        planned.append(steps.reset_setting(role.name, "role", desired.database))
    planned.extend(reset_settings(role, desired.database))
    path = search_path(desired, observed.local)
    if observed.local is not None and schemas_in(here.get("search_path", "")) != path:
        planned.append(steps.set_search_path(role.name, desired.database, path))
    return planned
