"""Planning of extensions: existing ones are used where they are, missing ones made where no tenant can write."""

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.desired import Desired
from cipher_operator.core.observed import Local, Observed
from cipher_operator.core.ownership import Part
from cipher_operator.core.schema import EXTENSION_SCHEMA
from cipher_operator.core.sql import steps
from cipher_operator.core.sql.composing import quoted
from cipher_operator.core.sql.step import Step

TOKEN = "extension:"
SCHEMA_TOKEN = "extension_schema"
ALWAYS_SEARCHED = "pg_catalog"


def search_path(desired: Desired, local: Local | None) -> tuple[str, ...]:
    """Return the schemas that an app login searches: Cipher's first, then those of its extensions."""
    places = (_place(local, extension) for extension in desired.extensions)
    return tuple(dict.fromkeys((desired.schema, *(place for place in places if place != ALWAYS_SEARCHED))))


def _place(local: Local | None, extension: str) -> str:
    standing = local.extensions.get(extension) if local is not None else None
    return standing[0] if standing is not None else EXTENSION_SCHEMA


def plan_extensions(desired: Desired, observed: Observed) -> Part:
    """Return the steps for extensions. Raises Failure InsufficientPrivilege or Conflict."""
    local = observed.local
    assert local is not None  # the caller planned inside the database
    missing = [extension for extension in desired.extensions if extension not in local.extensions]
    planned: list[Step] = []
    created: list[str] = []
    if missing and desired.shared:
        raise unavailable(desired, missing)
    if missing:
        _refuse_foreign_schema(desired, local)
        if local.extension_schema is None:
            planned.append(steps.create_extension_schema(EXTENSION_SCHEMA))
            created.append(SCHEMA_TOKEN)
        planned.extend(steps.create_extension(extension, EXTENSION_SCHEMA) for extension in missing)
        created.extend(TOKEN + extension for extension in missing)
    unusable = {place for place, usage in local.extensions.values() if not usage}
    grants = unusable | ({EXTENSION_SCHEMA} if missing else set())
    planned.extend(steps.grant_usage(place, desired.owner) for place in sorted(grants))
    return Part(tuple(planned), tuple(created))


def _refuse_foreign_schema(desired: Desired, local: Local) -> None:
    place = local.extension_schema
    if place is None or (place.trusted and not place.open):
        return
    raise Failure(
        Reason.CONFLICT,
        f"schema '{EXTENSION_SCHEMA}' of database '{desired.database}' belongs to role '{place.owner}' or is open to "
        "others, and an extension there could be abused; drop or rename it",
        stage=ConditionType.SCHEMA_APPLIED,
    )


def unavailable(desired: Desired, missing: list[str], sqlstate: str | None = None) -> Failure:
    """Return why extensions cannot be created, with the SQL and the places where providers let people do it."""
    sql = " ".join(
        f"CREATE EXTENSION {quoted(extension)} SCHEMA {quoted(desired.schema if desired.shared else EXTENSION_SCHEMA)};"
        for extension in missing
    )
    place = quoted(EXTENSION_SCHEMA)
    schema = "" if desired.shared else f"CREATE SCHEMA IF NOT EXISTS {place}; GRANT USAGE ON SCHEMA {place} TO PUBLIC; "
    return Failure(
        Reason.INSUFFICIENT_PRIVILEGE,
        f"extension {', '.join(repr(extension) for extension in missing)} is not installed on the server, or this "
        f"administrator may not create it; enable it as your provider says, then run in database "
        f"'{desired.database}' as a role that may: {schema}{sql}",
        stage=ConditionType.SCHEMA_APPLIED,
        sqlstate=sqlstate,
    )
