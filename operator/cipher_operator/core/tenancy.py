"""What a storage may that uses a CipherServer: whoever writes its spec is not the administrator of the server.

With a connection Secret of its own a storage's author has the administrator's password anyway; here each of an existing
database, another's names, adoption, and the administrator's own login would be an escalation.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from cipher_operator.api import names
from cipher_operator.api.choices import AdoptionPolicy, DeletionPolicy, UserMode
from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.reserved import is_reserved_database
from cipher_operator.api.server import NAME_PLACEHOLDER, NAMESPACE_PLACEHOLDER, ServerSpec
from cipher_operator.api.spec import App, Excess, Resource, Rivals, Spec, Tenant, User
from cipher_operator.core.connection.parameters import VERIFYING
from cipher_operator.core.name_pattern import PatternError, name_matches
from cipher_operator.core.tenure import OR_ASK, exceeded

UNLIMITED = -1
_DERIVED = re.compile(rf"_[0-9a-f]{{{names.DIGEST_LENGTH}}}\Z")


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Storages of the same namespace that name the same CipherServer: how many are `older`, and so have a place before
    this one, and the names of those that are `younger`: they have one before it where they stand on the server. No
    status is asked for that: whoever may write one would have as many as he likes."""

    older: int = 0
    younger: tuple[str, ...] = ()


NOBODY = Neighbours()


def settle(
    resource: Resource, spec: Spec, server: str, offered: ServerSpec, neighbours: Neighbours, *, closing: bool = False
) -> Spec:
    """Return the storage's spec with what the CipherServer gives it: connection, names and defaults, within its limits.

    `closing`: the CipherServer is being deleted, and is for who stands there alone. What stood before a limit came goes
    on (see `Tenant.beyond`). Raises Failure, stage Connected: LimitExceeded for a storage that has not been ready yet,
    and InvalidSpec for what a tenant may never ask.
    """
    if spec.user.mode is UserMode.SHARED:
        raise _invalid(
            "`spec.user.mode: Shared` would publish the login of whoever runs the CipherServer; use Dedicated"
        )
    # Where it lives already, whatever the template says by now.
    lives = resource.status.get("database")
    name = spec.database.name or (str(lives) if lives else None)
    heir = _heir(resource, spec, offered)
    beyond = tuple(_beyond(resource, spec, name if heir is None else None, offered, neighbours))
    if closing:
        beyond = (_closing(server), *beyond)
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
        tenant=Tenant(
            server,
            beyond,
            limits.existing_databases,
            offered.max_connections,
            limits.adoption,
            spec.database.name is None,
            heir,
            _former(resource, spec, offered),
            _rivals(resource, server, offered, neighbours),
            offered.allowed.several,
        ),
    )
    if not limits.adoption:
        settled = replace(settled, adoption_policy=AdoptionPolicy.NEVER, adopt_from=None)
    elif not _adopts_at_home(resource, spec):
        settled = replace(settled, adopt_from=None)
    if not resource.deleting:
        _check_ca_path(settled)
    return settled


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


def _beyond(
    resource: Resource, spec: Spec, name: str | None, offered: ServerSpec, neighbours: Neighbours
) -> Iterator[Excess]:
    limits, server = offered.limits, spec.connection.server
    if (spec.adopt_from is not None or spec.adoption_policy is not AdoptionPolicy.NEVER) and not limits.adoption:
        field = "adoptFrom" if spec.adopt_from is not None else "adoptionPolicy"
        yield Excess(f"`spec.{field}` is beyond `limits.adoption` of the CipherServer, which allows none", OR_ASK)
    elif not _adopts_at_home(resource, spec):
        yield Excess(
            "`spec.adoptFrom.namespace` may only be the storage's own namespace on a CipherServer",
            f"What is another namespace's is moved by whoever runs CipherServer '{server}'",
        )
    if name is not None and (excess := _name_beyond(resource, spec, name, offered)) is not None:
        yield excess
    derived = names.default_user_name(resource.namespace, resource.name)
    if spec.user.name not in (None, derived):
        what = f"`spec.user.name` may only be the derived name on a CipherServer, '{derived}'"
        yield Excess(what, "Leave the field out: any other name might be another's")
    if spec.deletion_policy not in limits.deletion_policies:
        yield Excess(
            f"`spec.deletionPolicy: {spec.deletion_policy}` is beyond `limits.deletionPolicies` of the CipherServer, "
            f"which allows {', '.join(sorted(limits.deletion_policies))}",
            OR_ASK,
        )
    for extension in spec.extensions:
        if extension not in limits.extensions:
            allowed = ", ".join(sorted(limits.extensions)) or "none"
            what = f"extension '{extension}' is beyond `limits.extensions` of the CipherServer, which allows {allowed}"
            yield Excess(what, OR_ASK)
    most = limits.user_connection_limit
    if most is not None and spec.user.connection_limit > most:
        yield Excess(
            f"`spec.user.connectionLimit: {spec.user.connection_limit}` is beyond `limits.userConnectionLimit` of the "
            f"CipherServer, which allows {most}",
            OR_ASK,
        )
    if limits.storages is not None and neighbours.older >= limits.storages:
        yield _full(limits.storages, server)


def _full(most: int, server: str | None) -> Excess:
    return Excess(
        f"this namespace has {most} CipherStorages on the CipherServer that come first, as many as `limits.storages` "
        "allows",
        f"Delete one that is not needed, or ask whoever runs CipherServer '{server}' for more",
    )


def _closing(server: str) -> Excess:
    what = f"CipherServer '{server}' is being deleted and takes no new storage"
    return Excess(what, "Name another one", told=False)


def _rivals(resource: Resource, server: str, offered: ServerSpec, neighbours: Neighbours) -> Rivals | None:
    most = offered.limits.storages
    if most is None or not neighbours.younger or neighbours.older >= most:
        return None
    owners = (f"{names.default_user_name(resource.namespace, name)}_owner" for name in neighbours.younger)
    return Rivals(frozenset(owners), most - neighbours.older, _full(most, server))


def _name_beyond(resource: Resource, spec: Spec, name: str, offered: ServerSpec) -> Excess | None:
    """Return why a storage may not have this database's name: one of its own choice, or the one that its status has."""
    limits = offered.limits
    if _may_name(resource, name, offered):
        return None
    pattern = limits.database_names
    if spec.database.name is None and _derived_for(name, resource.namespace, resource.name):
        # By the template of then: what is derived stays.
        return None
    if spec.database.name is None:
        besides = f", nor `limits.databaseNames`, '{pattern}', allows" if pattern else ""
        return Excess(
            f"this storage lives, as its status says, in database '{name}', which `databaseNameTemplate` of the "
            f"CipherServer does not yield{besides}",
            "Name the connection of before again, or make a new CipherStorage, which gets a name of the template; or "
            "ask whoever runs the CipherServer",
            told=pattern is not None,
        )
    allowed = f"those that fit '{pattern}'" if pattern else "none but the derived one"
    what = f"`spec.database.name: {name}` is beyond `limits.databaseNames` of the CipherServer, which allows {allowed}"
    return Excess(what, OR_ASK)


def _former(resource: Resource, spec: Spec, offered: ServerSpec) -> Excess | None:
    """Return what is refused of a name that the status alone has, as a template of before may have derived it: a name
    proves no more than its last digits, and those of another's can be found."""
    name = resource.status.get("database")
    if spec.database.name is not None or not name or name == _database(resource, offered):
        return None
    return Excess(
        f"this storage lives, as its status says, in database '{name}', which `databaseNameTemplate` of the "
        f"CipherServer does not yield any more: it cannot begin again there (annotation `{names.ANNOTATION_RECREATE}`)",
        "Create a new CipherStorage, which gets a name of the template",
    )


def _heir(resource: Resource, spec: Spec, offered: ServerSpec) -> Excess | None:
    """Return what is refused of a name that was derived for somebody, unless the data of the owner whom `adoptFrom`
    names is there: it may have been inherited before, with its name. None where the name is none of that kind, or may
    be chosen anyway. The same is said of what is not there and of what is another's."""
    name, source = spec.database.name, spec.adopt_from
    if name is None or source is None or not (offered.limits.adoption and _adopts_at_home(resource, spec)):
        return None
    if _may_name(resource, name, offered) or not _DERIVED.search(name):
        return None
    return Excess(
        f"`spec.database.name: {name}` may be chosen only where it holds the data of the owner that `spec.adoptFrom` "
        f"names, CipherStorage '{source.name}' of this operator, and it does not",
        "Correct either of them, or leave both out",
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


def _derived_for(name: str, namespace: str, storage: str) -> bool:
    """Return whether a database's name was derived for this storage, by whatever template."""
    return name.endswith(names.derived_name("", namespace, storage, names.MAX_NAME))


def _database(resource: Resource, offered: ServerSpec) -> str:
    readable = _template(offered.template, resource.namespace, resource.name)
    name = names.derived_name(readable, resource.namespace, resource.name, names.MAX_NAME)
    if is_reserved_database(name):
        raise _invalid(
            f"the CipherServer's `databaseNameTemplate` yields '{name}', which the server keeps for itself: "
            "ask whoever runs it for another"
        )
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
