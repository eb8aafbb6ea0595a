"""What a run works towards: from a Snapshot and the History to an Intent, without I/O, clock or randomness.

How a password is rotated is decided here: which login, which password, and whether it is set.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from cipher_operator.api import names
from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import SECOND_LOGIN_SUFFIX
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import ManagementPolicy, Resource, Spec, UserMode, parse_spec
from cipher_operator.core import discretion, tenancy
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.connection.password import Password
from cipher_operator.core.credentials import Known, wanted_credential
from cipher_operator.core.desired import Desired, desired_from
from cipher_operator.core.door import AppCredentials, AppEndpoint, app_door, check_publishable
from cipher_operator.core.observed import Observed
from cipher_operator.core.orders import Orders
from cipher_operator.core.requests import Requests
from cipher_operator.core.rotation import rotation_due, seconds_of_rest
from cipher_operator.core.secret import check_password, read_app_secret
from cipher_operator.core.tenure import going_on
from cipher_operator.kube.secrets import SecretObject
from cipher_operator.reconcile.digest import Digest
from cipher_operator.reconcile.history import History
from cipher_operator.reconcile.inputs import server_of
from cipher_operator.reconcile.result import PasswordChange
from cipher_operator.reconcile.rules import Rules
from cipher_operator.reconcile.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Intent:
    """What one run shall reach. `existing` is the app Secret as it was read, None where there is none."""

    spec: Spec
    admin: AdminConnection
    desired: Desired
    orders: Orders
    requests: Requests
    existing: SecretObject | None
    change: PasswordChange | None = None
    generated: bool = False
    """The credential is a new one of the operator's own: pending until it is published."""
    rests: float | None = None
    """Seconds until a rotation may follow that is due now: it comes too soon after the last one."""
    brought: Password | None = None
    """The user's own password, where it is not the published one."""
    door_ca: bytes | None = None
    """What `spec.app.caRef` names."""

    @property
    def observe(self) -> bool:
        """Return whether the run plans and writes nothing."""
        return self.spec.management_policy is ManagementPolicy.OBSERVE

    def of_the_way(self) -> tuple[str, ...]:
        """Return what is said of the way in: to its administrator; to a tenant, what of his is beyond the limits."""
        tenant = self.spec.tenant
        if tenant is None:
            return self.admin.warnings
        return tuple(going_on(excess) for excess in tenant.beyond if excess.told)

    def door(self, *, ssl_in_use: bool) -> AppEndpoint:
        """Return where pods connect; `ssl_in_use` says whether the operator's own connection used TLS."""
        app, database = self.spec.app, self.desired.database
        return app_door(self.admin, app, database, ssl_in_use=ssl_in_use, ca=self.door_ca)

    def credentials(self, login: str) -> AppCredentials:
        """Return the published password as that of a login."""
        return AppCredentials(login, self.password)

    def tellable(self, lines: tuple[str, ...], observed: Observed | None) -> tuple[str, ...]:
        """Return SQL as whoever reads the storage's status may know it: a tenant without the administrator's name."""
        if self.spec.tenant is None or observed is None:
            return lines
        return discretion.masked(lines, observed.server.admin.name)

    @property
    def password(self) -> Password:
        """Return the password that is published: in Shared mode the administrator's own."""
        return self.orders.credential.password if self.orders.credential is not None else self.admin.password


def parse(snapshot: Snapshot, rules: Rules) -> Spec | Failure:
    """Return the spec, with what its CipherServer gives it where it names one, or why it cannot be worked with."""
    try:
        spec = settled(snapshot)
    except Failure as failure:
        return failure.at(ConditionType.CONNECTED)
    for extension in spec.extensions:
        if extension not in rules.allowed_extensions:
            return Failure(
                Reason.INVALID_SPEC,
                f"`spec.extensions` names '{extension}', which this operator does not create; it creates "
                f"{', '.join(rules.allowed_extensions) or 'none'} (flag --allowed-extensions)",
                stage=ConditionType.CONNECTED,
            )
    return spec


def settled(snapshot: Snapshot) -> Spec:
    """Return the spec, with what its CipherServer gives it where it names one. Raises Failure."""
    resource = snapshot.resource
    spec = parse_spec(resource.namespace, resource.name, resource.raw_spec)
    server, offer = spec.connection.server, snapshot.offer
    if server is None:
        return spec
    if offer is None:
        raise discretion.unavailable(server)
    if isinstance(offer.spec, Failure):
        raise discretion.unusable(server)
    return tenancy.settle(resource, spec, server, offer.spec, offer.neighbours, closing=offer.resource.deleting)


def shown(snapshot: Snapshot, failure: Failure) -> Failure:
    """Return a failure as whoever reads the storage's status may know it."""
    server = server_of(snapshot.resource.raw_spec)
    return failure if server is None else discretion.discreet(failure, server[2], snapshot.hidden())


def decide(
    snapshot: Snapshot, spec: Spec, history: History, rules: Rules, *, now: datetime, fresh: Password, digest: Digest
) -> Intent | Failure:
    """Return what the run works towards, or why that cannot be. `fresh` is a password that nobody knows."""
    try:
        return _decide(snapshot, spec, history, rules, now=now, fresh=fresh, digest=digest)
    except Failure as failure:
        return failure.at(ConditionType.CONNECTED)


def _decide(
    snapshot: Snapshot, spec: Spec, history: History, rules: Rules, *, now: datetime, fresh: Password, digest: Digest
) -> Intent:
    resource = snapshot.resource
    existing = snapshot.contents.secret(spec.app.secret_name)
    admin = snapshot.admin(spec)
    desired = desired_from(resource, spec, admin, rules.instance)
    check_publishable(admin, spec.app, desired.database, tenant=spec.tenant is not None)
    refuse_foreign(resource, spec.app.secret_name, existing)
    door_ca = snapshot.contents.ca(spec.app.ca, "spec.app.caRef")
    intent = Intent(spec, admin, desired, _orders(resource), Requests.of(resource), existing, door_ca=door_ca)
    intent.door(ssl_in_use=True)  # a CA that is none is said before anything is done
    if spec.user.mode is UserMode.SHARED:
        check_password(admin.password)
        return replace(intent, change=_shared_change(resource, existing, admin.password))
    return _with_credential(snapshot, intent, history, now=now, fresh=fresh, digest=digest)


def _orders(resource: Resource) -> Orders:
    requests = Requests.of(resource)
    return Orders(
        established=bool(resource.status.get("database")),
        recreate=requests.recreate,
        # Once is enough: two storages that name each other would take turns.
        adopted=not requests.adopt,
    )


def _with_credential(
    snapshot: Snapshot, intent: Intent, history: History, *, now: datetime, fresh: Password, digest: Digest
) -> Intent:
    """Return the intent with the login and password that it works towards."""
    spec, existing, user = intent.spec, intent.existing, intent.desired.user
    published = read_app_secret(existing.data) if existing is not None else None
    logins = (user, user + SECOND_LOGIN_SUFFIX)
    last = snapshot.resource.status.get("user")
    given = None
    if spec.user.password_ref is not None:
        given = snapshot.contents.password(spec.user.password_ref)
        check_password(given)
    due = existing is not None and rotation_due(intent.requests, spec.rotation_interval, existing.annotations, now)
    rest = seconds_of_rest(history.rotated, now)
    known = Known(
        user=user,
        published=(published.role, published.password) if published is not None and published.role in logins else None,
        last_login=last if last in logins else None,
        pending=history.pending,
        given=given,
        rotate=due and not rest,
    )
    wanted = wanted_credential(known, lambda: fresh)
    if given is not None and wanted.change and history.brought == digest(given):
        wanted = replace(wanted, change=False)
    unchanged = not wanted.change and known.published == (wanted.login, wanted.password)
    orders = replace(
        intent.orders,
        credential=wanted,
        published=wanted.login if unchanged else None,
        # Not together with a change: until that is published, the previous login is the published one.
        revoke_previous=intent.requests.revoke_previous and unchanged,
    )
    return replace(
        intent,
        orders=orders,
        change=_change(known, wanted.login, wanted.password),
        generated=given is None and wanted.change,
        rests=rest if due and rest and given is None else None,
        brought=given if wanted.change else None,
    )


def _change(known: Known, login: str | None, password: Password) -> PasswordChange | None:
    """Return why another password than before is about to be published; None where it is the same, or the first."""
    if known.published is None:
        lost = PasswordChange.SECRET_LOST if known.given is None else PasswordChange.SAME_AGAIN
        return lost if known.last_login is not None else None
    if known.given is not None:
        return PasswordChange.BROUGHT if known.published[1] != known.given else None
    return PasswordChange.ROTATED if known.published != (login, password) else None


def _shared_change(resource: Resource, existing: SecretObject | None, password: Password) -> PasswordChange | None:
    """Return the same of mode Shared, where the administrator's password is the one that is published."""
    published = read_app_secret(existing.data) if existing is not None else None
    if published is None:
        return PasswordChange.SAME_AGAIN if resource.status.get("user") else None
    return PasswordChange.ADMINISTRATORS if published.password != password else None


def refuse_foreign(resource: Resource, name: str, existing: SecretObject | None) -> None:
    """Raise Failure AlreadyExists for a Secret of that name that is not this storage's. It is never overwritten."""
    if existing is None or is_ours(resource, existing):
        return
    raise Failure(
        Reason.ALREADY_EXISTS,
        f"Secret '{name}' exists and is not this storage's; it was not touched. Delete that Secret, or create a new "
        "CipherStorage with another `spec.app.secretName`",
        stage=ConditionType.SECRET_PUBLISHED,
    )


def is_ours(resource: Resource, secret: SecretObject) -> bool:
    """Return whether an app Secret is this storage's.

    It is known by type and label, not by owner uid: a restored backup has a new uid. Where the label is lost, the
    controller reference with this storage's own uid proves it as well.
    """
    named = secret.type == names.SECRET_TYPE and secret.labels.get(names.LABEL_STORAGE) == resource.name
    return named or secret.controller_uid == resource.uid


def answered(resource: Resource) -> Mapping[str, str]:
    """Return the requests that every finished look answers, whatever it found: to look, and to forget one."""
    return {name: value for name, value in Requests.of(resource).new.items() if name == "reconcile" or not value}
