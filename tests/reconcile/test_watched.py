"""A server that writes down all that it is told: no password is among that, and watching changes nothing."""

from collections.abc import AsyncIterator, Iterator

import pytest

from devcluster import PostgresServer
from support.runs import Runs

WATCHING = {
    "shared_preload_libraries": "auto_explain,pg_stat_statements",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_verbose": "on",
    "pg_stat_statements.track": "all",
    "pg_stat_statements.track_utility": "on",
    "log_statement": "all",
    "log_duration": "on",
    "log_error_verbosity": "verbose",
    "log_statement_stats": "on",
    "debug_print_parse": "on",
    "debug_print_plan": "on",
    "track_functions": "all",
    "plan_cache_mode": "force_generic_plan",
}
EVENTS = """CREATE FUNCTION told() RETURNS event_trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE LOG 'told of % in %', tg_tag, current_query(); END $$;
CREATE EVENT TRIGGER told ON ddl_command_end EXECUTE FUNCTION told()"""


@pytest.fixture(scope="module", params=[13, 18], ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    server = PostgresServer(request.param, settings=WATCHING)
    libraries = {path.stem for path in server.installation.root.rglob("*.so")}
    if not {"auto_explain", "pg_stat_statements"} <= libraries:
        pytest.skip("this PostgreSQL has no auto_explain and pg_stat_statements: they are packaged apart")
    with server:
        server.execute("CREATE EXTENSION pg_stat_statements")
        server.execute(EVENTS, database="template1")
        server.execute(EVENTS)
        yield server


@pytest.fixture
async def runs(server: PostgresServer) -> AsyncIterator[Runs]:
    made = Runs(server, "watched")
    yield made
    await made.close()


async def test_no_password_is_written_down(runs: Runs) -> None:
    brought = ["brought-s3cret-1", "brought-s3cret-2"]
    runs.api.secret("mine", {"password": brought[0]})
    await runs.ready()
    await runs.ready("second", user={"passwordSecretRef": {"name": "mine", "key": "password"}}, schema="second")
    passwords = {*brought, runs.secret()["password"]}
    for value in "123":
        runs.seconds += 61
        runs.ask("rotate", value)
        runs.ask("reconcile", value)
        await runs.run()
        passwords.add(runs.secret()["password"])
        assert runs.says() == ("True", "Ready"), runs.message()
    assert len(passwords) == 6
    runs.api.secret("mine", {"password": brought[1]})
    await runs.run("second")
    assert runs.secret("second-cipher")["password"] == brought[1], runs.message("second")
    counted = "\n".join(text for (text,) in runs.sql("SELECT query FROM pg_stat_statements"))
    log = runs.server.log_text()
    assert "PASSWORD 'SCRAM-SHA-256$" in counted, "it is the place where one would be"
    assert "PASSWORD 'SCRAM-SHA-256$" in log
    assert [word for word in passwords if word in counted or word in log] == []
