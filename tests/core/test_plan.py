"""Plans as SQL, without a server: golden files for whole plans, laws for their parts."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core import steps
from cipher_operator.core.connection.password import Password
from cipher_operator.core.credentials import Known, Wanted, wanted_credential
from cipher_operator.core.desired import Credential, Desired
from cipher_operator.core.marker import Identity, Marker, Place, parse_marker
from cipher_operator.core.observed import Admin, Database, Local, Observed, Schema, Server
from cipher_operator.core.plan.plan import plan
from cipher_operator.core.schema import TABLES
from cipher_operator.postgres.apply import render
from support.golden import check_golden

IDENTITY = Identity("instance-1", "team", "chat", "uid-1")
DESIRED = Desired(
    identity=IDENTITY,
    database="cipher_db",
    create_database=True,
    schema="public",
    user="app",
    credential=Credential("app", "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy"),
)
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
        replace(DESIRED, user="cloud_admin", credential=None),
        seen(replace(CLOUD, createrole=False), 160_000, EXISTING, replace(EMPTY, schema=OWN_SCHEMA)),
    ),
}


@pytest.mark.parametrize("name", list(PLANS))
def test_plan_golden(name: str) -> None:
    made = plan(*PLANS[name])
    check_golden(f"plan-{name}.sql", "\n".join(made.lines()) + "\n")
    assert "SCRAM" not in "".join(made.lines()), "no verifier is shown to people"


def test_every_message_starts_with_the_prefix_or_stands_alone() -> None:
    for name, (wanted, observed) in PLANS.items():
        made = plan(wanted, observed)
        for message in made.messages():
            text = render(message, made.lock, made.fence, None).as_string(None)
            if steps.is_alone(message[0]):
                assert len(message) == 1, name
                assert ";" not in text, name
            else:
                assert text.startswith("SET LOCAL ROLE NONE; SET LOCAL search_path = pg_catalog, pg_temp; "), name
                assert "pg_advisory_xact_lock" in text, name


def test_a_read_only_server_is_named_before_anything_is_planned() -> None:
    observed = replace(seen(SUPERUSER, 160_000), server=Server(160_000, "postgres", True, SUPERUSER))
    with pytest.raises(Failure) as refused:
        plan(DESIRED, observed)
    assert refused.value.reason is Reason.READ_ONLY_SERVER


@given(st.text(min_size=1, max_size=40).filter(lambda text: "\0" not in text))
def test_quoting_survives_any_identifier(name: str) -> None:
    statements = [
        *steps.DropRole(name).statements(),
        *steps.GrantDatabase(name, name).statements(),
        *steps.CreateTable(name, TABLES[0], name).statements(),
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
    "first run: the login that was not set last": (Known("u"), Wanted(None, NEW, True)),
    "published and well: nothing changes": (Known("u", ("u", A)), Wanted("u", A, False)),
    "rotation goes to the other login": (Known("u", ("u", A), rotate=True), Wanted("u_b", NEW, True)),
    "and back": (Known("u", ("u_b", A), rotate=True), Wanted("u", NEW, True)),
    "Secret lost: the other login than status names": (Known("u", None, "u"), Wanted("u_b", NEW, True)),
    "a pending password is used again": (Known("u", None, "u", Wanted("u_b", B, False)), Wanted("u_b", B, False)),
    "pending rotation goes on": (
        Known("u", ("u", A), "u", Wanted("u_b", B, False), rotate=True),
        Wanted("u_b", B, False),
    ),
    "a password the user brings may be the login's already": (Known("u", given=A), Wanted("u", A, False)),
    "a password the user brings stays in place": (Known("u", ("u", A), given=A), Wanted("u", A, False)),
    "and is changed in place": (Known("u", ("u", A), given=B), Wanted("u", B, True)),
}


@pytest.mark.parametrize("case", list(CREDENTIALS))
def test_wanted_credential(case: str) -> None:
    known, wanted = CREDENTIALS[case]
    assert wanted_credential(known, lambda: NEW) == wanted


@given(st.sampled_from(["u", "u_b"]), st.booleans())
def test_a_generated_password_never_goes_to_the_published_login(published: str, lost: bool) -> None:
    known = Known("u", None if lost else (published, A), published, rotate=True)
    assert wanted_credential(known, lambda: NEW).login != published
