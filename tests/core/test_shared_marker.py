"""In mode Shared the marker stands on Cipher's tables: what is ours, lost, another's or drift, by who has which."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import AdoptFrom
from cipher_operator.core.desired import Desired
from cipher_operator.core.marker import Identity, Marker, Place
from cipher_operator.core.observed import Admin, Database, Local, Observed, Schema, Server
from cipher_operator.core.orders import Orders
from cipher_operator.core.plan.plan import plan
from cipher_operator.core.plan.removal import claimed, plan_inside
from cipher_operator.core.relation import ColumnFacts, IndexFacts, Relation
from cipher_operator.core.schema import INDEXES, TABLE_NAMES, TABLES, Table
from cipher_operator.core.sql.step import Kind, Step

PLACE = Place("cipher_db", "public")
DESIRED = Desired(Identity("instance-1", "team", "chat", "uid-1"), PLACE.database, False, PLACE.schema, "heroku", True)
MADE = Marker(DESIRED.identity, PLACE, frozenset(TABLE_NAMES))
OTHER = Identity("instance-2", "others", "chat", "uid-9")

GONE = "no such table"
BARE = None
NOTE = "a person's own words"
OURS = MADE.text()
FORMER = replace(MADE, identity=replace(MADE.identity, uid="uid-0")).text()
COPIED = replace(MADE, place=Place("copied_from", "public")).text()
THEIRS = replace(MADE, identity=OTHER).text()

STORE, LISTS, METADATA = TABLE_NAMES
READY = Orders(established=True)
BEGIN_AGAIN = Orders(established=True, recreate=True)
UNOWNED = replace(DESIRED, adopt_unowned=True)
FROM_THEM = replace(DESIRED, adopt_from=AdoptFrom(OTHER.instance, OTHER.namespace, OTHER.name))

LOST, FOREIGN, EXISTS = Reason.DATABASE_LOST, Reason.CONFLICT, Reason.ALREADY_EXISTS


@dataclass(frozen=True)
class Row:
    """The comments on the three tables, and what comes of them: a reason, or the tables that get the marker."""

    comments: Sequence[str | None]
    gives: Reason | set[str]
    orders: Orders = READY
    wanted: Desired = DESIRED
    copies: bool = False
    """Nothing but copies are written: nothing waits for them."""


ROWS = {
    "all have it": Row((OURS, OURS, OURS), set()),
    "the version before marked one table": Row((OURS, BARE, BARE), {LISTS, METADATA}, copies=True),
    "a copy was lost": Row((OURS, OURS, BARE), {METADATA}, copies=True),
    "a table with a copy was dropped": Row((OURS, GONE, OURS), {LISTS}),
    "the first table was dropped": Row((GONE, OURS, OURS), {STORE}),
    "the app made the first anew": Row((BARE, OURS, OURS), {STORE}),
    "one copy alone is left": Row((BARE, BARE, OURS), {STORE, LISTS}),
    "one table alone is left, and it has a copy": Row((GONE, GONE, OURS), {STORE, LISTS}),
    "another server's tables": Row((BARE, BARE, BARE), LOST),
    "two of another server's tables": Row((GONE, BARE, BARE), LOST),
    "another server's tables, with a person's words": Row((NOTE, BARE, NOTE), LOST),
    "no table at all": Row((GONE, GONE, GONE), LOST),
    "a person wrote over the first": Row((NOTE, OURS, OURS), {STORE}),
    "a person wrote over a copy, which is left": Row((OURS, NOTE, OURS), set()),
    "another's": Row((THEIRS, THEIRS, THEIRS), FOREIGN),
    "another's, who marked one table": Row((THEIRS, BARE, BARE), FOREIGN),
    "another took over with a version that marked one table": Row((THEIRS, OURS, OURS), FOREIGN),
    "one table of another's": Row((OURS, THEIRS, OURS), FOREIGN),
    "one table of another's, and the first was dropped": Row((GONE, OURS, THEIRS), FOREIGN),
    "never ours, tables of others": Row((BARE, BARE, BARE), EXISTS, Orders()),
    "never ours, one table of others": Row((GONE, BARE, GONE), EXISTS, Orders()),
    "never ours, empty": Row((GONE, GONE, GONE), {STORE, LISTS, METADATA}, Orders()),
    "never ours, of another storage": Row((BARE, THEIRS, BARE), FOREIGN, Orders(), UNOWNED),
    "never ours, asked to take them": Row((BARE, NOTE, BARE), {STORE, METADATA}, Orders(), UNOWNED),
    "marked, and the operator ended before it was Ready": Row((OURS, OURS, OURS), set(), Orders()),
    "lost, and begun again": Row((BARE, BARE, BARE), EXISTS, BEGIN_AGAIN),
    "lost, and asked to take them": Row((BARE, BARE, BARE), LOST, READY, UNOWNED),
    "lost, begun again and asked to take them": Row((BARE, BARE, BARE), {*TABLE_NAMES}, BEGIN_AGAIN, UNOWNED),
    "lost, begun again, and another's": Row((BARE, THEIRS, BARE), FOREIGN, BEGIN_AGAIN, UNOWNED),
    "taken over from another": Row((THEIRS, THEIRS, THEIRS), {*TABLE_NAMES}, Orders(), FROM_THEM),
    "taken over from another, who marked one table": Row((THEIRS, BARE, BARE), {*TABLE_NAMES}, Orders(), FROM_THEM),
    "taken over by half": Row((OURS, THEIRS, THEIRS), {LISTS, METADATA}, Orders(), FROM_THEM),
    "taken over by the other half": Row((THEIRS, OURS, OURS), {STORE}, Orders(), FROM_THEM),
    "taken over, and taken back": Row((OURS, THEIRS, OURS), FOREIGN, Orders(established=True, adopted=True), FROM_THEM),
    "made anew under the same name": Row((FORMER, FORMER, FORMER), {*TABLE_NAMES}, Orders()),
    "made anew, with the version that marked one table": Row((OURS, FORMER, FORMER), {LISTS, METADATA}, copies=True),
    "a copy of its own database": Row((COPIED, COPIED, COPIED), {*TABLE_NAMES}, Orders()),
}


WRITTEN = {name: row for name, row in ROWS.items() if not isinstance(row.gives, Reason)}
REFUSED = {name: row for name, row in ROWS.items() if isinstance(row.gives, Reason)}


@pytest.mark.parametrize("row", REFUSED.values(), ids=REFUSED)
def test_what_is_not_ours_is_refused(row: Row) -> None:
    with pytest.raises(Failure) as refused:
        plan(row.wanted, row.orders, seen(row.comments))
    assert refused.value.reason is row.gives, refused.value.message
    # Mode Shared has neither a schema nor a user name of its choice.
    assert "`spec.schema`" not in refused.value.message and "user name" not in refused.value.message


@pytest.mark.parametrize("row", WRITTEN.values(), ids=WRITTEN)
def test_what_is_ours_gets_the_marker_where_it_is_missing(row: Row) -> None:
    made = plan(row.wanted, row.orders, seen(row.comments))
    written = marking((mend.step for mend in made.mends) if row.copies else made.steps)
    assert isinstance(row.gives, set)
    assert {step.on for step in written} == row.gives
    assert row.copies is bool(made.mends)
    assert len(made.messages()) <= 1
    assert made.marked is not None
    text = made.marked.comment
    left = [text if name in row.gives else comment for name, comment in zip(TABLE_NAMES, row.comments, strict=True)]
    again = plan(row.wanted, replace(row.orders, established=True), seen(left))
    assert (marking(again.steps), again.mends) == ([], ()), "and nothing is left to do"


@pytest.mark.parametrize("row", WRITTEN.values(), ids=WRITTEN)
def test_a_message_checks_the_marker_that_stood(row: Row) -> None:
    made = plan(row.wanted, row.orders, seen(row.comments))
    fence = made.fence and (made.fence.on, made.fence.comment)
    stood = [(name, text) for name, text in zip(TABLE_NAMES, row.comments, strict=True) if text and text[0] == "{"]
    assert fence == (stood[0] if stood else None)


def test_a_lost_marker_says_what_takes_the_tables_over() -> None:
    with pytest.raises(Failure) as lost:
        plan(DESIRED, READY, seen((BARE, BARE, BARE)))
    assert lost.value.message == (
        "no table of Cipher's in schema 'public' of database 'cipher_db' has this storage's marker any more, but "
        "Cipher's tables are there, as after a dump and restore without the comments; nothing was written. To take "
        "the tables over, set annotation `storage.cipher.dev/recreate-requested-at` to a new value and "
        "`spec.adoptionPolicy: IfUnowned`: all rows are kept. If it is another server, point the connection Secret at "
        "the right server"
    )


DELETED = {
    "all have it": ((OURS, OURS, OURS), {STORE, LISTS, METADATA}),
    "the version before marked one table": ((OURS, BARE, BARE), {STORE, LISTS, METADATA}),
    "the first table was dropped": ((GONE, OURS, OURS), {LISTS, METADATA}),
    "the app made the first anew": ((BARE, OURS, OURS), {STORE, LISTS, METADATA}),
    "another server's tables": ((BARE, BARE, BARE), None),
    "another's": ((THEIRS, THEIRS, THEIRS), None),
    "another took over with a version that marked one table": ((THEIRS, OURS, OURS), None),
    "one table of another's": ((OURS, THEIRS, OURS), None),
    "of one that was made anew under the same name": ((FORMER, FORMER, FORMER), None),
}


@pytest.mark.parametrize(("comments", "dropped"), DELETED.values(), ids=DELETED)
def test_a_deletion_drops_what_is_marked(comments: Sequence[str | None], dropped: set[str] | None) -> None:
    observed = seen(comments)
    marker = claimed(DESIRED, Orders(), observed)
    if dropped is None:
        assert marker is None
        return
    assert marker is not None
    removal = plan_inside(DESIRED, observed, marker, ())
    assert {step.on for step in removal.steps if step.kind is Kind.DROP_TABLE} == dropped
    assert removal.fence is not None
    assert removal.fence.on == next(name for name, text in zip(TABLE_NAMES, comments, strict=True) if text == OURS)


def marking(steps: Iterable[Step]) -> list[Step]:
    return [step for step in steps if step.kind is Kind.WRITE_TABLE_MARKER]


def seen(comments: Sequence[str | None]) -> Observed:
    everything = frozenset({"CREATE", "CONNECT", "TEMPORARY"})
    database = Database("heroku", True, True, True, True, everything, frozenset(), everything)
    schema = Schema("heroku", frozenset({"USAGE", "CREATE"}), grantable=True)
    there = zip(TABLES, comments, strict=True)
    relations = {table.name: relation(table, comment) for table, comment in there if comment != GONE}
    local = Local(schema, relations, {}, (), frozenset(), {})
    admin = Admin("heroku", superuser=False, createrole=False, createdb=False)
    return Observed(Server(160_000, PLACE.database, False, admin), {}, database, local)


def relation(table: Table, comment: str | None) -> Relation:
    return Relation(
        kind="r",
        owner="heroku",
        owner_comment=None,
        owner_usage=True,
        owner_admin=False,
        owner_grants=False,
        owner_superuser=False,
        owner_has_all=True,
        comment=comment,
        pages=1,
        columns={each.name: ColumnFacts(each.type, each.not_null, each.default is not None) for each in table.columns},
        primary_key=table.primary_key,
        indexes={each.name: IndexFacts(each.columns, True, True) for each in INDEXES if each.table == table.name},
        foreign_grantees=(),
    )
