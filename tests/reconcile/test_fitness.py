"""Ready is never true while Cipher cannot work: through whole runs, at the next check after somebody's change."""

import pytest

from support.runs import Runs


async def test_a_configuration_that_was_read_anew_makes_a_proof_due(runs: Runs) -> None:
    # pg_hba.conf and most settings of the server cannot be seen from the administrator's session.
    await runs.ready()
    tests = runs.counts.connections["login"]
    await runs.run()
    assert runs.counts.connections["login"] == tests
    runs.sql("SELECT pg_reload_conf(); SELECT pg_sleep(0.5)")
    await runs.run()
    assert runs.counts.connections["login"] == tests + 1
    await runs.run()
    assert runs.counts.connections["login"] == tests + 1


async def test_a_row_outlives_a_crash_once_the_table_is_brought_back(runs: Runs) -> None:
    await runs.ready()
    runs.sql("ALTER TABLE cipher_store SET UNLOGGED", runs.database)
    await runs.run()
    assert runs.says() == ("True", "Ready")
    with runs.app() as app:
        app.execute("INSERT INTO cipher_store VALUES ('k', '\"😀\"', now(), now())")
    runs.sql("CHECKPOINT")
    runs.server.stop("immediate")
    runs.server.start()
    with runs.app() as app:
        assert app.execute("SELECT value FROM cipher_store").fetchall() == [('"😀"',)]


async def test_rows_that_are_null_are_told_again_and_again_without_a_write(runs: Runs) -> None:
    await runs.ready()
    runs.sql(
        "ALTER TABLE cipher_store ALTER value DROP NOT NULL; "
        "INSERT INTO cipher_store VALUES ('old', NULL, now(), now())",
        runs.database,
    )
    await runs.run()
    assert runs.says() == ("True", "Ready")
    assert "some rows hold NULL" in runs.message()
    assert 'ALTER TABLE "public"."cipher_store" ALTER COLUMN "value" SET NOT NULL' in runs.message()
    writes, tests = runs.writes(), runs.counts.connections["login"]
    await runs.run()
    assert (runs.writes(), runs.counts.connections["login"]) == (writes, tests)
    runs.sql("DELETE FROM cipher_store WHERE value IS NULL", runs.database)
    await runs.run()
    assert "NULL" not in runs.message()
    assert runs.says() == ("True", "Ready")


@pytest.mark.parametrize("mode", ["Dedicated", "Shared"])
async def test_a_database_in_another_encoding_is_never_ready(runs: Runs, mode: str) -> None:
    runs.sql(
        f"CREATE DATABASE {runs.database} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    )
    runs.admin_secret()
    runs.storage(user={"mode": mode})
    await runs.run()
    assert runs.says() == ("False", "SchemaConflict")
    assert "encoding LATIN1" in runs.message()
    assert runs.api.data("chat-cipher") is None
    assert runs.sql(f"SELECT 1 FROM pg_roles WHERE rolname ~ '^app_{runs.database}_'") == []


async def test_a_shared_login_whose_tables_are_elsewhere_is_never_ready(runs: Runs) -> None:
    user = f"u_{runs.database}"
    runs.sql(f"CREATE ROLE {user} LOGIN PASSWORD 'pw'")
    runs.sql(f"CREATE DATABASE {runs.database} OWNER {user}")
    runs.sql(f"CREATE SCHEMA app AUTHORIZATION {user}", runs.database)
    runs.sql(f"ALTER ROLE {user} SET search_path = app")
    runs.api.secret("pg-admin", {"CIPHER_PG_URL": runs.server.admin_url(user=user, password="pw", sslmode="disable")})
    runs.storage(user={"mode": "Shared"})
    await runs.run()
    assert runs.says() == ("False", "AccessDenied")
    assert f'ALTER ROLE "{user}" RESET search_path' in runs.message()
    assert runs.api.data("chat-cipher") is None
    runs.sql(f"ALTER ROLE {user} RESET search_path")
    await runs.run()
    assert runs.says() == ("True", "Ready"), runs.message()
    runs.sql(f"ALTER ROLE {user} SET search_path = app")
    await runs.run()
    assert runs.says() == ("False", "AccessDenied"), "the setting alone makes a proof due"


# What stands when the storage becomes Ready, and what comes later and stops Cipher: only a new proof can tell.
LATER = {
    "a publication publishes more": (
        "CREATE PUBLICATION others FOR TABLE cipher_store WHERE (value <> '') WITH (publish = 'insert')",
        "ALTER PUBLICATION others SET (publish = 'insert, update, delete')",
    ),
    "the index of the identity is another": (
        "CREATE UNIQUE INDEX a ON cipher_store (key); CREATE UNIQUE INDEX b ON cipher_store (key, updated_at); "
        "ALTER TABLE cipher_store REPLICA IDENTITY USING INDEX b; "
        "CREATE PUBLICATION others FOR TABLE cipher_store WHERE (updated_at > '2000-01-01')",
        "ALTER TABLE cipher_store REPLICA IDENTITY USING INDEX a",
    ),
}


@pytest.mark.parametrize(("before", "after"), LATER.values(), ids=LATER)
async def test_what_is_published_later_makes_a_proof_due(runs: Runs, before: str, after: str) -> None:
    await runs.ready()
    runs.sql(before, runs.database)
    await runs.run()
    assert runs.says() == ("True", "Ready"), runs.message()
    runs.sql(after, runs.database)
    await runs.run()
    assert runs.says() == ("False", "SchemaConflict")
    assert "replica identity" in runs.message()


async def test_a_publication_of_all_tables_is_healed_when_it_comes(runs: Runs) -> None:
    await runs.ready()
    runs.sql("ALTER TABLE cipher_store REPLICA IDENTITY NOTHING", runs.database)
    await runs.run()
    runs.sql("CREATE PUBLICATION others FOR ALL TABLES", runs.database)
    await runs.run()
    assert runs.says() == ("True", "Ready")
    with runs.app() as app:
        app.execute("INSERT INTO cipher_store VALUES ('k', '1', now(), now())")
        app.execute("DELETE FROM cipher_store WHERE key = 'k'")


def dropped_halfway(runs: Runs) -> None:
    runs.sql(f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{runs.database}'")


def says_to_drop(runs: Runs) -> bool:
    return f'DROP DATABASE "{runs.database}"' in runs.message() and "interrupted" in runs.message()


async def test_a_new_storage_for_a_database_whose_drop_was_interrupted(runs: Runs) -> None:
    runs.sql(f"CREATE DATABASE {runs.database}")
    dropped_halfway(runs)
    runs.admin_secret()
    runs.storage()
    await runs.run()
    assert runs.says() == ("False", "DatabaseLost")
    assert says_to_drop(runs), runs.message()
    runs.sql(f"DROP DATABASE {runs.database}")
    await runs.run()
    assert runs.says() == ("True", "Ready"), runs.message()


async def test_the_drop_of_a_storages_database_was_interrupted(runs: Runs) -> None:
    await runs.ready()
    dropped_halfway(runs)
    await runs.run()
    assert runs.says() == ("False", "DatabaseLost")
    assert says_to_drop(runs), runs.message()
    runs.sql(f"DROP DATABASE {runs.database}")
    await runs.run()
    assert runs.says() == ("False", "DatabaseLost")
    assert "does not exist any more" in runs.message()
    runs.ask("recreate")
    await runs.run()
    assert runs.says() == ("True", "Ready"), runs.message()


async def test_the_deletion_of_a_storage_whose_database_is_dropped_halfway(runs: Runs) -> None:
    await runs.ready(deletionPolicy="Delete")
    dropped_halfway(runs)
    runs.api.delete("cipherstorages", "chat")
    await runs.run()
    assert runs.sql(f"SELECT 1 FROM pg_database WHERE datname = '{runs.database}'") == []
    assert runs.sql(f"SELECT 1 FROM pg_roles WHERE rolname ~ '^app_{runs.database}_'") == []
