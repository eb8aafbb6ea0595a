"""Who can do what a message asks for: with a connection Secret of his own whoever reads it is the administrator of the
server, with a CipherServer he asks whoever runs that. The one place that words it for both."""

from cipher_operator.api.spec import Tenant


def run(tenant: Tenant | None, sql: str) -> str:
    """Return what has SQL run that takes an administrator."""
    return f"run: {sql}" if tenant is None else f"ask {whoever_runs(tenant)} to run: {sql}"


def point_elsewhere(tenant: Tenant | None) -> str:
    """Return what has the operator go to the right server."""
    if tenant is None:
        return "point the connection Secret at the right server"
    return f"have {whoever_runs(tenant)} point it at the right server"


def adopting(tenant: Tenant | None) -> str:
    """Return the field that takes over what nobody owns, with the limit that must allow it."""
    field = "`spec.adoptionPolicy: IfUnowned`"
    if tenant is None or tenant.adoption:
        return field
    return f"{field}, which `limits.adoption` of CipherServer '{tenant.server}' must allow first"


def clear_of(*, shared: bool, field: str) -> str:
    """Return the field with which a new CipherStorage keeps clear of what stands there. In mode Shared the schema is
    `public` and the login the administrator's: that leaves another database."""
    return "`spec.database.name`" if shared else field


def whoever_runs(tenant: Tenant) -> str:
    """Return who the administrator is."""
    return f"whoever runs CipherServer '{tenant.server}'"
