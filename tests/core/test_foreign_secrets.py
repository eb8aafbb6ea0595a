"""Secrets that other tools write: read through `keys` and `host`, and told apart where they cannot be read."""

import base64
import json
import traceback
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import DEFAULT_KEYS, Connection, SecretKeys
from cipher_operator.core.connection.admin import AdminConnection, Password, read_admin_connection
from cipher_operator.core.connection.foreign import KEYS, URL_KEYS
from support import secret_shapes
from support.secret_shapes import SHAPES, Login

LOGIN = Login()
SPEC = Connection("theirs", DEFAULT_KEYS, None, None)
PLAIN = replace(SPEC, host="db.example.com")


def keys(**names: str) -> SecretKeys:
    return replace(DEFAULT_KEYS, **names)


def read(data: Mapping[str, bytes], connection: Connection) -> AdminConnection:
    return read_admin_connection(data, connection, None)


def refused(data: Mapping[str, bytes], connection: Connection = SPEC) -> Failure:
    with pytest.raises(Failure) as caught:
        read(data, connection)
    failure = caught.value
    shown = f"{failure!r} {failure.message} {''.join(traceback.format_exception(failure))}"
    assert LOGIN.password not in shown and LOGIN.host not in shown and "s3cr3t" not in shown
    assert failure.stage is ConditionType.CONNECTED
    assert failure.message.isprintable() and len(failure.message) < 400
    return failure


# The shape, how it is read, and the database that it says.
READ = [
    ("cnpg", replace(SPEC, keys=keys(url="fqdn-uri")), None),
    ("cnpg", replace(SPEC, keys=keys(url="uri")), None),
    ("cnpg-app", replace(SPEC, keys=keys(url="uri")), "app"),
    ("cnpg", replace(PLAIN, keys=keys(user="username", password="password", port="port", database="dbname")), None),
    ("crunchy", replace(SPEC, keys=keys(url="uri")), "app"),
    (
        "crunchy",
        replace(SPEC, keys=keys(host="host", port="port", user="user", password="password", database="dbname")),
        "app",
    ),
    ("zalando", replace(PLAIN, keys=keys(user="username", password="password")), None),
    ("crossplane", replace(SPEC, keys=keys(host="host", port="port", user="username", password="password")), None),
    ("crossplane", replace(SPEC, keys=keys(host="address", user="username", password="attribute.password")), None),
    (
        "crossplane-sql-role",
        replace(SPEC, keys=keys(host="endpoint", port="port", user="username", password="password")),
        None,
    ),
    ("rds-managed", replace(PLAIN, keys=keys(user="username", password="password"), database="postgres"), "postgres"),
    ("vault", replace(PLAIN, keys=keys(user="username", password="password")), None),
]


@pytest.mark.parametrize(("shape", "connection", "database"), READ)
def test_is_read_as_it_is(shape: str, connection: Connection, database: str | None) -> None:
    admin = read(SHAPES[shape](LOGIN), connection)
    assert (admin.host, admin.port, admin.user) == (LOGIN.host, LOGIN.port, LOGIN.user)
    assert (admin.password, admin.database) == (Password(LOGIN.password), database)
    assert admin.warnings == ()


# The shape, how it is read, and what the message proposes.
PROPOSED = [
    ("cnpg", SPEC, "`spec.connection.secretRef.keys: {url: fqdn-uri}`"),
    ("crunchy", SPEC, "`spec.connection.secretRef.keys: {url: uri}`"),
    (
        "zalando",
        SPEC,
        "a login and no host: set `spec.connection.secretRef.keys: {user: username, password: password}` and "
        "`spec.connection.host`",
    ),
    ("rds-managed", SPEC, "{user: username, password: password}` and `spec.connection.host`"),
    ("vault", SPEC, "{user: username, password: password}` and `spec.connection.host`"),
    ("zalando", PLAIN, "Set `spec.connection.secretRef.keys: {user: username, password: password}`."),
    (
        "crossplane",
        SPEC,
        "Set `spec.connection.secretRef.keys: {host: host, port: port, user: username, password: password}`.",
    ),
    (
        "crossplane-sql-role",
        SPEC,
        "Set `spec.connection.secretRef.keys: {host: endpoint, port: port, user: username, password: password}`.",
    ),
    # Half of it is named already.
    ("zalando", replace(SPEC, keys=keys(user="username", password="password")), "no host: set `spec.connection.host`."),
    (
        "zalando",
        replace(PLAIN, keys=keys(user="username")),
        "Set `spec.connection.secretRef.keys: {password: password}`",
    ),
    ("crossplane", replace(SPEC, keys=keys(user="username", password="password")), "{host: host, port: port}`."),
]


@pytest.mark.parametrize(("shape", "connection", "said"), PROPOSED)
def test_what_is_missing_is_said_with_the_fields_to_set(shape: str, connection: Connection, said: str) -> None:
    failure = refused(SHAPES[shape](LOGIN), connection)
    assert failure.reason is Reason.SECRET_KEY_MISSING
    assert said in failure.message, failure.message


@pytest.mark.parametrize(("shape", "connection", "said"), PROPOSED)
def test_what_is_proposed_is_enough(shape: str, connection: Connection, said: str) -> None:
    message = refused(SHAPES[shape](LOGIN), connection).message
    _, _, listed = message.partition("secretRef.keys: {")
    pairs = [pair.split(": ") for pair in listed.partition("}")[0].split(", ") if pair]
    renamed = replace(connection, keys=replace(connection.keys, **dict(pairs)))
    if message.endswith("`spec.connection.host`."):
        renamed = replace(renamed, host=LOGIN.host)
    admin = read(SHAPES[shape](LOGIN), renamed)
    assert (admin.host, admin.user, admin.password) == (LOGIN.host, LOGIN.user, Password(LOGIN.password))


def test_a_host_with_its_port_says_where_the_host_alone_may_be() -> None:
    data = secret_shapes.crossplane(LOGIN)
    failure = refused(data, replace(SPEC, keys=keys(host="endpoint", user="username", password="password")))
    assert failure.reason is Reason.INVALID_URL
    assert "`spec.connection.secretRef.keys.host`" in failure.message and "`spec.connection.host`" in failure.message


DOCUMENT = json.dumps({"username": "postgres", "password": "s3cr3t", "host": "h"}).encode()


@pytest.mark.parametrize(
    ("data", "connection", "reason"),
    [
        (secret_shapes.rds_managed_as_document(LOGIN), SPEC, Reason.SECRET_KEY_MISSING),
        ({"CIPHER_PG_URL": DOCUMENT}, SPEC, Reason.INVALID_URL),
        ({DEFAULT_KEYS.user: b"u", DEFAULT_KEYS.password: DOCUMENT}, PLAIN, Reason.INVALID_URL),
        ({DEFAULT_KEYS.user: DOCUMENT, DEFAULT_KEYS.password: b"p"}, PLAIN, Reason.INVALID_URL),
        ({DEFAULT_KEYS.host: DOCUMENT, DEFAULT_KEYS.user: b"u", DEFAULT_KEYS.password: b"p"}, SPEC, Reason.INVALID_URL),
        (
            {DEFAULT_KEYS.user: b"u", DEFAULT_KEYS.password: b"p", DEFAULT_KEYS.database: b'{"password":"s3cr3t"}'},
            PLAIN,
            Reason.INVALID_URL,
        ),
    ],
    ids=["one key of another name", "as the URL", "as the password", "as the user", "as the host", "as the database"],
)
def test_a_json_document_is_told_to_be_split(data: dict[str, bytes], connection: Connection, reason: Reason) -> None:
    failure = refused(data, connection)
    assert failure.reason is reason
    assert "JSON document, which is not read" in failure.message and "`extract`" in failure.message


@pytest.mark.parametrize("word", ['{"a": 1}', "{password}", '["password"]', '{"password": '])
def test_a_password_that_only_looks_like_json_is_a_password(word: str) -> None:
    data = {DEFAULT_KEYS.user: b"u", DEFAULT_KEYS.password: word.encode()}
    assert read(data, PLAIN).password == Password(word)


CROSSED = {
    "the login's name and the password the wrong way round": (keys(user="password", password="username"), "user"),
    "the password twice": (keys(user="PGPASSWORD", password="PGPASSWORD"), "user"),
    "the password as the host": (keys(host="password"), "host"),
    "the password as the port": (keys(port="password"), "port"),
    "the password as the database": (keys(database="password"), "database"),
    "the login's name twice": (keys(user="username", password="username"), "password"),
    "a password of a name of its own twice": (keys(user="our-password", password="our-password"), "user"),
    "such a password as the database": (keys(database="our-password", password="our-password"), "database"),
    "the key of the operator's own password": (keys(database=DEFAULT_KEYS.password), "database"),
}
"""What is named, and the field that is not what its name says."""


@pytest.mark.parametrize(("named", "field"), CROSSED.values(), ids=CROSSED)
def test_a_password_is_not_read_as_a_name_that_people_see(named: SecretKeys, field: str) -> None:
    told = {key: LOGIN.password.encode() for key in (*KEYS["password"], "our-password")} | {"username": b"postgres"}
    filled = {getattr(DEFAULT_KEYS, each): b"5432" if each == "port" else b"x" for each in KEYS}
    failure = refused(filled | told, replace(PLAIN if field != "host" else SPEC, keys=named))
    assert failure.reason is Reason.INVALID_SPEC
    assert failure.message.startswith(f"`spec.connection.secretRef.keys.{field}` names the key")
    assert failure.message.endswith("Name another key.")


def twice(text: str) -> bytes:
    return base64.b64encode(text.encode())


@pytest.mark.parametrize(
    ("data", "connection"),
    [
        ({"CIPHER_PG_URL": twice("postgresql://u:s3cr3t@h/d")}, SPEC),
        ({"CIPHER_PG_URL": twice("postgresql://u:s3cr3t@h/d\n") + b"\n"}, SPEC),
        ({DEFAULT_KEYS.user: twice("postgres"), DEFAULT_KEYS.password: twice("s3cr3t\n")}, PLAIN),
        (
            {
                DEFAULT_KEYS.host: twice("h.example"),
                DEFAULT_KEYS.user: twice("postgres"),
                DEFAULT_KEYS.password: twice("s3cr3t"),
                DEFAULT_KEYS.port: twice("5432"),
            },
            SPEC,
        ),
    ],
    ids=["URL", "URL with newlines", "login", "all of it"],
)
def test_what_is_encoded_twice_is_told(data: dict[str, bytes], connection: Connection) -> None:
    failure = refused(data, connection)
    assert failure.reason is Reason.INVALID_URL
    assert "base64 once more" in failure.message and "`stringData`" in failure.message


@pytest.mark.parametrize("user", ["postgres", "username", "rdsadmins", "admin123", "YWRtaW4="])
def test_a_login_that_is_base64_by_chance_is_a_login(user: str) -> None:
    data = {DEFAULT_KEYS.user: user.encode(), DEFAULT_KEYS.password: b"correct horse"}
    assert read(data, PLAIN).user == user


@given(st.from_regex(r"[A-Za-z0-9]{32}", fullmatch=True))
def test_a_generated_password_beside_a_plain_user_is_never_taken_for_an_encoded_one(word: str) -> None:
    data = {DEFAULT_KEYS.user: b"postgres", DEFAULT_KEYS.password: word.encode()}
    assert read(data, PLAIN).password == Password(word)


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["newline", "CRLF"])
def test_what_echo_adds_is_no_part_of_any_value(end: str) -> None:
    data = {key: value + end.encode() for key, value in secret_shapes.crossplane(LOGIN).items()}
    admin = read(data, replace(SPEC, keys=keys(host="host", port="port", user="username", password="password")))
    assert (admin.host, admin.port, admin.user, admin.password) == (
        *(LOGIN.host, LOGIN.port, LOGIN.user),
        Password(LOGIN.password),
    )


# What a console or a document shows, and what is said of it.
PASTED = [
    ("JDBC", "jdbc:postgresql://h/d?user=u&password=s3cr3t", "A JDBC URL is not read"),
    ("SQLAlchemy", "postgresql+psycopg://u:s3cr3t@h/d", "Take the driver's name out of the scheme"),
    ("Neon's command", "psql 'postgresql://u:s3cr3t@h/d'", "Take only the URL out of the command"),
    ("Supabase's placeholder", "postgresql://postgres.ref:[YOUR-PASSWORD]@h:6543/postgres", "a placeholder where the"),
    ("Neon, masked", "postgresql://neondb_owner:************@h/neondb?sslmode=require", "a placeholder where the"),
    ("a manual's placeholder", "postgresql://u:<password>@h/d", "a placeholder where the"),
    ("libpq's keywords", "host=h user=u password=s3cr3t", "Write it as postgresql://USER:PASSWORD@"),
    (".NET", "Host=h;Username=u;Password=s3cr3t;Database=d", "Write it as postgresql://USER:PASSWORD@HOST/DATABASE"),
    ("another database's", "mysql://u:s3cr3t@h/d", "Write it as postgresql://USER:PASSWORD@HOST/DATABASE"),
    ("JDBC, in capitals", "JDBC:PostgreSQL://h/d?user=u&password=s3cr3t", "A JDBC URL is not read"),
    ("SQLAlchemy, in capitals", "PostgreSQL+asyncpg://u:s3cr3t@h/d", "Take the driver's name out of the scheme"),
    ("in capitals", "PostgreSQL://u:s3cr3t@h/d", "Write the scheme in lower case"),
    ("a line of a .env file", "DATABASE_URL=postgresql://u:s3cr3t@h/d", "a value has no name"),
    ("the same for a shell", "export DATABASE_URL='postgres://u:s3cr3t@h/d'", "a value has no name"),
    ("a byte order mark", "\ufeffpostgresql://u:s3cr3t@h/d", "that nobody sees"),
    ("a zero-width space", "\u200bpostgresql://u:s3cr3t@h/d", "that nobody sees"),
    ("a no-break space", "\u00a0postgresql://u:s3cr3t@h/d", "that nobody sees"),
    ("Neon, for clients without SNI", "postgresql://u:s3cr3t@h/d?options=endpoint%3Dep-x", "by the host name"),
]


@pytest.mark.parametrize(("url", "said"), [row[1:] for row in PASTED], ids=[row[0] for row in PASTED])
def test_what_a_console_shows_is_told_apart(url: str, said: str) -> None:
    failure = refused({DEFAULT_KEYS.url: url.encode()})
    assert failure.reason is Reason.INVALID_URL
    assert said in failure.message, failure.message


@pytest.mark.parametrize("path", ["/*", "/%2A"])
@pytest.mark.parametrize("query", ["", "?sslmode=require"])
def test_a_star_is_no_database(path: str, query: str) -> None:
    assert read({DEFAULT_KEYS.url: f"postgresql://u:p@h{path}{query}".encode()}, SPEC).database is None
    data = {DEFAULT_KEYS.user: b"u", DEFAULT_KEYS.password: b"p", DEFAULT_KEYS.database: b"*\n"}
    assert read(data, PLAIN).database is None


def test_the_lists_are_of_keys_that_a_secret_can_have() -> None:
    words = [*URL_KEYS, *(word for names in KEYS.values() for word in names)]
    assert all(word.replace("-", "").replace("_", "").replace(".", "").isalnum() for word in words)
    assert len(words) == len(set(words))
    assert set(KEYS) | {"url", "ssl"} == set(SecretKeys.__slots__)


@given(
    st.dictionaries(
        st.sampled_from([*URL_KEYS, *(word for names in KEYS.values() for word in names), "other"]),
        st.binary(max_size=30) | st.sampled_from([b"postgresql://u:s3cr3t@h/d", b"h", b"5432", DOCUMENT, b"{" * 2_000]),
    ),
    st.sampled_from([SPEC, PLAIN]),
)
def test_any_other_secret_ends_in_a_message_without_its_values(data: dict[str, bytes], connection: Connection) -> None:
    failure = refused({key: value + b"s3cr3t" for key, value in data.items()}, connection)
    assert failure.reason is Reason.SECRET_KEY_MISSING
