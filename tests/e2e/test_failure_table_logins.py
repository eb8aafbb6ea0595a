"""The failure table, at the server's door: passwords, pg_hba.conf, databases."""

from collections.abc import Generator
from functools import partial

import pytest

from cipher_operator.api.failures import ConditionType
from cipher_operator.api.reasons import Reason
from devcluster.longrun import SetupError
from devcluster.pgbouncer import find_pgbouncer
from support.failure_table import Record, Scene, Table
from support.faulty_servers import set_hba
from support.played_rows import Outcome
from support.poolers import Pooler

AUTH, DENIED = Reason.AUTHENTICATION_FAILED, Reason.ACCESS_DENIED
ACCESS = ConditionType.ACCESS_GRANTED
CORRECT = "Correct user and password in the connection Secret."

row = Table()


@pytest.fixture(scope="module")
def operator_flags() -> tuple[str, ...]:
    return ("--interval", "1h", "--connect-timeout", "2s")


# --- user and password ---


@row("wrong password", AUTH, CORRECT, sqlstate="28P01")
def wrong_password(scene: Scene) -> Generator[None]:
    assert scene.server.running
    scene.secret(password="not-the-w0rd")
    scene.create()
    yield
    scene.secret()


@row("unknown user", AUTH, CORRECT, sqlstate="28P01")
def unknown_user(scene: Scene) -> Generator[None]:
    assert scene.server.running
    scene.secret(user="n0body")
    scene.create()
    yield
    scene.secret()


def password_no_longer_taken(scene: Scene, change: str, back: str) -> Generator[None]:
    scene.ready()
    scene.sql(f"SET password_encryption = md5; ALTER ROLE {scene.admin} {change}")
    scene.ask()
    yield
    # The verdict is on the password: a new one is tried at once, the old one within a minute.
    scene.sql(f"ALTER ROLE {scene.admin} PASSWORD 'another-w0rd' {back}")
    scene.secret(password="another-w0rd")


for case, change, back in (
    ("password changed", "PASSWORD 'changed'", ""),
    ("expired", "VALID UNTIL '2001-01-01'", "VALID UNTIL 'infinity'"),
    ("no password set", "PASSWORD NULL", ""),
    ("MD5 hash where SCRAM is asked for", "PASSWORD 'md5'", ""),
):
    row(case, AUTH, CORRECT, sqlstate="28P01")(partial(password_no_longer_taken, change=change, back=back))


@row("pooler refuses the login", AUTH, CORRECT, sqlstate="28P01")
def pooler_refuses(scene: Scene) -> Generator[None]:
    try:
        find_pgbouncer()
    except SetupError as error:
        pytest.skip(str(error))
    server = scene.server
    with Pooler(server, "session", {scene.admin: scene.password}) as pooler:
        scene.secret(port=pooler.port, password="not-the-w0rd")
        scene.create()
        yield
        scene.secret(port=pooler.port)
        yield


@row("NOLOGIN", DENIED, "LOGIN;", sqlstate="28000")
def nologin(scene: Scene) -> Generator[None]:
    scene.ready()
    scene.sql(f"ALTER ROLE {scene.admin} NOLOGIN")
    scene.ask()
    yield
    assert scene.remedy() == f'ALTER ROLE "{scene.admin}" LOGIN'
    scene.ask()


# --- pg_hba.conf ---


def not_let_in(scene: Scene, method: str, mode: str = "require") -> Generator[None]:
    """`method` is what the administrator's line says; an empty one leaves nobody but the superuser a line."""
    server = scene.alone()
    scene.ready(sslmode=mode)
    if method:
        set_hba(server, f"host all {scene.admin} 127.0.0.1/32 {method}")
    else:
        set_hba(server, rest="host all postgres 127.0.0.1/32 scram-sha-256\n")
    scene.ask()
    yield
    set_hba(server)
    scene.ask()


for case, reason, words, code, method, mode in (
    ("no line in pg_hba.conf", DENIED, "Add a line", "28000", "", "require"),
    ("pg_hba.conf rejects", DENIED, "pg_hba.conf", "28000", "reject", "require"),
    ("no line without encryption", Reason.TLS_REQUIRED, "add a line", "28000", "", "disable"),
    ("rejected without encryption", Reason.TLS_REQUIRED, "add a line", "28000", "reject", "disable"),
    ("trust", DENIED, "scram-sha-256", None, "trust", "disable"),
    ("plain text", DENIED, "verify-full", None, "password", "disable"),
):
    row(case, reason, words, sqlstate=code)(partial(not_let_in, method=method, mode=mode))


@row("app login without a line in pg_hba.conf", DENIED, "login test", stage=ACCESS, sqlstate="28000")
def app_login(scene: Scene) -> Generator[None]:
    server = scene.alone()
    set_hba(server, rest=f"host all postgres,{scene.admin} 127.0.0.1/32 scram-sha-256\n")
    scene.secret(sslmode="require")
    scene.create()
    yield
    assert scene.namespace.get("secrets", "chat-cipher") is None, "nothing is published that cannot log in"
    set_hba(server)
    scene.ask()


@row("plain text, then verified", DENIED, "verify-full")
def plain_text_then_verified(scene: Scene) -> Generator[None]:
    server = scene.alone()
    set_hba(server, f"host all {scene.admin} 127.0.0.1/32 password")
    scene.secret(host="localhost", sslmode="require")
    scene.create()
    yield
    scene.write_ca(scene.servers.authority.certificate.read_text())
    scene.patch(
        connection={"sslMode": "verify-full", "caRef": {"kind": "ConfigMap", "name": "pg-ca"}},
        app={"caPath": "/etc/cipher/ca.crt"},
    )


@row("MD5 not asked for", DENIED, "require_auth=md5")
def md5(scene: Scene) -> Generator[None]:
    server = scene.alone()
    scene.sql(f"SET password_encryption = md5; ALTER ROLE {scene.admin} PASSWORD '{scene.password}'")
    set_hba(server, f"host all {scene.admin} 127.0.0.1/32 md5")
    scene.secret()
    scene.create()
    yield
    scene.secret(require_auth="md5")


@row("channel binding that is not offered", DENIED, "channel_binding=require")
def channel_binding(scene: Scene) -> Generator[None]:
    scene.secret(channel_binding="require")
    scene.create()
    yield
    scene.secret(channel_binding="require", sslmode="require")


# --- the database ---


@row("database missing", Reason.DATABASE_MISSING, "CREATE DATABASE", stage=ConditionType.DATABASE_READY)
def database_missing(scene: Scene) -> Generator[None]:
    scene.secret()
    scene.create({"database": {"name": scene.database, "create": False}})
    yield
    scene.sql(f"CREATE DATABASE {scene.database} OWNER {scene.admin}")
    scene.ask()


@row("database missing, then to be created", Reason.DATABASE_MISSING, "create", stage=ConditionType.DATABASE_READY)
def database_to_be_created(scene: Scene) -> Generator[None]:
    scene.secret()
    scene.create({"database": {"name": scene.database, "create": False}})
    yield
    scene.patch(database={"create": True})


@row("no CONNECT", Reason.INSUFFICIENT_PRIVILEGE, "GRANT CONNECT ON DATABASE", sqlstate="42501")
def no_connect(scene: Scene) -> Generator[None]:
    assert scene.server.running
    scene.sql(f"CREATE DATABASE {scene.database}")
    scene.sql(f"REVOKE CONNECT ON DATABASE {scene.database} FROM PUBLIC")
    scene.secret()
    scene.create()
    yield
    taken = scene.remedies(scene.database)
    assert taken[0] == f'GRANT CONNECT ON DATABASE "{scene.database}" TO "{scene.admin}"'


@row("database closed", Reason.SERVER_NOT_READY, "ALLOW_CONNECTIONS true", sqlstate="55000")
def closed(scene: Scene) -> Generator[None]:
    scene.alone()
    scene.ready()
    scene.sql(f"ALTER DATABASE {scene.database} ALLOW_CONNECTIONS false")
    scene.ask()
    yield
    assert scene.remedy() == f'ALTER DATABASE "{scene.database}" WITH ALLOW_CONNECTIONS true'


@pytest.mark.parametrize("case", list(row.rows))
def test_named_within_seconds_and_mended_without_a_restart(
    outcomes: dict[str, Outcome], record_property: Record, case: str
) -> None:
    outcomes[case].tell(record_property)
