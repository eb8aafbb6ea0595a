"""What the login of a CipherServer may not do, with the SQL that gives it leave."""

from collections.abc import Iterator

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.server import ServerSpec
from cipher_operator.core.plan.privileges import elsewhere, lacking
from cipher_operator.core.sql.composing import quoted
from cipher_operator.postgres.rights import Rights


def lacks(rights: Rights, spec: ServerSpec) -> Iterator[str]:
    """Yield what the login lacks for some storages, and what keeps them waiting. Raises Failure for what all need."""
    admin = rights.admin
    if rights.read_only:
        raise Failure(
            Reason.READ_ONLY_SERVER,
            "the server is read-only (a standby, or default_transaction_read_only is on); name the writer",
            stage=ConditionType.CONNECTED,
        )
    if not (admin.superuser or admin.createrole):
        raise lacking(
            f"role '{admin.name}' may not create roles{elsewhere('CREATEROLE', admin.createrole_through)}",
            f"ALTER ROLE {quoted(admin.name)} CREATEROLE (as a superuser)",
        )
    if not (admin.superuser or admin.createdb):
        what = f"role '{admin.name}' may not create databases{elsewhere('CREATEDB', admin.createdb_through)}"
        remedy = f"ALTER ROLE {quoted(admin.name)} CREATEDB (as a superuser)"
        if not spec.limits.existing_databases:
            raise lacking(what, remedy)
        yield f"{what}, so storages need a database that exists; run: {remedy}"
    if spec.max_connections == 1 and spec.allowed.several:
        yield (
            "`spec.maxConnections: 1` leaves nothing to keep free: what one namespace's tables hold up for a minute, "
            "all others wait for; give 2 or more"
        )
