"""Decides the names a storage works under, and refuses those that changed behind it."""

from collections.abc import Mapping
from typing import Any

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import default_user_name
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import Resource, Spec, UserMode
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.connection.supabase import role_of


def database_name(spec: Spec, admin: AdminConnection, status: Mapping[str, Any]) -> str:
    """Return the database: the spec's, else the connection's.

    Raises Failure InvalidSpec where neither names one, TargetChanged where it is not the one that was ready: it is
    immutable in the spec, and a Secret that names another must not move a storage silently to an empty database.
    """
    name = spec.database.name or admin.database
    before = status.get("database")
    if spec.tenant is not None and name and before and before != name:
        # He can change no connection; the name is his own or derived from one template for all.
        raise Failure(
            Reason.TARGET_CHANGED,
            f"`spec.database.name` is now '{name}', but this storage lives in '{before}'; nothing was written. Set it "
            "back, or create a new CipherStorage for the other database",
            stage=ConditionType.DATABASE_READY,
        )
    if name is None and not before:
        raise Failure(
            Reason.INVALID_SPEC,
            "no database is named: add it to the connection (in the Secret, or `spec.connection.database` beside "
            "`spec.connection.host`), or delete this CipherStorage and "
            "create it with `spec.database.name`",
            stage=ConditionType.DATABASE_READY,
        )
    if name is None or (before and before != name):
        named = "no database" if name is None else f"database '{name}'"
        raise Failure(
            Reason.TARGET_CHANGED,
            f"the connection now names {named}, but this storage lives in '{before}'; nothing was written. Set the "
            "Secret back, or `spec.connection.database`, or create a new CipherStorage for the other database",
            stage=ConditionType.DATABASE_READY,
        )
    return name


def user_name(resource: Resource, spec: Spec, admin: AdminConnection) -> str:
    """Return the role name behind the published login: in Shared mode the admin's own."""
    if spec.user.mode is UserMode.SHARED:
        return role_of(admin.host, admin.user)
    return spec.user.name or default_user_name(resource.namespace, resource.name)
