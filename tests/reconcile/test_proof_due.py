"""Ready is never true while Cipher cannot work: what only a proof can tell makes one due, at the next check."""

import psycopg
import pytest

from cipher_operator.api.reasons import Reason
from support.cipher_client import NotKept, work_as_cipher
from support.runs import Runs

FUNCTION = "CREATE FUNCTION others() RETURNS {0} LANGUAGE plpgsql AS $$ BEGIN {1} END $$"
IMMUTABLE = (
    "CREATE FUNCTION others(text) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN IF $1 LIKE '%:%' THEN {0} END IF; "
    "RETURN 0; END $$"
)
PARTITIONED = (
    "DROP TABLE cipher_lists; CREATE TABLE cipher_lists (key text, value text NOT NULL, position integer, "
    "created_at timestamptz NOT NULL, PRIMARY KEY (key, position)) PARTITION BY LIST (key); "
    "CREATE TABLE part PARTITION OF cipher_lists DEFAULT; "
    "ALTER TABLE cipher_lists OWNER TO app_{db}_chat_owner; "
    "CREATE INDEX idx_cipher_lists_key ON cipher_lists (key); "
    "CREATE INDEX idx_cipher_lists_created_at ON cipher_lists (created_at); "
)
ONLY_A_PROOF_TELLS = {
    "a trigger": (
        FUNCTION.format("trigger", "RETURN NULL;"),
        "CREATE TRIGGER audit BEFORE INSERT ON cipher_store FOR EACH ROW EXECUTE FUNCTION others()",
        "DROP TRIGGER audit ON cipher_store",
    ),
    "an event trigger": (
        FUNCTION.format("event_trigger", "RAISE 'no DDL by hand';"),
        "CREATE EVENT TRIGGER audit_{db} ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION others()",
        "DROP EVENT TRIGGER audit_{db}",
    ),
    "a CHECK constraint": (
        "SELECT 1",
        "ALTER TABLE cipher_lists ADD CONSTRAINT plain CHECK (value !~ '[^[:ascii:]]')",
        "ALTER TABLE cipher_lists DROP CONSTRAINT plain",
    ),
    "an index": ("SELECT 1", "CREATE INDEX find ON cipher_store (value)", "DROP INDEX find"),
    "a policy": (
        "ALTER TABLE cipher_store ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON cipher_store USING (true); "
        "ALTER TABLE cipher_store FORCE ROW LEVEL SECURITY",
        "CREATE POLICY q ON cipher_store AS RESTRICTIVE FOR SELECT USING (false)",
        "DROP POLICY q ON cipher_store",
    ),
    "a publication": (
        "SELECT 1",
        "CREATE PUBLICATION everything FOR TABLE cipher_store WHERE (value <> '')",
        "DROP PUBLICATION everything",
    ),
    "a trigger's function, written anew": (
        FUNCTION.format("trigger", "RETURN NEW;")
        + "; CREATE TRIGGER audit BEFORE INSERT ON cipher_store FOR EACH ROW EXECUTE FUNCTION others()",
        FUNCTION.format("trigger", "RETURN NULL;").replace("CREATE", "CREATE OR REPLACE"),
        FUNCTION.format("trigger", "RETURN NEW;").replace("CREATE", "CREATE OR REPLACE"),
    ),
    "an event trigger's function, written anew": (
        FUNCTION.format("event_trigger", "NULL;") + "; CREATE EVENT TRIGGER audit_{db} ON ddl_command_start "
        "WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION others()",
        FUNCTION.format("event_trigger", "RAISE 'no DDL by hand';").replace("CREATE", "CREATE OR REPLACE"),
        "DROP EVENT TRIGGER audit_{db}",
    ),
    "a policy, altered": (
        "ALTER TABLE cipher_store ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON cipher_store USING (true); "
        "ALTER TABLE cipher_store FORCE ROW LEVEL SECURITY",
        "ALTER POLICY p ON cipher_store USING (false)",
        "ALTER POLICY p ON cipher_store USING (true)",
    ),
    "a constraint of the same name": (
        "ALTER TABLE cipher_lists ADD CONSTRAINT plain CHECK (value <> 'x')",
        "ALTER TABLE cipher_lists DROP CONSTRAINT plain, ADD CONSTRAINT plain CHECK (value !~ '[^[:ascii:]]')",
        "ALTER TABLE cipher_lists DROP CONSTRAINT plain, ADD CONSTRAINT plain CHECK (value <> 'x')",
    ),
    "an extra column": (
        "CREATE DOMAIN filled AS text NOT NULL",
        "ALTER TABLE cipher_store ADD note filled",
        "ALTER TABLE cipher_store DROP note",
    ),
    "the default of an extra column": (
        "ALTER TABLE cipher_store ADD n int DEFAULT 1",
        "ALTER TABLE cipher_store ALTER n SET DEFAULT 1 / 0",
        "ALTER TABLE cipher_store ALTER n SET DEFAULT 2",
    ),
    "the function of a default, written anew": (
        FUNCTION.format("bigint", "RETURN 1;") + "; ALTER TABLE cipher_lists ADD n bigint DEFAULT others()",
        FUNCTION.format("bigint", "RAISE 'no numbers left';").replace("CREATE", "CREATE OR REPLACE"),
        FUNCTION.format("bigint", "RETURN 2;").replace("CREATE", "CREATE OR REPLACE"),
    ),
    "the right to the sequence of a default": (
        "CREATE SCHEMA others; GRANT USAGE ON SCHEMA others TO PUBLIC; CREATE SEQUENCE others.n; "
        "GRANT USAGE ON SEQUENCE others.n TO PUBLIC; "
        "ALTER TABLE cipher_store ADD n bigint DEFAULT nextval('others.n')",
        "REVOKE USAGE ON SEQUENCE others.n FROM PUBLIC",
        "GRANT USAGE ON SEQUENCE others.n TO PUBLIC",
    ),
    "the domain of an extra column": (
        "CREATE DOMAIN filled AS text; ALTER TABLE cipher_store ADD note filled",
        "ALTER DOMAIN filled ADD CONSTRAINT there CHECK (VALUE IS NOT NULL) NOT VALID",
        "ALTER DOMAIN filled DROP CONSTRAINT there",
    ),
    "the expression of a generated column": (
        "ALTER TABLE cipher_store ADD g text GENERATED ALWAYS AS (upper(value)) STORED",
        "ALTER TABLE cipher_store DROP g, ADD g text GENERATED ALWAYS AS ((value::int)::text) STORED",
        "ALTER TABLE cipher_store DROP g, ADD g text GENERATED ALWAYS AS (upper(value)) STORED",
    ),
    "an index of the same name": (
        "CREATE INDEX find ON cipher_store USING hash (value)",
        "DROP INDEX find; CREATE INDEX find ON cipher_store (value)",
        "DROP INDEX find; CREATE INDEX find ON cipher_store USING hash (value)",
    ),
    "the function of an index, written anew": (
        IMMUTABLE.format("RETURN 1;") + "; CREATE INDEX find ON cipher_store (others(key))",
        IMMUTABLE.format("RAISE 'not that';").replace("CREATE", "CREATE OR REPLACE"),
        IMMUTABLE.format("RETURN 1;").replace("CREATE", "CREATE OR REPLACE"),
    ),
    "the function of a CHECK constraint, written anew": (
        IMMUTABLE.format("RETURN 1;") + "; ALTER TABLE cipher_lists ADD CONSTRAINT one CHECK (others(key) = 1)",
        IMMUTABLE.format("RETURN 2;").replace("CREATE", "CREATE OR REPLACE"),
        IMMUTABLE.format("RETURN 1;").replace("CREATE", "CREATE OR REPLACE"),
    ),
    "the function of a policy, written anew": (
        IMMUTABLE.format("RETURN 1;") + "; CREATE POLICY p ON cipher_store USING (others(key) = 1); "
        "ALTER TABLE cipher_store ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        IMMUTABLE.format("RETURN 2;").replace("CREATE", "CREATE OR REPLACE"),
        IMMUTABLE.format("RETURN 1;").replace("CREATE", "CREATE OR REPLACE"),
    ),
    "a trigger of a partition": (
        PARTITIONED + FUNCTION.format("trigger", "RETURN NULL;"),
        "CREATE TRIGGER audit BEFORE INSERT ON part FOR EACH ROW EXECUTE FUNCTION others()",
        "DROP TRIGGER audit ON part",
    ),
    "a constraint of a partition": (
        PARTITIONED + "SELECT 1",
        "ALTER TABLE part ADD CONSTRAINT plain CHECK (value !~ '[^[:ascii:]]')",
        "ALTER TABLE part DROP CONSTRAINT plain",
    ),
    "an option of a table": (
        "SELECT 1",
        "ALTER TABLE cipher_store SET (user_catalog_table = true)",
        "ALTER TABLE cipher_store RESET (user_catalog_table)",
    ),
    "an event trigger for what replicates, as which the login works": (
        FUNCTION.format("event_trigger", "RAISE 'no DDL by hand';")
        + "; ALTER ROLE app_{db}_chat SET session_replication_role = replica",
        "CREATE EVENT TRIGGER audit_{db} ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION others(); "
        "ALTER EVENT TRIGGER audit_{db} ENABLE REPLICA",
        "DROP EVENT TRIGGER audit_{db}",
    ),
}


async def test_what_is_wrong_with_the_tables_is_said_beside_a_password_that_is_set_again(runs: Runs) -> None:
    # Of a password that is refused nothing is said for a moment: poolers learn late.
    await runs.ready()
    runs.sql("CREATE INDEX find ON cipher_store (value)", runs.database)
    with runs.app() as app:
        login = app.info.user
    runs.sql(f"DROP ROLE {login}")
    await runs.run()
    assert runs.says() == ("False", "SchemaConflict"), runs.message()


@pytest.mark.parametrize("case", list(ONLY_A_PROOF_TELLS))
async def test_what_only_a_proof_can_tell_makes_one_due(runs: Runs, case: str) -> None:
    before, harm, undo = (part.replace("{db}", runs.database) for part in ONLY_A_PROOF_TELLS[case])
    await runs.ready()
    runs.sql(before, runs.database)
    await runs.run()
    assert runs.says() == ("True", "Ready")
    tests = runs.counts.connections["login"]
    await runs.run()
    assert runs.counts.connections["login"] == tests, "nothing has changed, and nothing is tested"
    runs.sql(harm, runs.database)
    await runs.run()
    status, reason = runs.says()
    assert (status, reason in {Reason.SCHEMA_CONFLICT, Reason.ACCESS_DENIED}) == ("False", True), runs.message()
    with runs.app() as app, pytest.raises((psycopg.Error, NotKept)):
        work_as_cipher(app)
    await runs.run()
    assert runs.says()[0] == "False", "a refusal is not forgotten"
    runs.sql(undo, runs.database)
    await runs.run()
    assert runs.says() == ("True", "Ready"), runs.message()
    with runs.app() as app:
        work_as_cipher(app)
