"""What is wrong with a table that has the name of one of Cipher's: what refuses it, what is mended, what is told."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cipher_operator.core.desired import Desired
from cipher_operator.core.observed import Observed
from cipher_operator.core.relation import IndexFacts, Relation
from cipher_operator.core.schema import INDEX_NAMES, TABLES, UPSERTED, Column, Table
from cipher_operator.core.sql import steps
from cipher_operator.core.sql.composing import quoted
from cipher_operator.core.sql.step import Change, Step

LARGE_PAGES = 10_000
"""Pages (8 KiB each) from which nothing reads or writes a whole table while Cipher waits."""
SHOWN = 3
_WHOLE = frozenset({Change.SET_NOT_NULL, Change.SET_LOGGED})
"""Changes that go through the whole table."""
_ON_UPDATE_OR_INSERT = frozenset({"2", "3"})


def flaws(schema: str, table: Table, relation: Relation) -> list[str]:
    """Return what keeps Cipher from writing to or reading a table, each with its remedy. Types, the columns of the
    key and missing columns are `plan_relations`' own."""
    return [
        *_flawed_columns(schema, table, relation),
        *_flawed_key(schema, table, relation),
        *_refusing(schema, table, relation),
        *_flawed_rows(schema, table, relation),
    ]


@dataclass(frozen=True, slots=True)
class Mend:
    """A step that may fail for what is in its table, or for who holds it, without harm to any other; of the whole
    table, or a column."""

    step: Step
    table: str
    column: str | None


def mends(desired: Desired, observed: Observed) -> tuple[Mend, ...]:
    """Return what brings tables back to what Cipher makes, where that is quick: columns that lost NOT NULL, DEFAULT or
    room for long text, UNLOGGED tables, and a replica identity without which a publication stops UPDATE and DELETE."""
    return tuple(
        Mend(steps.mend_table(desired.schema, table.name, column, change, desired.owner), table.name, column)
        for table, relation in tables_there(observed)
        for column, change in _lost(table, relation)
        if not (change in _WHOLE and _large(relation))
    )


def told(desired: Desired, observed: Observed) -> Iterator[str]:
    """Yield what lets Cipher work and may end that, and what is too slow to mend beside it."""
    for table, relation in tables_there(observed):
        where, others = f"table '{table.name}'", relation.others
        if _large(relation):
            yield from _too_large(desired.schema, table, relation)
        if relation.kind == "p":
            yield from _partial_indexes(desired.schema, table, relation)
        for part in relation.unlogged_parts[:SHOWN]:
            yield f"partition '{part}' of {where} is UNLOGGED, so a crash empties it: run ALTER TABLE … SET LOGGED"
        for collation in relation.collations[:SHOWN]:
            yield (
                f"collation '{collation}' of {where} has another version than its indexes were made with, so they may "
                f"miss rows; run: REINDEX TABLE {_name(desired.schema, table.name)}; ALTER COLLATION … REFRESH VERSION"
            )
        if relation.row_security and others.policies:
            yield f"row security is forced on {where}: Cipher has what {_named('policy', others.policies)} lets through"
        checks = [name for name, kind in others.constraints if kind != "f"]
        if checks:
            yield f"{where} has {_named('CHECK or EXCLUDE constraint', checks)}: Cipher loses the rows that it refuses"
        if partial := [name for name, index in _judged(relation) if index.unique and index.partial]:
            yield f"{where} has {_named('unique index', partial)}: Cipher loses the rows that it refuses"
        if others.triggers:
            yield f"{where} has {_named('trigger', others.triggers)}, which may refuse or change what Cipher writes"
        if others.rules:
            yield f"{where} has {_named('rule', [name for name, _ in others.rules])}, which changes what Cipher does"
        for name, referring in others.references[:SHOWN]:
            yield f"foreign key '{name}' of table '{referring}' keeps Cipher from deleting what it refers to in {where}"
        if others.children:
            yield f"{where} is inherited by {_list(others.children)}: Cipher reads those rows as its own"
    yield from _subscribed(observed)


def _subscribed(observed: Observed) -> Iterator[str]:
    """Yield what still brings the rows of another server here: a move that was not ended."""
    found: dict[str, list[bool]] = {}
    for _, relation in tables_there(observed):
        for name, whole in relation.others.subscriptions:
            found.setdefault(name, []).append(whole)
    for name, wholes in list(found.items())[:SHOWN]:
        end = f"run: DROP SUBSCRIPTION {quoted(name)} (in this database)"
        if all(wholes):
            yield (
                f"subscription '{name}' writes to Cipher's tables too, and a row that Cipher wrote may stop it: once "
                f"it has brought all that was written to the former server, {end}"
            )
        else:
            yield (
                f"subscription '{name}' has not copied all rows yet: stop Cipher's pods until pg_subscription_rel says "
                f"'r' for each table, then {end}"
            )


def _partial_indexes(schema: str, table: Table, relation: Relation) -> Iterator[str]:
    """Yield Cipher's indexes that some partitions lack. Made with ON ONLY, they are valid once each has its own."""
    for index in INDEX_NAMES:
        if (facts := relation.indexes.get(index)) is not None and not facts.valid:
            yield (
                f"index '{index}' of table '{table.name}' is not on all of its partitions; run: DROP INDEX "
                f"{_name(schema, index)}, and the operator makes it on all, while nobody writes to them"
            )


def tables_there(observed: Observed) -> Iterator[tuple[Table, Relation]]:
    """Yield Cipher's tables that are there, in Cipher's order."""
    relations = observed.local.relations if observed.local is not None else {}
    for table in TABLES:
        if (relation := relations.get(table.name)) is not None:
            yield table, relation


def _flawed_columns(schema: str, table: Table, relation: Relation) -> Iterator[str]:
    name = _name(schema, table.name)
    for column in table.columns:
        facts = relation.columns.get(column.name)
        if facts is None:
            continue
        if facts.computed:
            yield (
                f"column '{column.name}' is GENERATED ALWAYS, so it takes no value: "
                f"ALTER TABLE {name} {_taking_values(column, facts.computed)}"
            )
        if not facts.deterministic and column.name in table.primary_key:
            yield (
                f"column '{column.name}' has a nondeterministic collation, so different keys are one and LIKE fails: "
                f'ALTER TABLE {name} ALTER COLUMN {quoted(column.name)} TYPE {column.type} COLLATE "C"'
            )


def _taking_values(column: Column, computed: str) -> str:
    name = quoted(column.name)
    if computed == "virtual":
        # It holds nothing that could be lost.
        return f"DROP COLUMN {name}, ADD COLUMN {name} {column.type}"
    return f"ALTER COLUMN {name} {'DROP IDENTITY' if computed == 'identity' else 'DROP EXPRESSION'}"


def _flawed_key(schema: str, table: Table, relation: Relation) -> Iterator[str]:
    name = _name(schema, table.name)
    for index, facts in _judged(relation):
        if facts.primary and not facts.valid and relation.kind == "p":
            yield (
                "its primary key is not on all of its partitions: give each of them one, and run for each ALTER INDEX "
                f"{_name(schema, index)} ATTACH PARTITION …"
            )
        elif facts.primary and not facts.valid:
            yield f"the index of its primary key is invalid: REINDEX INDEX {_name(schema, index)}"
        elif facts.primary and relation.key_deferrable and table.name in UPSERTED:
            yield (
                "its primary key is DEFERRABLE, which ON CONFLICT does not take: "
                f"{_anew(table, name, facts.constraint or index)}"
            )
        elif facts.primary and _unidentified(relation) and relation.key_deferrable:
            yield (
                f"its primary key is DEFERRABLE and so no replica identity, which {_published(relation)} asks for: "
                f"{_anew(table, name, facts.constraint or index)}"
            )
        elif _refuses(table, relation, facts) and not facts.partial:
            drop = f"DROP INDEX {_name(schema, index)}"
            if facts.constraint is not None:
                drop = f"ALTER TABLE {name} DROP CONSTRAINT {quoted(facts.constraint)}"
            yield f"unique index '{index}' refuses rows that Cipher writes: {drop}"


def _anew(table: Table, name: str, constraint: str) -> str:
    key = ", ".join(map(quoted, table.primary_key))
    return f"ALTER TABLE {name} DROP CONSTRAINT {quoted(constraint)}, ADD PRIMARY KEY ({key})"


def _unidentified(relation: Relation) -> bool:
    """Return whether PostgreSQL refuses UPDATE or DELETE because a publication has the table and it no identity."""
    return not relation.identified and any(changes for _, changes in relation.others.publications)


def _published(relation: Relation) -> str:
    return _named("publication", [name for name, changes in relation.others.publications if changes])


def _judged(relation: Relation) -> list[tuple[str, IndexFacts]]:
    """Return the indexes by name, without those that stand for one of Cipher's: `plan_relations` judges these."""
    return [
        (name, facts) for name, facts in sorted(relation.indexes.items()) if facts.primary or name not in INDEX_NAMES
    ]


def _refuses(table: Table, relation: Relation, index: IndexFacts) -> bool:
    """Return whether a unique index asks for more of Cipher's rows than the primary key does."""
    if not index.unique or index.primary or set(relation.primary_key) <= set(index.columns):
        return False
    return index.nulls_alike or not _left_null(table, relation, index.columns)


def _left_null(table: Table, relation: Relation, columns: Iterable[str | None]) -> bool:
    """Return whether one of these columns is another's that Cipher's rows leave NULL; a trigger aside, which the
    proof finds."""
    own = {column.name for column in table.columns}
    others = (facts for name, facts in relation.columns.items() if name in set(columns) - own)
    return any(not (facts.not_null or facts.filled) for facts in others)


def _refusing(schema: str, table: Table, relation: Relation) -> Iterator[str]:
    name = _name(schema, table.name)
    for constraint, kind in relation.others.constraints:
        if kind == "f" and not _left_null(table, relation, relation.others.simple_keys.get(constraint, ())):
            yield (
                f"foreign key '{constraint}' asks for rows that Cipher does not write: "
                f"ALTER TABLE {name} DROP CONSTRAINT {quoted(constraint)}"
            )
    for rule, event in relation.others.rules:
        if event in _ON_UPDATE_OR_INSERT and table.name in UPSERTED:
            yield f"rule '{rule}' keeps ON CONFLICT from working: DROP RULE {quoted(rule)} ON {name}"


def _flawed_rows(schema: str, table: Table, relation: Relation) -> Iterator[str]:
    if relation.gap:
        yield (
            "it is partitioned, and some keys have no partition: add a DEFAULT partition (by hash: one for each "
            "remainder)"
        )
    if relation.partition:
        yield "it is a partition of another table: ALTER TABLE … DETACH PARTITION"
    if relation.row_security and not relation.others.policies:
        yield (
            "row security is forced on its owner, and no policy lets a row through: "
            f"ALTER TABLE {_name(schema, table.name)} NO FORCE ROW LEVEL SECURITY"
        )


def _lost(table: Table, relation: Relation) -> Iterator[tuple[str | None, Change]]:
    """Yield (column, change) for what a table has lost."""
    for column in table.columns:
        facts = relation.columns.get(column.name)
        if facts is None:
            continue
        if column.default is not None and not facts.filled:
            yield column.name, Change.SET_DEFAULT
        if facts.plain_storage or column.name in relation.plain_in_parts:
            yield column.name, Change.SET_STORAGE
        if column.not_null and not facts.not_null:
            yield column.name, Change.SET_NOT_NULL
    if relation.unlogged:
        yield None, Change.SET_LOGGED
    if _unidentified(relation) and relation.kind == "r" and not relation.key_deferrable:
        yield None, Change.SET_IDENTITY


def _too_large(schema: str, table: Table, relation: Relation) -> Iterator[str]:
    name, where = _name(schema, table.name), f"table '{table.name}'"
    for column, change in _lost(table, relation):
        if change not in _WHOLE:
            continue
        if column is None:
            yield (
                f"{where} is UNLOGGED: a crash of the server empties it. It is large, and nobody can use it "
                f"meanwhile; at a quiet hour run: ALTER TABLE {name} SET LOGGED"
            )
            continue
        check, quoted_column = quoted(f"{column}_not_null"), quoted(column)
        yield (
            f"column '{column}' of {where} has lost NOT NULL. It is large; run: ALTER TABLE {name} ADD CONSTRAINT "
            f"{check} CHECK ({quoted_column} IS NOT NULL) NOT VALID; ALTER TABLE {name} VALIDATE CONSTRAINT {check}; "
            f"ALTER TABLE {name} ALTER COLUMN {quoted_column} {change}, DROP CONSTRAINT {check}"
        )


def _large(relation: Relation) -> bool:
    # A partitioned table has no pages of its own.
    return relation.pages > LARGE_PAGES or relation.kind != "r"


def _name(schema: str, relation: str) -> str:
    return f"{quoted(schema)}.{quoted(relation)}"


def _named(kind: str, names: tuple[str, ...] | list[str]) -> str:
    return f"{kind} {_list(names)}"


def _list(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + more
