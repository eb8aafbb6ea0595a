"""Planning of Cipher's tables and indexes."""

from collections.abc import Mapping
from dataclasses import replace

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core import remedies
from cipher_operator.core.desired import Desired
from cipher_operator.core.observed import Local, Observed
from cipher_operator.core.orders import Orders
from cipher_operator.core.ownership import Claim, Part, judge_relation, tokens_of_roles
from cipher_operator.core.plan.flaws import LARGE_PAGES, flaws
from cipher_operator.core.plan.privileges import lacking, must_inherit
from cipher_operator.core.relation import Relation
from cipher_operator.core.schema import INDEXES, TABLES, Table
from cipher_operator.core.sql import steps
from cipher_operator.core.sql.composing import quoted
from cipher_operator.core.sql.step import Step

_KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "i": "an index",
    "I": "an index",
    "c": "a type",
}


def plan_relations(desired: Desired, orders: Orders, observed: Observed, claim: Claim) -> Part:
    """Return the steps for tables and indexes; the tokens are the tables' names.

    Raises Failure Conflict, AlreadyExists, SchemaConflict or InsufficientPrivilege.
    """
    local = observed.local
    assert local is not None  # the caller planned inside the database
    planned: list[Step] = []
    created: list[str] = []
    adopted: list[str] = []
    tokens, former = tokens_of_roles(desired), set[str]()
    for table in TABLES:
        relation = local.relations.get(table.name)
        if relation is None and table.name in local.taken_types:
            name = f"{quoted(desired.schema)}.{quoted(table.name)}"
            raise _conflict(desired, f"the name '{table.name}'", [f"a type has it: ALTER TYPE {name} RENAME TO …"])
        if relation is None:
            planned.append(steps.create_table(desired.schema, table, desired.owner))
            created.append(table.name)
            continue
        judge_relation(desired, orders, claim, table.name, relation)
        if differences := [*_differences(table, relation), *flaws(desired.schema, table, relation)]:
            raise _conflict(desired, f"table '{table.name}'", differences)
        if relation.owner != desired.owner and not _usable(desired, claim, table.name, relation):
            released = [] if relation.owner in former else _release(desired, observed, relation)
            former.add(relation.owner)
            planned.extend((*released, *_take_over(desired, observed, table.name, relation)))
        elif relation.owner == desired.owner and not relation.owner_has_all:
            own_table = (table.name,)
            planned.append(steps.grant_relations(desired.schema, "TABLE", own_table, desired.owner, desired.owner))
        if not claim.holds(table.name):
            # The app makes a missing table itself, at its start: as a role that we made, so it counts as made by us.
            # What a role that is taken over owns was there before.
            own = claim.created(tokens.get(relation.owner, ""))
            (created if own else adopted).append(table.name)
    if local.taken_names:
        name, place = next(iter(sorted(local.taken_names.items())))
        raise _conflict(desired, f"index name '{name}'", [f"it is taken on '{place}'"])
    indexes = _plan_indexes(desired, local.relations)
    if observed.server.by_set_role and not desired.shared and any(step.alone for step in indexes):
        # SET ROLE would have to come in a message of its own, and a pooler could hand it to a stranger.
        raise must_inherit(observed, "build an index of a large table while others write")
    planned.extend(step for step in indexes if not step.alone)
    return Part(tuple(planned), tuple(created), tuple(adopted), tuple(step for step in indexes if step.alone))


def _usable(desired: Desired, claim: Claim, name: str, relation: Relation) -> bool:
    """Return whether the login of Shared mode has its table through the table's owner: a tool that lets two logins take
    turns makes one a member of the other, and pods that run with either go on."""
    return desired.shared and claim.holds(name) and relation.owner_usage


def _plan_indexes(desired: Desired, relations: Mapping[str, Relation]) -> list[Step]:
    planned: list[Step] = []
    for index in INDEXES:
        relation = relations.get(index.table)
        facts = relation.indexes.get(index.name) if relation else None
        if facts is None:
            large = relation is not None and relation.pages > LARGE_PAGES
            make = steps.build_index(desired.schema, index, invalid=False)
            planned.append(make if large else steps.create_index(desired.schema, index, desired.owner))
        elif not facts.plain or facts.columns != index.columns:
            wanted = ", ".join(index.columns)
            raise _conflict(desired, f"index '{index.name}'", [f"it must be a plain btree on ({wanted})"])
        elif relation is not None and relation.kind == "r" and not (facts.valid or facts.building):
            planned.append(steps.build_index(desired.schema, index, invalid=True))
    return planned


def being_built(local: Local) -> tuple[str, ...]:
    """Return those of Cipher's indexes that a session on the server builds at this moment."""
    return tuple(
        index.name
        for index in INDEXES
        if (relation := local.relations.get(index.table))
        and (facts := relation.indexes.get(index.name))
        and facts.building
    )


def _take_over(desired: Desired, observed: Observed, name: str, relation: Relation) -> list[Step]:
    """Return what gives a table to the owner role: the session must be a member of both owners."""
    admin, modern = observed.server.admin, observed.server.modern
    give = steps.set_table_owner(desired.schema, name, desired.owner)
    if admin.superuser or relation.owner_usage:
        return [give]
    if relation.owner_superuser:
        # Whoever may act as that role may do everything: no way to ask for.
        raise lacking(
            f"role '{admin.name}' may not change the owner of table '{name}' from superuser '{relation.owner}'",
            f"ALTER TABLE {quoted(desired.schema)}.{quoted(name)} OWNER TO {quoted(desired.owner)} (as a superuser)",
        )
    if observed.server.by_set_role:
        if relation.owner not in desired.logins:
            raise must_inherit(observed, f"change the owner of table '{name}'")
        # A member of the owner role, it gives the table away itself.
        return [steps.join_role(relation.owner, admin.name, modern), replace(give, acting=relation.owner)]
    if relation.owner_grants or (admin.createrole and not modern):
        return [steps.join_role(relation.owner, admin.name, modern), give]
    raise lacking(
        f"role '{admin.name}' may not change the owner of table '{name}'",
        f"GRANT {quoted(relation.owner)} TO {quoted(admin.name)}{' WITH INHERIT TRUE, SET TRUE' if modern else ''} (as "
        "a role that may grant it), or ALTER TABLE "
        f"{quoted(desired.schema)}.{quoted(name)} OWNER TO {quoted(desired.owner)} (as a superuser)",
    )


def _release(desired: Desired, observed: Observed, relation: Relation) -> list[Step]:
    """Return what keeps another storage, whose table is taken over, from dropping it as its own.

    An admin that may not comment on that role leaves it: a deletion also looks whose a table is.
    """
    admin, marker = observed.server.admin, relation.owner_marker
    manages = admin.createrole and not relation.owner_superuser
    may = admin.superuser or (manages and (relation.owner_admin or not observed.server.modern))
    if marker is None or relation.owner in desired.logins or not may:
        return []
    return [steps.release_tables(relation.owner, relation.owner_comment or "", marker.of_roles().text())]


def _differences(table: Table, relation: Relation) -> list[str]:
    """Return what keeps a relation from being Cipher's table; [] where Cipher can use it as it is."""
    if relation.kind not in ("r", "p"):
        return [f"it is {_KINDS.get(relation.kind, 'a different kind of relation')}, must be a table"]
    found: list[str] = []
    for column in table.columns:
        facts = relation.columns.get(column.name)
        if facts is None:
            found.append(f"column '{column.name}' ({column.type}) is missing")
        elif facts.type != column.type:
            found.append(f"column '{column.name}' is {facts.type}, must be {column.type}")
    wanted = {column.name for column in table.columns}
    found.extend(
        f"extra column '{name}' is NOT NULL without a default, so Cipher could not insert"
        for name, facts in sorted(relation.columns.items())
        if name not in wanted and facts.not_null and not facts.filled
    )
    if relation.primary_key != table.primary_key:
        has = f"({', '.join(relation.primary_key)})" if relation.primary_key else "missing"
        found.append(f"primary key is {has}, must be ({', '.join(table.primary_key)})")
    return found


def _conflict(desired: Desired, what: str, differences: list[str]) -> Failure:
    return Failure(
        Reason.SCHEMA_CONFLICT,
        f"{what} in schema '{desired.schema}' of database '{desired.database}' is not Cipher's: "
        f"{'; '.join(differences)}. Change it, move it to another schema, or create a new CipherStorage with another "
        f"{remedies.clear_of(shared=desired.shared, field='`spec.schema`')}; the operator leaves it as it is",
        stage=ConditionType.SCHEMA_APPLIED,
    )
