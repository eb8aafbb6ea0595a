"""Publications of others on Cipher's tables: what stops its UPDATE and DELETE is healed or refused, the rest works.

Logical Replication, "Replica Identity", "Row Filters" and "Column Lists" in PostgreSQL's manual.
"""

from collections.abc import Iterator

import pytest

from cipher_operator.api.reasons import Reason
from support.fitness import MAJORS, Break, Healed, Refused, Servers, Works, damage, judge, majors_of, one_at_a_time
from support.provision import desired, plain_admin

IDENTITY = Healed("REPLICA IDENTITY DEFAULT")
NOTHING = "ALTER TABLE cipher_store REPLICA IDENTITY NOTHING"
BY_INDEX = (
    "CREATE UNIQUE INDEX told_apart ON cipher_store (key)",
    "ALTER TABLE cipher_store REPLICA IDENTITY USING INDEX told_apart",
)
FOR_TABLE, FOR_ALL = "CREATE PUBLICATION others FOR TABLE cipher_store", "CREATE PUBLICATION others FOR ALL TABLES"
FOR_SCHEMA = "CREATE PUBLICATION others FOR TABLES IN SCHEMA {schema}"
DEFERRABLE = "ALTER TABLE cipher_lists DROP CONSTRAINT cipher_lists_pkey, ADD PRIMARY KEY (key, position) DEFERRABLE"
WITH_SCHEMAS = (15, 16, 18)


def conflict(*words: str) -> Refused:
    return Refused(Reason.SCHEMA_CONFLICT, words)


PUBLICATIONS = {
    # The primary key tells rows apart, whoever publishes them.
    "table": Break((FOR_TABLE,), Works(), MAJORS),
    "all-tables": Break((FOR_ALL,), Works(), MAJORS),
    "schema": Break((FOR_SCHEMA,), Works(), WITH_SCHEMAS),
    # None at all: only with a publication that asks for one does that harm.
    "nothing-unpublished": Break((NOTHING,), Works(), (13, 18)),
    "nothing-inserts-alone": Break((NOTHING, f"{FOR_ALL} WITH (publish = 'insert, truncate')"), Works(), (13, 18)),
    "nothing-table": Break((NOTHING, FOR_TABLE), IDENTITY, MAJORS),
    "nothing-all-tables": Break((NOTHING, FOR_ALL), IDENTITY, MAJORS),
    "nothing-deletes-alone": Break((NOTHING, f"{FOR_ALL} WITH (publish = 'delete')"), IDENTITY),
    "nothing-schema": Break((NOTHING, FOR_SCHEMA), IDENTITY, WITH_SCHEMAS),
    "nothing-another-schema": Break(
        (NOTHING, "CREATE SCHEMA aside", "CREATE PUBLICATION others FOR TABLES IN SCHEMA aside"), Works(), (16,)
    ),
    "index": Break((*BY_INDEX, FOR_ALL), Works(), (13, 18)),
    "index-dropped": Break((*BY_INDEX, "DROP INDEX told_apart", FOR_ALL), IDENTITY, (13, 18)),
    "key-deferrable": Break(
        (DEFERRABLE, "CREATE PUBLICATION others FOR TABLE cipher_lists"),
        conflict("'cipher_lists'", "DEFERRABLE", "publication 'others'", "ADD PRIMARY KEY"),
        MAJORS,
    ),
    "key-deferrable-all-tables": Break((DEFERRABLE, FOR_ALL), conflict("DEFERRABLE", "publication 'others'")),
    "full": Break(("ALTER TABLE cipher_store REPLICA IDENTITY FULL", FOR_ALL), Works(), (13, 18)),
    # What is published of a row must have its identity.
    "some-columns": Break((f"{FOR_TABLE} (key, value)",), Works(), WITH_SCHEMAS),
    "some-columns-without-the-key": Break((f"{FOR_TABLE} (value)",), conflict("replica identity"), WITH_SCHEMAS),
    "some-columns-full": Break(
        ("ALTER TABLE cipher_store REPLICA IDENTITY FULL", f"{FOR_TABLE} (key)"),
        conflict("replica identity"),
        WITH_SCHEMAS,
    ),
    "some-rows-by-key": Break((f"{FOR_TABLE} WHERE (key <> '')",), Works(), WITH_SCHEMAS),
    "some-rows-by-value": Break((f"{FOR_TABLE} WHERE (value <> '')",), conflict("replica identity"), WITH_SCHEMAS),
    "some-rows-by-value-inserts-alone": Break(
        (f"{FOR_TABLE} WHERE (value <> '') WITH (publish = 'insert')",), Works(), WITH_SCHEMAS
    ),
    "generated-column-full": Break(
        (
            "ALTER TABLE cipher_store ADD length int GENERATED ALWAYS AS (length(value)) STORED",
            "ALTER TABLE cipher_store REPLICA IDENTITY FULL",
            FOR_TABLE,
        ),
        conflict("Replica identity", "generated"),
        (18,),
    ),
}


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    yield from one_at_a_time()


_names = iter(range(10_000))


@pytest.mark.parametrize(("major", "name"), majors_of(PUBLICATIONS))
async def test_what_others_publish(servers: Servers, major: int, name: str) -> None:
    server, row = servers.get(major), PUBLICATIONS[name]
    admin, wanted = plain_admin(server, f"cloud_admin_{next(_names)}"), desired(f"t{next(_names)}")
    await admin.provision(wanted)
    damage(server, admin, wanted, row.sql)
    await judge(admin, wanted, row.then)
