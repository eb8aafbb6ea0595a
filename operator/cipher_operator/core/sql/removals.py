"""The steps that take away what the operator created: each fenced, none that cascades. One function for each kind."""

from psycopg import sql

from cipher_operator.api.failures import ConditionType
from cipher_operator.core.sql.composing import compose
from cipher_operator.core.sql.step import Kind, Step
from cipher_operator.core.sql.steps import for_future, plural

_DATABASE, _ACCESS, _SCHEMA = (
    ConditionType.DATABASE_READY,
    ConditionType.ACCESS_GRANTED,
    ConditionType.SCHEMA_APPLIED,
)


def close_database(database: str) -> Step:
    """Let nobody new into a database that is about to be dropped."""
    statement = compose("ALTER DATABASE {database} WITH ALLOW_CONNECTIONS false", database=database)
    return Step(Kind.CLOSE_DATABASE, _DATABASE, database, (statement,))


def end_sessions(database: str, login: str | None) -> Step:
    """End the sessions of people and programs in a database: those of one login, as that, or all of them."""
    whose = compose("= {login}", login=sql.Literal(login)) if login is not None else sql.SQL("IS NOT NULL")
    statement = compose(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {database} AND usename {whose} "
        "AND pid <> pg_backend_pid()",
        database=sql.Literal(database),
        whose=whose,
    )
    return Step(Kind.END_SESSIONS, _DATABASE, database, (statement,), login)


def rename_database(database: str, name: str) -> Step:
    """Give a closed database the name that it is dropped by. The server waits some seconds for its last sessions."""
    statement = compose("ALTER DATABASE {database} RENAME TO {name}", database=database, name=name)
    return Step(Kind.RENAME_DATABASE, _DATABASE, database, (statement,))


def drop_database(database: str) -> Step:
    """Drop a database that we created. The server waits some seconds for its last sessions."""
    statement = compose("DROP DATABASE {database}", database=database)
    return Step(Kind.DROP_DATABASE, _DATABASE, database, (statement,), alone=True)


def drop_table(schema: str, table: str, acting: str | None = None) -> Step:
    """Drop one of Cipher's tables; never what depends on it."""
    statement = compose("DROP TABLE {schema}.{table} RESTRICT", schema=schema, table=table)
    return Step(Kind.DROP_TABLE, _SCHEMA, table, (statement,), acting)


def drop_schema(schema: str, acting: str | None = None) -> Step:
    """Drop a schema that we created and that is empty."""
    return Step(Kind.DROP_SCHEMA, _SCHEMA, schema, (compose("DROP SCHEMA {schema} RESTRICT", schema=schema),), acting)


def drop_extension(extension: str) -> Step:
    """Drop an extension that we created; never what depends on it."""
    statement = compose("DROP EXTENSION {extension} RESTRICT", extension=extension)
    return Step(Kind.DROP_EXTENSION, _SCHEMA, extension, (statement,))


def revoke_database(database: str, owner: str, acting: str | None = None) -> Step:
    """Take our grants on a database back, as the role that made them, so that the owner role can be dropped."""
    statement = compose("REVOKE ALL ON DATABASE {database} FROM {owner}", database=database, owner=owner)
    return Step(Kind.REVOKE_DATABASE, _ACCESS, database, (statement,), acting)


def revoke_schema(schema: str, owner: str, acting: str | None = None) -> Step:
    """The same for a schema."""
    statement = compose("REVOKE ALL ON SCHEMA {schema} FROM {owner}", schema=schema, owner=owner)
    return Step(Kind.REVOKE_SCHEMA, _ACCESS, schema, (statement,), acting)


def revoke_future(schema: str, kind: str, admin: str, owner: str) -> Step:
    """The same for what the admin will make in a schema. `kind` is 'r' or 'S'."""
    change = compose("REVOKE ALL ON {kind} FROM {owner}", kind=plural(kind), owner=owner)
    return Step(Kind.REVOKE_FUTURE, _ACCESS, schema, (for_future(schema, admin, change),))


def drop_role(role: str) -> Step:
    """Drop a role that we created."""
    return Step(Kind.DROP_ROLE, _ACCESS, role, (compose("DROP ROLE {role}", role=role),))
