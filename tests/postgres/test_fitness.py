"""Ready is never true while Cipher cannot work: what others can do to its tables, each on a real server."""

from collections.abc import Iterator

import pytest

from cipher_operator.api.reasons import Reason
from devcluster import PostgresServer
from support.fitness import (
    MAJORS,
    Break,
    Healed,
    Refused,
    Servers,
    Warned,
    Works,
    damage,
    judge,
    majors_of,
    one_at_a_time,
)
from support.provision import Provisioner, desired, plain_admin

CONFLICT = Reason.SCHEMA_CONFLICT
LARGE = "UPDATE pg_class SET relpages = 20000, reltuples = 900000 WHERE oid = '{schema}.cipher_store'::regclass"


def conflict(*words: str, cautious: bool = False) -> Refused:
    return Refused(CONFLICT, words, cautious)


def function(body: str, name: str = "others", returns: str = "trigger") -> str:
    return f"CREATE FUNCTION {name}() RETURNS {returns} LANGUAGE plpgsql AS $$ BEGIN {body} END $$"


def trigger(when: str, table: str = "cipher_store") -> str:
    return f"CREATE TRIGGER audit {when} ON {table} FOR EACH ROW EXECUTE FUNCTION others()"


AS_PARTITIONS = (
    "DROP TABLE cipher_lists",
    "CREATE TABLE cipher_lists (key text NOT NULL, value text NOT NULL, position integer NOT NULL, "
    "created_at timestamptz NOT NULL, PRIMARY KEY (key, position)) PARTITION BY {how}",
    'ALTER TABLE cipher_lists OWNER TO "{owner}"',
    "CREATE INDEX idx_cipher_lists_key ON cipher_lists (key)",
    "CREATE INDEX idx_cipher_lists_created_at ON cipher_lists (created_at)",
)


def partitioned(how: str, *parts: str) -> tuple[str, ...]:
    made = (f"CREATE TABLE part_{n} PARTITION OF cipher_lists {part}" for n, part in enumerate(parts))
    return (*(statement.replace("{how}", how) for statement in AS_PARTITIONS), *made)


TABLES = {
    # How the rows are kept.
    "unlogged-table": Break(("ALTER TABLE cipher_store SET UNLOGGED",), Healed("SET LOGGED"), MAJORS),
    "unlogged-large-table": Break(
        ("ALTER TABLE cipher_store SET UNLOGGED", LARGE),
        Warned(("'cipher_store' is UNLOGGED", 'ALTER TABLE "public"."cipher_store" SET LOGGED')),
    ),
    "partitioned-with-default": Break(partitioned("LIST (key)", "DEFAULT"), Works(), (13, 16, 18)),
    "partitioned-by-hash": Break(
        partitioned("HASH (key)", *(f"FOR VALUES WITH (MODULUS 3, REMAINDER {n})" for n in range(3))),
        Works(),
        (13, 16, 18),
    ),
    "partitioned-by-hash-with-a-gap": Break(
        partitioned("HASH (key)", *(f"FOR VALUES WITH (MODULUS 3, REMAINDER {n})" for n in range(2))),
        conflict("'cipher_lists'", "no partition", cautious=True),
        (13, 16, 18),
    ),
    "partitioned-without-default": Break(
        partitioned("LIST (key)", "FOR VALUES IN ('a')"), conflict("'cipher_lists'", "DEFAULT partition"), (13, 16)
    ),
    "partitions-of-a-partition-with-a-gap": Break(
        (
            *partitioned("LIST (key)", "DEFAULT PARTITION BY HASH (key)"),
            "CREATE TABLE part_of_part PARTITION OF part_0 FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        ),
        conflict("'cipher_lists'", "no partition", cautious=True),
        (13, 16, 18),
    ),
    "partitions-of-a-partition-without-a-gap": Break(
        (
            *partitioned("HASH (key)", "FOR VALUES WITH (MODULUS 1, REMAINDER 0) PARTITION BY LIST (key)"),
            "CREATE TABLE part_of_part PARTITION OF part_0 DEFAULT",
        ),
        Works(),
        (13, 16, 18),
    ),
    "partition-unlogged": Break(
        (*partitioned("LIST (key)", "DEFAULT"), "ALTER TABLE part_0 SET UNLOGGED"),
        Warned(("'part_0'", "UNLOGGED")),
    ),
    "index-that-no-partition-has": Break(
        (
            *partitioned("LIST (key)", "DEFAULT"),
            "DROP INDEX idx_cipher_lists_key",
            "CREATE INDEX idx_cipher_lists_key ON ONLY cipher_lists (key)",
        ),
        Warned(
            ("'idx_cipher_lists_key'", "not on all of its partitions", 'DROP INDEX "public"."idx_cipher_lists_key"')
        ),
        (13, 16, 18),
    ),
    "primary-key-that-no-partition-has": Break(
        (
            *partitioned("LIST (key)"),
            "ALTER TABLE cipher_lists DROP CONSTRAINT cipher_lists_pkey",
            "CREATE TABLE part_0 PARTITION OF cipher_lists DEFAULT",
            "ALTER TABLE ONLY cipher_lists ADD PRIMARY KEY (key, position)",
        ),
        conflict("primary key is not on all of its partitions", "ATTACH PARTITION", cautious=True),
        (13, 18),
    ),
    "partition-without-room-for-long-text": Break(
        (
            *partitioned("LIST (key)", "DEFAULT"),
            'ALTER TABLE part_0 OWNER TO "{owner}"',
            "ALTER TABLE part_0 ALTER value SET STORAGE PLAIN",
        ),
        Healed("SET STORAGE EXTENDED"),
        (13, 16, 18),
    ),
    "partition-of-another-table": Break(
        (
            "CREATE TABLE everything (LIKE cipher_store INCLUDING ALL) PARTITION BY LIST (key)",
            "ALTER TABLE everything ATTACH PARTITION cipher_store FOR VALUES IN ('only this')",
        ),
        conflict("'cipher_store'", "is a partition"),
    ),
    "child-table": Break(
        ("CREATE TABLE heir () INHERITS (cipher_store)",), Warned(("'cipher_store'", "inherited by 'heir'"))
    ),
    "index-of-that-name": Break(
        ("ALTER TABLE cipher_store RENAME TO before", "CREATE INDEX cipher_store ON before (updated_at)"),
        conflict("'cipher_store'", "it is an index, must be a table"),
    ),
    "type-of-that-name": Break(
        (
            "ALTER TABLE cipher_list_metadata RENAME TO before",
            "CREATE TYPE cipher_list_metadata AS ENUM ('a')",
        ),
        conflict("'cipher_list_metadata'", "a type has it", 'ALTER TYPE "public"."cipher_list_metadata" RENAME'),
        (13, 18),
    ),
    "domain-of-that-name": Break(
        ("ALTER TABLE cipher_store RENAME TO before", "CREATE DOMAIN cipher_store AS text"),
        conflict("'cipher_store'", "a type has it"),
    ),
    # Columns.
    "not-null-lost": Break(("ALTER TABLE cipher_store ALTER value DROP NOT NULL",), Healed("SET NOT NULL"), MAJORS),
    "not-null-lost-in-two-columns": Break(
        ("ALTER TABLE cipher_lists ALTER value DROP NOT NULL, ALTER created_at DROP NOT NULL",),
        Healed("SET NOT NULL"),
    ),
    "not-null-lost-and-rows-are-null": Break(
        (
            "ALTER TABLE cipher_store ALTER value DROP NOT NULL",
            "INSERT INTO cipher_store VALUES ('old', NULL, now(), now())",
        ),
        Warned(("'value'", "'cipher_store'", "NULL", 'ALTER TABLE "public"."cipher_store"')),
        MAJORS,
    ),
    "not-null-lost-in-a-large-table": Break(
        ("ALTER TABLE cipher_store ALTER value DROP NOT NULL", LARGE),
        Warned(("'value'", "NOT VALID", "SET NOT NULL")),
    ),
    "default-lost": Break(
        ("ALTER TABLE cipher_list_metadata ALTER count DROP DEFAULT",), Healed("SET DEFAULT 0"), MAJORS
    ),
    "several-lost": Break(
        (
            "ALTER TABLE cipher_list_metadata ALTER count DROP DEFAULT, ALTER count DROP NOT NULL",
            "ALTER TABLE cipher_lists SET UNLOGGED",
            "ALTER TABLE cipher_store ALTER value SET STORAGE PLAIN",
        ),
        Healed("SET LOGGED"),
        (13, 18),
    ),
    "storage-plain": Break(
        ("ALTER TABLE cipher_store ALTER value SET STORAGE PLAIN",), Healed("SET STORAGE EXTENDED"), MAJORS
    ),
    "storage-external": Break(("ALTER TABLE cipher_store ALTER value SET STORAGE EXTERNAL",), Works()),
    "extra-column": Break(("ALTER TABLE cipher_store ADD note text",), Works()),
    "extra-column-not-null": Break(
        ("ALTER TABLE cipher_store ADD note text NOT NULL",), conflict("'note'", "NOT NULL without a default")
    ),
    "extra-column-of-a-domain-not-null": Break(
        ("CREATE DOMAIN filled AS text NOT NULL", "ALTER TABLE cipher_store ADD note filled"),
        conflict("does not allow null"),
        (13, 16, 18),
    ),
    "extra-column-whose-default-fails": Break(
        ("CREATE SEQUENCE others", "ALTER TABLE cipher_store ADD n bigint DEFAULT nextval('others')"),
        Refused(Reason.ACCESS_DENIED, ("permission denied for sequence others",)),
    ),
    "extra-column-generated-from-json": Break(
        ("ALTER TABLE cipher_store ADD parsed jsonb GENERATED ALWAYS AS (value::jsonb) STORED",), Works()
    ),
    "generated-column": Break(
        (
            "ALTER TABLE cipher_store DROP value",
            "ALTER TABLE cipher_store ADD value text GENERATED ALWAYS AS (key || '!') STORED NOT NULL",
        ),
        conflict("'value'", "GENERATED"),
        (13, 16, 18),
    ),
    "generated-column-that-is-not-stored": Break(
        (
            "ALTER TABLE cipher_store DROP value",
            "ALTER TABLE cipher_store ADD value text GENERATED ALWAYS AS (key || '!') VIRTUAL",
        ),
        conflict("'value'", "GENERATED", 'DROP COLUMN "value", ADD COLUMN "value" text'),
        (18,),
    ),
    "identity-always": Break(
        ("ALTER TABLE cipher_lists ALTER position ADD GENERATED ALWAYS AS IDENTITY",),
        conflict("'position'", "GENERATED", "DROP IDENTITY"),
        (13, 16),
    ),
    "identity-by-default": Break(
        ("ALTER TABLE cipher_lists ALTER position ADD GENERATED BY DEFAULT AS IDENTITY",), Works()
    ),
    "varchar": Break(
        ("ALTER TABLE cipher_store ALTER value TYPE varchar(100)",),
        conflict("'value'", "character varying(100)", "must be text"),
    ),
    "domain": Break(
        (
            "CREATE DOMAIN short AS text CHECK (length(VALUE) < 9)",
            "ALTER TABLE cipher_store ALTER value TYPE short",
        ),
        conflict("'value'", "must be text"),
    ),
    "collation-nondeterministic": Break(
        (
            "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
            "ALTER TABLE cipher_store ALTER key TYPE text COLLATE nocase",
        ),
        conflict("'key'", "nondeterministic"),
        (13, 15),
    ),
    # Constraints.
    "check-that-holds": Break(
        ("ALTER TABLE cipher_store ADD CONSTRAINT sane CHECK (length(value) < 100000000)",),
        Warned(("'cipher_store'", "constraint 'sane'")),
    ),
    "check-on-length": Break(
        ("ALTER TABLE cipher_store ADD CONSTRAINT small CHECK (length(value) < 100)",),
        conflict("cipher_store", "small"),
        MAJORS,
    ),
    "check-not-valid": Break(
        ("ALTER TABLE cipher_lists ADD CONSTRAINT plain CHECK (value !~ '[^[:ascii:]]') NOT VALID",),
        conflict("cipher_lists", "plain"),
    ),
    "unique-on-value": Break(
        ("ALTER TABLE cipher_lists ADD CONSTRAINT once UNIQUE (created_at)",),
        conflict("'cipher_lists'", "unique index 'once'", "DROP CONSTRAINT", cautious=True),
        (13, 16),
    ),
    "unique-index-on-key-of-lists": Break(
        ("CREATE UNIQUE INDEX once ON cipher_lists (key)",), conflict("unique index 'once'", "DROP INDEX"), (13, 16)
    ),
    "unique-expression": Break(
        ("CREATE UNIQUE INDEX once ON cipher_store (md5(value))",), conflict("unique index 'once'")
    ),
    "unique-in-an-extra-column": Break(("ALTER TABLE cipher_store ADD number int UNIQUE",), Works(), (13, 18)),
    "unique-in-an-extra-column-also-without-a-value": Break(
        ("ALTER TABLE cipher_store ADD number int, ADD CONSTRAINT once UNIQUE NULLS NOT DISTINCT (number)",),
        conflict("unique index 'once'", "DROP CONSTRAINT"),
        (15, 18),
    ),
    "unique-in-an-extra-column-with-a-default": Break(
        ("ALTER TABLE cipher_lists ADD number int DEFAULT 1 CONSTRAINT once UNIQUE",),
        conflict("unique index 'once'", "DROP CONSTRAINT"),
        (13, 18),
    ),
    "unique-that-the-key-implies": Break(
        ("CREATE UNIQUE INDEX again ON cipher_lists (position, key)",), Works(), (13, 16)
    ),
    "unique-for-some-rows": Break(
        ("CREATE UNIQUE INDEX somewhere ON cipher_store (updated_at) WHERE key LIKE 'elsewhere:%'",),
        Warned(("unique index 'somewhere'",)),
    ),
    "index-on-value": Break(
        ("CREATE INDEX find ON cipher_store (value)",), conflict("index row size", '"find"'), MAJORS
    ),
    "hash-index-on-value": Break(("CREATE INDEX find ON cipher_store USING hash (value)",), Works()),
    "exclusion": Break(
        ("ALTER TABLE cipher_store ADD CONSTRAINT apart EXCLUDE USING hash (value WITH =)",),
        conflict("apart"),
    ),
    "foreign-key": Break(
        (
            "CREATE TABLE people (id text PRIMARY KEY)",
            "ALTER TABLE cipher_store ADD CONSTRAINT whose FOREIGN KEY (key) REFERENCES people",
        ),
        conflict("'cipher_store'", "foreign key 'whose'", "DROP CONSTRAINT"),
        (13, 16),
    ),
    "foreign-key-of-an-extra-column": Break(
        (
            "CREATE TABLE people (id text PRIMARY KEY)",
            "ALTER TABLE cipher_store ADD who text CONSTRAINT whose REFERENCES people",
        ),
        Works(),
        (13, 18),
    ),
    "foreign-key-of-an-extra-column-with-a-default": Break(
        (
            "CREATE TABLE people (id text PRIMARY KEY)",
            "ALTER TABLE cipher_store ADD who text DEFAULT 'nobody' CONSTRAINT whose REFERENCES people",
        ),
        conflict("foreign key 'whose'", "DROP CONSTRAINT"),
        (13, 18),
    ),
    "foreign-key-that-is-full": Break(
        (
            "CREATE TABLE people (id text, k text, PRIMARY KEY (id, k))",
            "ALTER TABLE cipher_store ADD who text, "
            "ADD CONSTRAINT whose FOREIGN KEY (who, key) REFERENCES people MATCH FULL",
        ),
        conflict("foreign key 'whose'", "DROP CONSTRAINT"),
        (13, 18),
    ),
    "foreign-key-deferred": Break(
        (
            "ALTER TABLE cipher_lists ADD CONSTRAINT counted FOREIGN KEY (key) REFERENCES cipher_list_metadata "
            "DEFERRABLE INITIALLY DEFERRED",
        ),
        conflict("foreign key 'counted'", cautious=True),
    ),
    "referenced": Break(
        ("CREATE TABLE notes (k text CONSTRAINT about REFERENCES cipher_store)",),
        Warned(("foreign key 'about'", "'notes'")),
        (13, 16),
    ),
    "deferrable-primary-key": Break(
        (
            "ALTER TABLE cipher_store DROP CONSTRAINT cipher_store_pkey, ADD CONSTRAINT late PRIMARY KEY (key) "
            "DEFERRABLE",
        ),
        conflict("'cipher_store'", "primary key", "DEFERRABLE", "ADD PRIMARY KEY"),
        MAJORS,
    ),
    "deferrable-primary-key-without-upsert": Break(
        ("ALTER TABLE cipher_lists DROP CONSTRAINT cipher_lists_pkey, ADD PRIMARY KEY (key, position) DEFERRABLE",),
        Works(),
    ),
    "primary-key-lost": Break(
        ("ALTER TABLE cipher_store DROP CONSTRAINT cipher_store_pkey",), conflict("primary key is missing")
    ),
    # Triggers and rules.
    "trigger": Break(
        (function("RETURN NEW;"), trigger("BEFORE INSERT OR UPDATE")), Warned(("'cipher_store'", "trigger 'audit'"))
    ),
    "trigger-disabled": Break(
        (
            function("RETURN NULL;"),
            trigger("BEFORE INSERT OR UPDATE"),
            "ALTER TABLE cipher_store DISABLE TRIGGER audit",
        ),
        Works(),
    ),
    "trigger-that-swallows": Break(
        (function("RETURN NULL;"), trigger("BEFORE INSERT", "cipher_lists")),
        conflict("cipher_lists", "does not come back", "trigger"),
        (13, 16, 18),
    ),
    "trigger-that-changes": Break(
        (
            function("NEW.value = regexp_replace(NEW.value, '[^[:ascii:]]', '?', 'g'); RETURN NEW;"),
            trigger("BEFORE INSERT OR UPDATE"),
        ),
        conflict("cipher_store", "does not come back"),
    ),
    "trigger-that-keeps-the-old": Break(
        (function("RETURN OLD;"), trigger("BEFORE UPDATE")), conflict("cipher_store", "does not come back")
    ),
    "trigger-that-keeps-the-deleted": Break(
        (function("RETURN NULL;"), trigger("BEFORE DELETE", "cipher_lists")), conflict("cipher_lists", "deleted")
    ),
    "trigger-that-raises": Break(
        (function("RAISE 'not in office hours';"), trigger("AFTER INSERT", "cipher_list_metadata")),
        conflict("not in office hours"),
        (13, 16),
    ),
    "trigger-that-raises-at-commit": Break(
        (
            function("RAISE 'not in office hours';"),
            "CREATE CONSTRAINT TRIGGER audit AFTER INSERT ON cipher_store DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION others()",
        ),
        conflict("not in office hours"),
    ),
    "trigger-into-a-table-that-Cipher-may-not": Break(
        (
            "CREATE TABLE log (k text)",
            "REVOKE ALL ON log FROM PUBLIC",
            function("INSERT INTO log VALUES (NEW.key); RETURN NEW;"),
            trigger("AFTER INSERT"),
        ),
        Refused(Reason.ACCESS_DENIED, ("permission denied for table log",)),
    ),
    "rule-that-swallows": Break(
        ("CREATE RULE none AS ON INSERT TO cipher_lists DO INSTEAD NOTHING",),
        conflict("cipher_lists", "does not come back"),
        (13, 16),
    ),
    "rule-under-an-upsert": Break(
        ("CREATE RULE also AS ON UPDATE TO cipher_store DO ALSO NOTHING",),
        conflict("'cipher_store'", "rule 'also'", "DROP RULE"),
        (13, 16),
    ),
    "rule": Break(
        ("CREATE RULE also AS ON DELETE TO cipher_lists DO ALSO NOTHING",), Warned(("'cipher_lists'", "rule 'also'"))
    ),
    # Who sees rows.
    "row-security": Break(
        ("ALTER TABLE cipher_store ENABLE ROW LEVEL SECURITY", "CREATE POLICY none ON cipher_store USING (false)"),
        Works(),
    ),
    "row-security-forced": Break(
        ("ALTER TABLE cipher_store ENABLE ROW LEVEL SECURITY", "ALTER TABLE cipher_store FORCE ROW LEVEL SECURITY"),
        conflict("'cipher_store'", "row security", "NO FORCE ROW LEVEL SECURITY"),
        MAJORS,
    ),
    "row-security-forced-with-a-policy": Break(
        (
            "ALTER TABLE cipher_store ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE cipher_store FORCE ROW LEVEL SECURITY",
            "CREATE POLICY everything ON cipher_store USING (true)",
        ),
        Warned(("'cipher_store'", "row security", "'everything'")),
    ),
    "row-security-forced-that-hides": Break(
        (
            "ALTER TABLE cipher_store ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE cipher_store FORCE ROW LEVEL SECURITY",
            "CREATE POLICY written ON cipher_store FOR INSERT WITH CHECK (true)",
        ),
        Refused(Reason.ACCESS_DENIED, ("row-level security policy",)),
    ),
    # What runs beside DDL.
    "event-trigger": Break((function("NULL;", returns="event_trigger"),), Works()),
    "event-trigger-that-refuses": Break(
        (
            function("RAISE 'no DDL by hand';", returns="event_trigger"),
            "CREATE EVENT TRIGGER audit ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION others()",
        ),
        conflict("no DDL by hand"),
        (13, 16),
    ),
}


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    yield from one_at_a_time()


_names = iter(range(10_000))


def admin_of(server: PostgresServer) -> Provisioner:
    return plain_admin(server, f"cloud_admin_{next(_names)}")


@pytest.mark.parametrize(("major", "name"), majors_of(TABLES))
async def test_what_others_do_to_the_tables(servers: Servers, major: int, name: str) -> None:
    server, row = servers.get(major), TABLES[name]
    admin, wanted = admin_of(server), desired(f"t{next(_names)}")
    await admin.provision(wanted)
    damage(server, admin, wanted, row.sql)
    await judge(admin, wanted, row.then)
    damage(server, admin, wanted, row.undo)
