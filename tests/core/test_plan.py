"""Plans as SQL, without a server: golden files for whole plans, laws for their parts."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql
from psycopg.adapt import Transformer

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.connection.password import Password
from cipher_operator.core.credentials import Known, wanted_credential
from cipher_operator.core.desired import Desired
from cipher_operator.core.marker import Identity, Marker, Place, parse_marker
from cipher_operator.core.observed import Admin, Database, Local, Observed, Schema, Server
from cipher_operator.core.orders import Credential, Orders
from cipher_operator.core.plan.plan import Plan, plan
from cipher_operator.core.schema import TABLES
from cipher_operator.core.sql import removals, steps
from cipher_operator.core.sql.step import Kind
from cipher_operator.postgres.apply import render, verifier, with_passwords
from support.golden import check_golden

IDENTITY = Identity("instance-1", "team", "chat", "uid-1")
DESIRED = Desired(
    identity=IDENTITY,
    database="cipher_db",
    create_database=True,
    schema="public",
    user="app",
    shared=False,
)
WORD = Password("not for people")
NEW_LOGIN = Orders(Credential("app", WORD))
SUPERUSER = Admin("postgres", superuser=True, createrole=True, createdb=True)
CLOUD = Admin("cloud_admin", superuser=False, createrole=True, createdb=True)
NOTHING = frozenset[str]()
ALL = frozenset({"CREATE", "CONNECT", "TEMPORARY"})
EMPTY = Local(Schema("pg_database_owner", frozenset({"USAGE"}), grantable=True), {}, {}, (), NOTHING, {})
OWN_SCHEMA = Schema("cloud_admin", frozenset({"USAGE", "CREATE"}), grantable=True)
EXISTING = Database(
    "cloud_admin", True, True, True, False, frozenset({"CONNECT", "TEMPORARY"}), NOTHING, ALL - {"CREATE"}
)


def seen(admin: Admin, version: int, database: Database | None = None, local: Local | None = None) -> Observed:
    return Observed(Server(version, "postgres", False, admin), {}, database, local)


PLANS = {
    "new-superuser-pg15": (DESIRED, seen(SUPERUSER, 150_000)),
    "new-cloud-admin-pg13": (DESIRED, seen(CLOUD, 130_000)),
    "new-cloud-admin-pg17": (DESIRED, seen(CLOUD, 170_000)),
    "existing-database-pg16": (DESIRED, seen(CLOUD, 160_000, EXISTING, EMPTY)),
    "own-schema-pg16": (
        replace(DESIRED, schema="cipher"),
        seen(CLOUD, 160_000, EXISTING, replace(EMPTY, schema=None)),
    ),
    "shared-pg16": (
        replace(DESIRED, user="cloud_admin", shared=True),
        seen(replace(CLOUD, createrole=False), 160_000, EXISTING, replace(EMPTY, schema=OWN_SCHEMA)),
    ),
}


def planned(name: str) -> Plan:
    wanted, observed = PLANS[name]
    return plan(wanted, Orders() if wanted.shared else NEW_LOGIN, observed)


@pytest.mark.parametrize("name", list(PLANS))
def test_plan_golden(name: str) -> None:
    made = planned(name)
    check_golden(f"plan-{name}.sql", "\n".join(made.lines()) + "\n")
    for shown in ("".join(made.lines()), repr(made)):
        assert "SCRAM" not in shown, "no verifier is shown to people"
        assert WORD.reveal() not in shown


def test_every_message_starts_with_the_prefix_or_stands_alone() -> None:
    for name in PLANS:
        made = planned(name)
        for message in made.messages():
            text = render(message, made.lock, None).as_string(None)
            if message.alone:
                assert len(message.steps) == 1, name
                assert ";" not in text, name
            else:
                assert text.startswith("SET LOCAL ROLE NONE; SET LOCAL search_path = pg_catalog, pg_temp; "), name
                assert "pg_advisory_xact_lock" in text, name


def test_the_first_step_of_a_plan_for_roles_of_ours_is_its_marker() -> None:
    for name, (wanted, _) in PLANS.items():
        kinds = [step.kind for step in planned(name).steps]
        if wanted.shared:
            assert kinds[-1] is Kind.WRITE_TABLE_MARKER, name
        else:
            assert kinds[:2] == [Kind.CREATE_OWNER, Kind.WRITE_MARKER], name


def test_a_password_is_equal_by_login_and_word_and_never_sent_itself() -> None:
    one = steps.set_password("app", WORD)
    assert one == steps.set_password("app", Password(WORD.reveal()))
    assert one != steps.set_password("app_b", WORD)
    assert one != steps.set_password("app", Password("another"))
    (statement,) = one.statements
    assert statement.as_string(None) == "ALTER ROLE \"app\" LOGIN PASSWORD '***'"
    with pytest.raises(TypeError, match="replaced before it is sent"):
        statement.as_bytes(Transformer())
    first, second = (with_passwords(statement, verifier).as_string(None) for _ in range(2))
    assert "SCRAM-SHA-256$4096:" in first
    assert first != second, "a new salt each time"


def test_a_read_only_server_is_named_before_anything_is_planned() -> None:
    observed = replace(seen(SUPERUSER, 160_000), server=Server(160_000, "postgres", True, SUPERUSER))
    with pytest.raises(Failure) as refused:
        plan(DESIRED, NEW_LOGIN, observed)
    assert refused.value.reason is Reason.READ_ONLY_SERVER


@given(st.text(min_size=1, max_size=40).filter(lambda text: "\0" not in text))
def test_quoting_survives_any_identifier(name: str) -> None:
    statements = [
        *removals.drop_role(name).statements,
        *steps.grant_database(name, name).statements,
        *steps.create_table(name, TABLES[0], name).statements,
    ]
    quoted = '"' + name.replace('"', '""') + '"'
    for statement in statements:
        text = statement.as_string(None)
        assert quoted in text
        assert name not in text.replace(quoted, "") or name in _words(statements)


def _words(statements: list[sql.Composed]) -> str:
    """Return the fixed words of the statements, which a short name may happen to be part of."""
    return " ".join(
        part.as_string(None) for statement in statements for part in statement if not isinstance(part, sql.Identifier)
    )


@given(
    st.lists(st.text(), min_size=6, max_size=6),
    st.frozensets(st.text()),
    st.integers(0, 10**9),
    st.frozensets(st.text()),
    st.none() | st.text(min_size=1),
)
def test_marker_round_trips(
    texts: list[str], created: frozenset[str], rev: int, adopted: frozenset[str], published: str | None
) -> None:
    marker = Marker(Identity(*texts[:4]), Place(*texts[4:]), created, rev, adopted, published)
    assert parse_marker(marker.text()) == marker
    assert "\n" not in marker.text()


@pytest.mark.parametrize(
    "comment",
    [
        None,
        "",
        "a person's note",
        "{",
        "[]",
        "{}",
        '{"v":2,"instance":"i","ns":"n","name":"a","uid":"u","db":"d","schema":"s","created":[],"rev":1}',
        '{"v":1,"instance":null,"ns":"n","name":"a","uid":"u","db":"d","schema":"s","created":[],"rev":1}',
        '{"v":1,"instance":"i","ns":"n","name":"a","uid":"u","db":"d","schema":"s","created":"owner","rev":1}',
        '{"v":1,"instance":"i","ns":"n","name":"a","uid":"u","db":"d","schema":"s","created":[1],"rev":1}',
        '{"v":1,"instance":"i","ns":"n","name":"a","uid":"u","db":"d","schema":"s","created":[],"rev":true}',
        "{" + '"a":{' * 100_000,
    ],
    ids=lambda comment: repr(comment)[:40],
)
def test_a_strangers_comment_is_no_marker(comment: str | None) -> None:
    assert parse_marker(comment) is None


A, B, NEW = Password("a"), Password("b"), Password("new")
CREDENTIALS = {
    "first run: the login that was not set last": (Known("u"), Credential(None, NEW, True)),
    "published and well: nothing changes": (Known("u", ("u", A)), Credential("u", A, False)),
    "rotation goes to the other login": (Known("u", ("u", A), rotate=True), Credential("u_b", NEW, True)),
    "and back": (Known("u", ("u_b", A), rotate=True), Credential("u", NEW, True)),
    "Secret lost: the other login than status names": (Known("u", None, "u"), Credential("u_b", NEW, True)),
    "a pending password is used again": (
        Known("u", None, "u", Credential("u_b", B, False)),
        Credential("u_b", B, False),
    ),
    "pending rotation goes on": (
        Known("u", ("u", A), "u", Credential("u_b", B, False), rotate=True),
        Credential("u_b", B, False),
    ),
    "a password the user brings may be the login's already": (Known("u", given=A), Credential("u", A, False)),
    "a password the user brings stays in place": (Known("u", ("u", A), given=A), Credential("u", A, False)),
    "and is changed in place": (Known("u", ("u", A), given=B), Credential("u", B, True)),
}


@pytest.mark.parametrize("case", list(CREDENTIALS))
def test_wanted_credential(case: str) -> None:
    known, wanted = CREDENTIALS[case]
    assert wanted_credential(known, lambda: NEW) == wanted


@given(st.sampled_from(["u", "u_b"]), st.booleans())
def test_a_generated_password_never_goes_to_the_published_login(published: str, lost: bool) -> None:
    known = Known("u", None if lost else (published, A), published, rotate=True)
    assert wanted_credential(known, lambda: NEW).login != published
