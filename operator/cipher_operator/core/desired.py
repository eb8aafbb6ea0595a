"""What a storage shall be on the server: the spec with every name decided, and nothing of its history."""

from dataclasses import dataclass, replace

from cipher_operator.api.names import OWNER_SUFFIX, SECOND_LOGIN_SUFFIX, default_user_name
from cipher_operator.api.spec import AdoptFrom, AdoptionPolicy, Excess, Resource, Spec, Tenant, UserMode
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.marker import Identity, Place
from cipher_operator.core.naming import database_name, user_name


@dataclass(frozen=True, slots=True)
class Desired:
    """One storage. Where it is `shared`, the admin's own login is published, and its role owns Cipher's relations."""

    identity: Identity
    database: str
    create_database: bool
    schema: str
    user: str
    shared: bool
    connection_limit: int = -1
    extensions: tuple[str, ...] = ()
    adopt_unowned: bool = False
    adopt_from: AdoptFrom | None = None
    tenant: Tenant | None = None
    """Set where whoever asks for it is not the administrator."""

    @property
    def place(self) -> Place:
        """Return where Cipher's relations stand."""
        return Place(self.database, self.schema)

    @property
    def owner(self) -> str:
        """Return the role that owns Cipher's relations."""
        return self.user if self.shared else self.user + OWNER_SUFFIX

    @property
    def heir_of(self) -> str | None:
        """Return the owner role of the storage whose data a tenant's takes over with the database that it has; None
        where it takes none so. His role has the derived name, as every tenant's."""
        source = self.adopt_from
        if source is None or self.tenant is None or self.tenant.heir is None:
            return None
        return default_user_name(source.namespace, source.name) + OWNER_SUFFIX

    @property
    def logins(self) -> tuple[str, ...]:
        """Return the two login roles between which a password change alternates."""
        return () if self.shared else (self.user, self.user + SECOND_LOGIN_SUFFIX)


def desired_from(resource: Resource, spec: Spec, admin: AdminConnection, instance: str) -> Desired:
    """Return what this storage shall be: for a run, a deletion, `plan` and `check` alike.

    `instance` is the operator's instance id. Raises Failure InvalidSpec where no database is named anywhere, and
    TargetChanged where the connection Secret names another one than the storage lives in.
    """
    source, tenant = spec.adopt_from, spec.tenant
    if source is not None and tenant is not None and source.instance != instance:
        source, tenant = None, replace(tenant, beyond=(*tenant.beyond, _from_elsewhere(tenant)))
    return Desired(
        identity=Identity(instance, resource.namespace, resource.name, resource.uid),
        database=database_name(spec, admin, resource.status),
        create_database=spec.database.create,
        schema=spec.schema,
        user=user_name(resource, spec, admin),
        shared=spec.user.mode is UserMode.SHARED,
        connection_limit=spec.user.connection_limit,
        extensions=spec.extensions,
        adopt_unowned=spec.adoption_policy is AdoptionPolicy.IF_UNOWNED,
        adopt_from=source,
        tenant=tenant,
    )


def _from_elsewhere(tenant: Tenant) -> Excess:
    """Return what is refused of another operator's owner: a namespace of the same name there may be anybody's."""
    return Excess(
        "`spec.adoptFrom.instance` may only be this operator's own `--instance-id` on a CipherServer",
        f"What is another operator's is moved by whoever runs CipherServer '{tenant.server}'",
    )


def other_login(user: str, login: str) -> str:
    """Return the login that a password change goes to, given the one that is published now."""
    second = user + SECOND_LOGIN_SUFFIX
    return user if login == second else second
