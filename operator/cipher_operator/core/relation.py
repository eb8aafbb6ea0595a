"""A relation that has the name of one of Cipher's tables, and what others have put on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cipher_operator.core.marker import Marker, parse_marker


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """An index as it is."""

    columns: tuple[str | None, ...]
    """None for an expression."""
    valid: bool
    plain: bool
    """A btree without predicate or expression, and not unique."""
    unique: bool = False
    primary: bool = False
    partial: bool = False
    constraint: str | None = None
    """The constraint that it belongs to."""
    nulls_alike: bool = False
    """NULLS NOT DISTINCT: unique also where a column is NULL."""
    building: bool = False
    """A session of this admin's role builds it."""


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """A column as it is; `filled` by a default, an identity or a generation rule."""

    type: str
    not_null: bool
    filled: bool
    computed: str = ""
    """'generated', 'virtual' (generated, and not stored) or 'identity' where PostgreSQL refuses a value for it."""
    deterministic: bool = True
    """Its collation holds different texts for different."""
    plain_storage: bool = False
    """Text of more than a page does not fit."""


@dataclass(frozen=True, slots=True)
class Others:
    """What Cipher does not make: names of things on its table. Only those in force."""

    constraints: tuple[tuple[str, str], ...] = ()
    """(name, 'c' CHECK, 'f' foreign key or 'x' EXCLUDE)."""
    simple_keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Foreign keys with MATCH SIMPLE, which ask for nothing where one of their columns is NULL, each with these."""
    references: tuple[tuple[str, str], ...] = ()
    """(foreign key, the table that has it) of what refers to this table."""
    triggers: tuple[str, ...] = ()
    rules: tuple[tuple[str, str], ...] = ()
    """(name, '2' on UPDATE, '3' on INSERT or '4' on DELETE)."""
    policies: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    publications: tuple[tuple[str, bool], ...] = ()
    """(name, whether it publishes UPDATE or DELETE), for the table, its schema or all tables."""
    subscriptions: tuple[tuple[str, bool], ...] = ()
    """(name, whether the rows that were there before are copied) of what writes the rows of another server here."""
    stamps: str = ""
    """Another where something of the table, or what it uses, was written anew under the same name."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation that has the name of one of Cipher's tables."""

    kind: str
    owner: str
    owner_comment: str | None
    owner_usage: bool
    owner_admin: bool
    owner_grants: bool
    """The session may make itself a member of its owner, as for a role of ours."""
    owner_superuser: bool
    owner_has_all: bool
    """Its owner has every privilege on it: even those can be taken away."""
    comment: str | None
    pages: int
    columns: Mapping[str, ColumnFacts]
    primary_key: tuple[str, ...]
    indexes: Mapping[str, IndexFacts]
    foreign_grantees: tuple[str, ...]
    unlogged: bool = False
    unlogged_parts: tuple[str, ...] = ()
    """Partitions, of partitions too, that a crash empties."""
    plain_in_parts: tuple[str, ...] = ()
    """Columns for which a partition has no room for more than a page."""
    gap: bool = False
    """Partitioned so that a key may find no partition."""
    collations: tuple[str, ...] = ()
    """Of its columns: those whose version on the server is not the one that indexes were made with."""
    partition: bool = False
    """Part of somebody's partitioned table."""
    row_security: bool = False
    """Forced on the role that Cipher acts as."""
    key_deferrable: bool = False
    replica_identity: str = "d"
    """As pg_class.relreplident; behind it the index that is named for it."""
    identified: bool = True
    """Rows can be told apart by whoever replicates them: with a publication, a condition of UPDATE and DELETE."""
    others: Others = Others()

    @property
    def owner_marker(self) -> Marker | None:
        """Return the marker in the comment of the role that owns it."""
        return parse_marker(self.owner_comment)

    @property
    def marker(self) -> Marker | None:
        """Return the marker in its own comment, which says whose it is in Shared mode alone."""
        return parse_marker(self.comment)


def relation_from(raw: Mapping[str, Any]) -> Relation:
    """Return what the catalog query says of one relation. KeyError or TypeError mean a bug in the query."""
    return Relation(
        kind=raw["kind"],
        owner=raw["owner"],
        owner_comment=raw["owner_comment"],
        owner_usage=raw["owner_usage"],
        owner_admin=raw["owner_admin"],
        owner_grants=raw["owner_grants"],
        owner_superuser=raw["owner_rolsuper"],
        owner_has_all=raw["owner_has_all"],
        comment=raw["comment"],
        pages=raw["pages"],
        columns={name: ColumnFacts(*facts) for name, facts in raw["columns"].items()},
        primary_key=tuple(raw["pk"]),
        indexes={name: _index(facts) for name, facts in raw["indexes"].items()},
        foreign_grantees=tuple(raw["grantees"]),
        unlogged=raw["unlogged"],
        unlogged_parts=tuple(raw["unlogged_parts"]),
        plain_in_parts=tuple(raw["plain_in_parts"]),
        gap=raw["gap"],
        collations=tuple(raw["collations"]),
        partition=raw["partition"],
        row_security=raw["row_security"],
        key_deferrable=raw["key_deferrable"],
        replica_identity=raw["replica_identity"],
        identified=raw["identified"],
        others=Others(
            constraints=_pairs(raw["constraints"]),
            simple_keys={name: tuple(columns) for name, columns in raw["simple_keys"].items()},
            references=_pairs(raw["references"]),
            triggers=tuple(raw["triggers"]),
            rules=_pairs(raw["rules"]),
            policies=tuple(raw["policies"]),
            children=tuple(raw["children"]),
            publications=tuple((name, bool(changes)) for name, changes in raw["publications"]),
            subscriptions=tuple((name, bool(whole)) for name, whole in raw["subscriptions"]),
            stamps=f"{raw['written']} {raw['written_publications'] or '-'}",
        ),
    )


def _index(raw: Mapping[str, Any]) -> IndexFacts:
    return IndexFacts(
        columns=tuple(raw["columns"]),
        valid=raw["valid"],
        building=raw["building"],
        plain=raw["plain"],
        unique=raw["unique"],
        primary=raw["primary"],
        partial=raw["partial"],
        nulls_alike=raw["nulls_alike"],
        constraint=raw["constraint"],
    )


def _pairs(raw: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((first, second) for first, second in raw)
