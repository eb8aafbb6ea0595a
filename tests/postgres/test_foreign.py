"""Functions of a tenant's database that fail while the operator works: which one it was, and what to do."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest

from cipher_operator.api.reasons import Reason
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.postgres.errors import Attempt, classify, is_fence, is_race, server_words
from cipher_operator.postgres.foreign import foreign_function
from cipher_operator.postgres.preamble import PREFIX
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from support.german import NATIVE, speaking
from support.sessions import POLICY, error_of

ATTEMPT = Attempt("foreign", "postgres")


DATABASE = "foreign_functions"


@pytest.fixture
def tenant(postgres: PostgresServer) -> Iterator[Callable[[str], object]]:
    """A database of its own, in which event triggers may be made, and who makes them: in sessions of their own."""
    postgres.execute(f"CREATE DATABASE {DATABASE}")
    yield lambda statement: postgres.execute(statement, database=DATABASE)
    postgres.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture
async def watched(tenant: object, admin: AdminConnection) -> AsyncIterator[Session]:
    """The operator's session there."""
    async with await Session.open(admin, DATABASE, POLICY) as session:
        yield session


@dataclass(frozen=True)
class Case:
    """The function's declaration and what is expected of the error: `says` are parts of the message."""

    name: str
    body: str
    reason: Reason
    code: str
    says: tuple[str, ...]
    language: str = "plpgsql"
    setup: str = ""


LOGS = "BEGIN INSERT INTO ddl_log VALUES (tg_tag); END"
CASES = {
    "a table in another schema": Case(
        "public.log_ddl()", LOGS, Reason.UNKNOWN, "42P01",
        ("function public.log_ddl() of this database", 'relation "ddl_log" does not exist',
         "ALTER FUNCTION public.log_ddl() SET search_path = public;", "event trigger"),
        setup="CREATE TABLE public.ddl_log (t text)",
    ),
    "a function in another schema": Case(
        "public.calls()", "BEGIN PERFORM helper(1); END", Reason.UNKNOWN, "42883",
        ("function public.calls()", "helper(integer) does not exist", "SET search_path = public;"),
    ),
    "names that need quotes": Case(
        '"My ""Schema""; DROP"."Log it"()', LOGS, Reason.UNKNOWN, "42P01",
        ('ALTER FUNCTION "My ""Schema""; DROP"."Log it"() SET search_path = "My ""Schema""; DROP";',),
        setup='CREATE SCHEMA "My ""Schema""; DROP"',
    ),
    "one that forbids it": Case(
        "public.forbid()", "BEGIN RAISE EXCEPTION 'no DDL on Fridays'; END", Reason.UNKNOWN, "P0001",
        ("function public.forbid()", "no DDL on Fridays", "ALTER EVENT TRIGGER"),
    ),
    "one that lacks a privilege": Case(
        "public.may_not()", "BEGIN RAISE insufficient_privilege; END", Reason.INSUFFICIENT_PRIVILEGE, "42501",
        ("function public.may_not()", "ALTER FUNCTION public.may_not() SECURITY DEFINER"),
    ),
    "one that divides by zero": Case(
        "public.divide()", "BEGIN PERFORM 1/0; END", Reason.UNKNOWN, "22012",
        ("function public.divide()", "division by zero"),
    ),
    "one with a full disk": Case(
        'public."full"()', "BEGIN RAISE disk_full; END", Reason.DISK_FULL, "53100",
        ('function public."full"()', "disk"),
    ),
    "one that tells addresses": Case(
        "public.tells()", "BEGIN RAISE EXCEPTION E'see postgres://u:s3cr3t@h\\n10.1.2.3'; END", Reason.UNKNOWN, "P0001",
        ("function public.tells()", "see …"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_an_event_trigger_that_fails(tenant: Callable[[str], object], watched: Session, case: Case) -> None:
    if case.setup:
        tenant(case.setup)
    function = f"CREATE FUNCTION {case.name} RETURNS event_trigger LANGUAGE {case.language} AS $$ {case.body} $$"
    tenant(function)
    tenant(f"CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION {case.name}")
    error = await error_of(watched, PREFIX.as_string(None) + "CREATE TABLE public.cipher_probe ()")
    failure = classify(error, ATTEMPT)
    assert (failure.reason, failure.sqlstate) == (case.reason, case.code)
    for part in case.says:
        assert part in failure.message
    assert "does not know" not in failure.message
    assert "marker" not in failure.message
    assert not is_fence(error)
    assert "s3cr3t" not in failure.message + server_words(error)
    assert "10.1.2.3" not in failure.message
    assert failure.message.isprintable()
    assert failure.stage is None


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("CREATE FUNCTION public.f(a text, b numeric[]) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1/0; END $$",
         "public.f(text,numeric[])"),
        ("CREATE FUNCTION public.f(text, text[]) RETURNS int LANGUAGE sql AS $$ SELECT 1; SELECT 1/0 $$", "f"),
    ],
    ids=["PL/pgSQL", "SQL, which tells less"],
)  # fmt: skip
async def test_what_is_known_of_a_function(
    tenant: Callable[[str], object], watched: Session, function: str, name: str
) -> None:
    tenant(function)
    argument = "'{}'::text[]" if "text[]" in function else "'{}'::numeric[]"
    found = foreign_function(await error_of(watched, f"SET search_path = pg_catalog; SELECT public.f('x', {argument})"))
    assert found is not None
    assert found.name == name


async def test_what_is_ours_is_no_foreign_function(watched: Session) -> None:
    for text in (
        "SELECT 1/0",
        "DO $$ DECLARE x int := 1/0; BEGIN PERFORM 1/0; END $$",
        "DO $$ BEGIN PERFORM 1/0; END $$",
    ):
        assert foreign_function(await error_of(watched, text)) is None
    fence = await error_of(watched, PREFIX.as_string(None) + "SELECT 1/0")
    assert is_fence(fence)
    assert not is_race(fence), "the run is over: the next one begins at the API server"
    assert not is_fence(TimeoutError())
    assert foreign_function(psycopg.OperationalError("x")) is None


async def test_in_german() -> None:
    with speaking(NATIVE) as german:
        german.server.execute(
            "CREATE FUNCTION public.log_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ " + LOGS + " $$"
        )
        german.server.execute("CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION public.log_ddl()")
        with pytest.raises(psycopg.Error) as caught:
            # In a session of its own: one that made the function knows it by the name that it had there.
            german.server.execute(
                "SET search_path = pg_catalog; CREATE TABLE public.t ()", user=german.server.superuser
            )
        message = classify(caught.value, ATTEMPT).message
    assert "function public.log_ddl() of this database" in message
    assert "»ddl_log« existiert nicht" in message
    assert "ALTER FUNCTION public.log_ddl() SET search_path = public;" in message
