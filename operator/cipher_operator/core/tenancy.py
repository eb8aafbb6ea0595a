"""What a storage may that uses a CipherServer: whoever writes its spec is not the administrator of the server.

With a connection Secret of its own a storage's author has the administrator's password anyway; here each of an existing
database, another's names, adoption, and the administrator's own login would be an escalation.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from cipher_operator.api import names
from cipher_operator.api.choices import AdoptionPolicy, DeletionPolicy, UserMode
from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.reserved import is_reserved_database
from cipher_operator.api.server import NAME_PLACEHOLDER, NAMESPACE_PLACEHOLDER, ServerSpec
from cipher_operator.api.spec import App, Resource, Spec, Tenant, User
from cipher_operator.core.connection.parameters import VERIFYING
from cipher_operator.core.desired import Desired
from cipher_operator.core.marker import DATABASE, parse_marker
from cipher_operator.core.name_pattern import PatternError, name_matches
from cipher_operator.core.observed import Observed
from cipher_operator.core.orders import Orders
from cipher_operator.core.ownership import Claim, standing_comment

UNLIMITED = -1
OWN = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.LIMIT_EXCEEDED,
        Reason.SERVER_NOT_AVAILABLE,
        Reason.DATABASE_MISSING,
        Reason.DATABASE_LOST,
        Reason.TARGET_CHANGED,
        Reason.SCHEMA_CONFLICT,
        Reason.DELETION_BLOCKED,
        Reason.BUILDING_INDEX,
        Reason.LOCK_TIMEOUT,
    }
)
"""Reasons whose messages are about the storage itself wherever they arise."""
OF_THE_LOGIN = frozenset(
    {
        Reason.AUTHENTICATION_FAILED,
        Reason.ACCESS_DENIED,
        Reason.BLOCKED_ADDRESS,
        Reason.CONNECTION_REFUSED,
        Reason.CONNECT_TIMEOUT,
        Reason.DISCONNECTED,
        Reason.DNS_FAILURE,
        Reason.NOT_POSTGRES,
        Reason.READ_ONLY_SERVER,
        Reason.SECRET_KEY_MISSING,
        Reason.SECRET_NOT_FOUND,
        Reason.TLS_HOSTNAME_MISMATCH,
        Reason.TLS_NOT_SUPPORTED,
        Reason.TLS_REQUIRED,
        Reason.TLS_UNTRUSTED,
        Reason.TOO_MANY_CONNECTIONS,
    }
)
"""Reasons that, at the stage AccessGranted, only the storage's own login and its password have: in its test, at the
pods' door too."""
_DERIVED = re.compile(rf"_[0-9a-f]{{{names.DIGEST_LENGTH}}}\Z")


def unavailable(server: str) -> Failure:
    """Return what is said of a CipherServer that does not exist and of one that a namespace may not use: the same."""
    return Failure(
        Reason.SERVER_NOT_AVAILABLE,
        f"CipherServer '{server}' (`spec.connection.serverRef.name`) is not available to this namespace: there is none "
        "of that name, or its `allowedNamespaces` leaves this namespace out. Correct the name, or ask whoever runs it; "
        "this storage goes on at once",
        stage=ConditionType.CONNECTED,
    )


def unusable(server: str) -> Failure:
    """Return what is said to tenants of a CipherServer whose own spec cannot be worked with."""
    return Failure(
        Reason.SERVER_NOT_AVAILABLE,
        f"CipherServer '{server}' cannot be used as it is: its own status says why, to whoever runs it",
        stage=ConditionType.CONNECTED,
    )


def settle(resource: Resource, spec: Spec, server: str, offered: ServerSpec, others: int) -> Spec:
    """Return the storage's spec with what the CipherServer gives it: connection, names and defaults, within its limits.

    `others` is how many older storages of the namespace use this server. What stood before a limit came goes on (see
    `Tenant.beyond`). Raises Failure, stage Connected: LimitExceeded for a storage that has not been ready yet, and
    InvalidSpec for what a tenant may never ask.
    """
    if spec.user.mode is UserMode.SHARED:
        raise _invalid("`spec.user.mode: Shared` would publish the administrator's own login; use Dedicated")
    # Where it lives already, whatever the template says by now.
    lives = resource.status.get("database")
    name = spec.database.name or (str(lives) if lives else None)
    beyond = tuple(_beyond(resource, spec, name, offered, others))
    if beyond and not lives and not resource.deleting:
        raise exceeded(beyond[0])
    limits, policy = offered.limits, spec.deletion_policy
    settled = replace(
        spec,
        connection=replace(offered.connection, server=server),
        database=replace(spec.database, name=name or _database(resource, offered)),
        user=_user(spec.user, offered),
        app=_app(spec.app, offered),
        extensions=tuple(name for name in spec.extensions if name in limits.extensions),
        interval=spec.interval if spec.interval is not None else offered.defaults.interval,
        deletion_policy=policy if policy in limits.deletion_policies else DeletionPolicy.RETAIN,
        tenant=Tenant(server, beyond, limits.existing_databases, offered.max_connections),
    )
    if not limits.adoption:
        settled = replace(settled, adoption_policy=AdoptionPolicy.NEVER, adopt_from=None)
    elif not _adopts_at_home(resource, spec):
        settled = replace(settled, adopt_from=None)
    if not resource.deleting:
        _check_ca_path(settled)
    return settled


def exceeded(what: str) -> Failure:
    """Return the failure of a storage that asks for more than its CipherServer allows."""
    return Failure(
        Reason.LIMIT_EXCEEDED,
        f"{what}. Change it, or ask whoever runs the CipherServer",
        stage=ConditionType.CONNECTED,
    )


def refuse_beyond(desired: Desired, orders: Orders, observed: Observed) -> None:
    """Raise LimitExceeded where a tenant is beyond the limits and did not stand there before they came, as the server
    itself tells. Before anything else is said, or looked into: whether a database exists is others' business."""
    tenant = desired.tenant
    if tenant is not None and tenant.beyond and not _stood(desired, orders, standing_comment(desired, observed)):
        raise exceeded(tenant.beyond[0])


def refuse_foreign_database(desired: Desired, orders: Orders, observed: Observed, claim: Claim) -> None:
    """Raise LimitExceeded where a tenant would begin to use a database of others that the limits close."""
    tenant, database = desired.tenant, observed.database
    if tenant is None:
        return
    stood = _stood(desired, orders, claim.standing)
    made = orders.database_made or claim.created(DATABASE)
    if database is not None and not (made or stood or tenant.foreign_database):
        raise exceeded(
            f"database '{desired.database}' exists and was not created by this storage: `limits.existingDatabases` of "
            "the CipherServer does not allow to use it"
        )


def _stood(desired: Desired, orders: Orders, standing: str | None) -> bool:
    """Return whether a storage was ready in this database, with its own marker for it: the status alone proves nothing,
    it came from another server perhaps."""
    marker = parse_marker(standing)
    ours = marker is not None and marker.identity.same_storage(desired.identity)
    return orders.established and ours and marker is not None and marker.place.database == desired.database


def discreet(failure: Failure, server: str) -> Failure:
    """Return a failure as a tenant may read it: what is about the way in, or about others' objects, is for whoever runs
    the CipherServer, and stands in its status and the operator's log."""
    tested = failure.stage is ConditionType.ACCESS_GRANTED and failure.reason in OF_THE_LOGIN
    if failure.reason in OWN or tested or failure.stage is ConditionType.SECRET_PUBLISHED:
        return failure
    if failure.reason in {Reason.CONFLICT, Reason.ALREADY_EXISTS}:
        return failure.saying(
            "a role, database or table of the names that this storage uses is there already and is not its own; "
            "nothing was written. Create a new CipherStorage with another name"
        )
    return withheld(failure, server)


def withheld(failure: Failure, server: str) -> Failure:
    """Return a failure whose cause is for whoever runs the CipherServer."""
    return failure.saying(
        f"CipherServer '{server}' cannot be used: {failure.reason}. Whoever runs it finds the cause in its status and "
        "in the operator's log; this storage goes on by itself"
    )


def check_server(offered: ServerSpec) -> None:
    """Raise Failure InvalidSpec for what in a CipherServer's spec would make no storage work."""
    pattern = offered.limits.database_names
    try:
        if pattern is not None:
            name_matches(pattern, "a", "a")
    except PatternError as error:
        raise _invalid(f"`spec.limits.databaseNames` cannot be used: {error}") from None
    sample = _template(offered.template, "a", "a")
    if not re.fullmatch(r"[a-z0-9_]+", sample):
        raise _invalid(
            f"`spec.databaseNameTemplate` may hold `{NAMESPACE_PLACEHOLDER}`, `{NAME_PLACEHOLDER}`, lower-case "
            "letters, digits and `_`, nothing else"
        )


def _beyond(resource: Resource, spec: Spec, name: str | None, offered: ServerSpec, others: int) -> Iterator[str]:
    limits = offered.limits
    if name is not None and not _may_name(resource, name, offered):
        allowed = f"those that fit '{limits.database_names}'" if limits.database_names else "none but the derived one"
        what = f"`spec.database.name: {name}` is beyond `limits.databaseNames` of the CipherServer"
        yield f"{what}, which allows {allowed}"
    derived = names.default_user_name(resource.namespace, resource.name)
    if spec.user.name not in (None, derived):
        yield (
            f"`spec.user.name` may only be the derived name on a CipherServer, '{derived}': any other might be "
            "another's; leave the field out"
        )
    if spec.deletion_policy not in limits.deletion_policies:
        yield (
            f"`spec.deletionPolicy: {spec.deletion_policy}` is beyond `limits.deletionPolicies` of the CipherServer, "
            f"which allows {', '.join(sorted(limits.deletion_policies))}"
        )
    if (spec.adopt_from is not None or spec.adoption_policy is not AdoptionPolicy.NEVER) and not limits.adoption:
        field = "adoptFrom" if spec.adopt_from is not None else "adoptionPolicy"
        yield f"`spec.{field}` is beyond `limits.adoption` of the CipherServer, which allows none"
    elif not _adopts_at_home(resource, spec):
        yield (
            "`spec.adoptFrom.namespace` may only be the storage's own namespace on a CipherServer: what is another "
            "namespace's moves by whoever runs the server"
        )
    for extension in spec.extensions:
        if extension not in limits.extensions:
            allowed = ", ".join(sorted(limits.extensions)) or "none"
            yield f"extension '{extension}' is beyond `limits.extensions` of the CipherServer, which allows {allowed}"
    most = limits.user_connection_limit
    if most is not None and spec.user.connection_limit > most:
        yield (
            f"`spec.user.connectionLimit: {spec.user.connection_limit}` is beyond `limits.userConnectionLimit` of the "
            f"CipherServer, which allows {most}"
        )
    if limits.storages is not None and others >= limits.storages:
        yield (
            f"this namespace has {limits.storages} older CipherStorages on the CipherServer, as many as "
            "`limits.storages` allows"
        )


def _adopts_at_home(resource: Resource, spec: Spec) -> bool:
    """Return whether `adoptFrom`, where there is one, names an owner of the same namespace."""
    return spec.adopt_from is None or spec.adopt_from.namespace == resource.namespace


def _may_name(resource: Resource, name: str, offered: ServerSpec) -> bool:
    """Return whether a storage may choose this name: its own derived one, or one that fits the limit and that nobody's
    derived name can be."""
    if name == _database(resource, offered):
        return True
    pattern = offered.limits.database_names
    if pattern is None or _DERIVED.search(name):
        return False
    try:
        return name_matches(pattern, resource.namespace, name)
    except PatternError:
        return False


def _database(resource: Resource, offered: ServerSpec) -> str:
    readable = _template(offered.template, resource.namespace, resource.name)
    name = names.derived_name(readable, resource.namespace, resource.name, names.MAX_NAME)
    if is_reserved_database(name):
        raise _invalid(f"the CipherServer's `databaseNameTemplate` yields '{name}', which the server keeps for itself")
    return name


def _template(template: str, namespace: str, name: str) -> str:
    return template.replace(NAMESPACE_PLACEHOLDER, namespace).replace(NAME_PLACEHOLDER, name)


def _user(user: User, offered: ServerSpec) -> User:
    """Return the user with the connection limit that holds: a lower one is the tenant's business, a higher one not."""
    most = offered.limits.user_connection_limit
    limit = user.connection_limit
    if limit == UNLIMITED and offered.defaults.connection_limit is not None:
        limit = offered.defaults.connection_limit
    if most is not None and (limit == UNLIMITED or limit > most):
        limit = most
    return replace(user, connection_limit=limit)


def _app(app: App, offered: ServerSpec) -> App:
    given = offered.defaults
    return replace(
        app,
        host=app.host or given.host,
        port=app.port or given.port,
        ssl_mode=app.ssl_mode or given.ssl_mode,
        ca_path=app.ca_path or given.ca_path,
        max_connections=app.max_connections or given.max_connections,
        verify=app.verify or given.verify,
    )


def _check_ca_path(spec: Spec) -> None:
    """Raise Failure InvalidSpec where pods verify with a CA and nothing says where they mount it: node-pg throws."""
    mode = spec.app.ssl_mode or spec.connection.ssl_mode
    if mode in VERIFYING and spec.connection.ca is not None and not spec.app.ca_path:
        raise _invalid(
            "`spec.app.caPath` must be set: pods verify the server with the CA of the CipherServer, which stands in "
            "the app Secret under `certificates`; name the path at which they mount it"
        )


def _invalid(message: str) -> Failure:
    return Failure(Reason.INVALID_SPEC, message, stage=ConditionType.CONNECTED)
