"""The steps that make something, or bring it back to what it shall be: one function for each kind."""

from functools import cache

from psycopg import sql

from cipher_operator.api.failures import ConditionType
from cipher_operator.core.connection.password import Password
from cipher_operator.core.schema import Column, Index, Table
from cipher_operator.core.sql.composing import PasswordOf, compose, identifiers, number
from cipher_operator.core.sql.step import Change, Kind, Step

_DATABASE, _ACCESS, _SCHEMA = (
    ConditionType.DATABASE_READY,
    ConditionType.ACCESS_GRANTED,
    ConditionType.SCHEMA_APPLIED,
)


def create_owner(owner: str) -> Step:
    """Create the NOLOGIN role that owns Cipher's relations; its marker is written in the same message."""
    return Step(Kind.CREATE_OWNER, _ACCESS, owner, (compose("CREATE ROLE {owner} NOLOGIN", owner=owner),))


def write_marker(owner: str, text: str) -> Step:
    """Bring the marker up to date. Fenced."""
    return Step(Kind.WRITE_MARKER, _ACCESS, owner, (_comment(owner, text),))


def write_table_marker(schema: str, table: str, text: str) -> Step:
    """Shared mode: the marker stands on each table of ours."""
    statement = compose(
        "COMMENT ON TABLE {schema}.{table} IS {text}", schema=schema, table=table, text=sql.Literal(text)
    )
    return Step(Kind.WRITE_TABLE_MARKER, _SCHEMA, table, (statement,))


def release_tables(owner: str, standing: str, text: str) -> Step:
    """Take its tables off the marker of the former owner, in the message that takes them over: a deletion or any
    other message of that one, planned before, then fails at its fence. Fenced itself, by what stood there."""
    return Step(Kind.RELEASE_TABLES, _SCHEMA, owner, (unchanged(owner, standing), _comment(owner, text)))


def join_role(role: str, member: str, modern: bool, *, keep: bool = False) -> Step:
    """Make a role a member of another, so that it can use what that one owns. Since PostgreSQL 16 a membership says
    itself whether it is usable (release notes, GRANT). `keep`: with the ADMIN option, so that the member still manages
    the role after an upgrade to 16, which takes that option, and which pg_upgrade takes along."""
    options = sql.SQL(" WITH INHERIT TRUE, SET TRUE" if modern else " WITH ADMIN OPTION" if keep else "")
    statement = compose("GRANT {role} TO {member}{options}", role=role, member=member, options=options)
    return Step(Kind.JOIN_ROLE, _ACCESS, role, (statement,))


def create_login(login: str, owner: str, password: Password, connection_limit: int) -> Step:
    """Create a login that acts as the owner role."""
    create = compose(
        "CREATE ROLE {login} LOGIN PASSWORD {password} CONNECTION LIMIT {limit} IN ROLE {owner}",
        login=login,
        password=PasswordOf(login, password),
        limit=number(connection_limit),
        owner=owner,
    )
    return Step(Kind.CREATE_LOGIN, _ACCESS, login, (create, *set_acting_role(login, owner).statements))


def set_password(login: str, password: Password) -> Step:
    """Set a login's password and let it log in. Fenced."""
    statement = compose(
        "ALTER ROLE {login} LOGIN PASSWORD {password}", login=login, password=PasswordOf(login, password)
    )
    return Step(Kind.SET_PASSWORD, _ACCESS, login, (statement,))


def disable_login(login: str) -> Step:
    """End a login's password; its open sessions go on. Fenced."""
    return Step(Kind.DISABLE_LOGIN, _ACCESS, login, (compose("ALTER ROLE {login} NOLOGIN PASSWORD NULL", login=login),))


def alter_login(login: str, connection_limit: int) -> Step:
    """Restore LOGIN, the connection limit and a password that does not expire."""
    statement = compose(
        "ALTER ROLE {login} LOGIN CONNECTION LIMIT {limit} VALID UNTIL 'infinity'",
        login=login,
        limit=number(connection_limit),
    )
    return Step(Kind.ALTER_LOGIN, _ACCESS, login, (statement,))


def inherit_roles(login: str) -> Step:
    """Let an adopted login use what the roles it is a member of may do; since 16 the membership says so itself."""
    return Step(Kind.INHERIT_ROLES, _ACCESS, login, (compose("ALTER ROLE {login} INHERIT", login=login),))


def set_acting_role(login: str, owner: str) -> Step:
    """Let everything a login makes belong to the owner role."""
    statement = compose("ALTER ROLE {login} SET role = {owner}", login=login, owner=sql.Literal(owner))
    return Step(Kind.SET_ACTING_ROLE, _ACCESS, login, (statement,))


def reset_setting(login: str, setting: str, database: str | None) -> Step:
    """Take back a role setting that would shadow ours."""
    place = sql.SQL("") if database is None else compose(" IN DATABASE {database}", database=database)
    statement = compose("ALTER ROLE {login}{place} RESET {setting}", login=login, place=place, setting=setting)
    return Step(Kind.RESET_SETTING, _ACCESS, login, (statement,))


def set_search_path(login: str, database: str, path: tuple[str, ...]) -> Step:
    """Point a login at Cipher's schema in this database."""
    statement = compose(
        "ALTER ROLE {login} IN DATABASE {database} SET search_path = {path}",
        login=login,
        database=database,
        path=identifiers(path),
    )
    return Step(Kind.SET_SEARCH_PATH, _ACCESS, login, (statement,))


def create_database(database: str, admin: str, provider: bool, limit: int = -1) -> Step:
    """Create the database, owned by the admin, from template0 with collation C.

    template0 needs no lock on template1; collation C lets `LIKE 'prefix%'` use the primary key. LOCALE_PROVIDER
    exists since PostgreSQL 15 and keeps clusters made with ICU at libc (CREATE DATABASE in the manual). `limit` is
    a birthmark, lifted in the next message.
    """
    statement = compose(
        "CREATE DATABASE {database} OWNER {admin} TEMPLATE template0 ENCODING 'UTF8'{provider}"
        " LC_COLLATE 'C' LC_CTYPE 'C'{limit}",
        database=database,
        admin=admin,
        provider=sql.SQL(" LOCALE_PROVIDER libc" if provider else ""),
        limit=sql.SQL("") if limit < 0 else sql.SQL(" CONNECTION LIMIT ") + number(limit),
    )
    return Step(Kind.CREATE_DATABASE, _DATABASE, database, (statement,), alone=True)


def lift_limit(database: str) -> Step:
    """Take the birthmark off a database that we created: from here on the grants tell."""
    statement = compose("ALTER DATABASE {database} CONNECTION LIMIT -1", database=database)
    return Step(Kind.LIFT_LIMIT, _DATABASE, database, (statement,))


def grant_database(database: str, owner: str, acting: str | None = None) -> Step:
    """Give the owner role everything on the database; `acting` as a role that may, where the session itself may not."""
    statement = compose("GRANT ALL ON DATABASE {database} TO {owner}", database=database, owner=owner)
    return Step(Kind.GRANT_DATABASE, _ACCESS, database, (statement,), acting)


def revoke_public(database: str) -> Step:
    """Close a database that we created to everybody else."""
    statement = compose("REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC", database=database)
    return Step(Kind.REVOKE_PUBLIC, _ACCESS, database, (statement,))


def create_schema(schema: str, owner: str, acting: str | None = None) -> Step:
    """Create the schema, owned by the owner role; `acting` as that role, where only it may create in the database."""
    statement = compose("CREATE SCHEMA {schema} AUTHORIZATION {owner}", schema=schema, owner=owner)
    return Step(Kind.CREATE_SCHEMA, _SCHEMA, schema, (statement,), acting)


def grant_schema(schema: str, owner: str, acting: str | None = None) -> Step:
    """Let the owner role use the schema and create in it: Cipher creates at every start; `acting` as above."""
    statement = compose("GRANT USAGE, CREATE ON SCHEMA {schema} TO {owner}", schema=schema, owner=owner)
    return Step(Kind.GRANT_SCHEMA, _ACCESS, schema, (statement,), acting)


def grant_relations(schema: str, kind: str, names: tuple[str, ...], owner: str, acting: str | None = None) -> Step:
    """Give the owner role everything on what the admin made in a database of ours, or on its own tables; `acting` as
    their owner. `kind` is TABLE or SEQUENCE."""
    statement = compose(
        "GRANT ALL ON {kind} {relations} TO {owner}",
        kind=sql.SQL("SEQUENCE" if kind == "SEQUENCE" else "TABLE"),
        relations=sql.SQL(", ").join(compose("{schema}.{name}", schema=schema, name=name) for name in names),
        owner=owner,
    )
    return Step(Kind.GRANT_RELATIONS, _ACCESS, schema, (statement,), acting)


def grant_future(schema: str, kind: str, admin: str, owner: str) -> Step:
    """The same for what the admin will make there. `kind` is 'r' or 'S'."""
    change = compose("GRANT ALL ON {kind} TO {owner}", kind=plural(kind), owner=owner)
    return Step(Kind.GRANT_FUTURE, _ACCESS, schema, (for_future(schema, admin, change),))


def create_table(schema: str, table: Table, owner: str) -> Step:
    """Create one of Cipher's tables as the owner role, so that no default privileges of the admin apply."""
    statement = compose("CREATE TABLE {schema}.{table} ({body})", schema=schema, table=table.name, body=_body(table))
    return Step(Kind.CREATE_TABLE, _SCHEMA, table.name, (statement,), owner)


def create_index(schema: str, index: Index, owner: str) -> Step:
    """Create one of Cipher's indexes, on a table where that takes no time, as the owner role."""
    return Step(Kind.CREATE_INDEX, _SCHEMA, index.name, (_create_index(schema, index, concurrently=False),), owner)


def build_index(schema: str, index: Index, invalid: bool) -> Step:
    """Build one of Cipher's indexes on a large table, so that writers never wait; where it is `invalid`, as an
    interrupted build leaves it, anew. REINDEX CONCURRENTLY would leave one more each time it is interrupted itself."""
    valid = compose(
        "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = {schema} AND c.relname = {index} AND i.indisvalid)",
        schema=sql.Literal(schema),
        index=sql.Literal(index.name),
    )
    drop = compose("DROP INDEX CONCURRENTLY {schema}.{index}", schema=schema, index=index.name)
    statements = (*([drop] if invalid else []), _create_index(schema, index, concurrently=True))
    return Step(Kind.BUILD_INDEX, _SCHEMA, index.name, statements, alone=True, guard=valid)


def set_table_owner(schema: str, table: str, owner: str, acting: str | None = None) -> Step:
    """Give a table (and with it its indexes) to the owner role. Fenced."""
    statement = compose("ALTER TABLE {schema}.{table} OWNER TO {owner}", schema=schema, table=table, owner=owner)
    return Step(Kind.SET_TABLE_OWNER, _SCHEMA, table, (statement,), acting)


def mend_table(schema: str, table: str, column: str | None, change: Change, owner: str) -> Step:
    """Make one change to a table, or to a column of it, as its owner."""
    what = sql.SQL("") if column is None else compose("ALTER COLUMN {column} ", column=column)
    statement = compose(
        "ALTER TABLE {schema}.{table} {what}{change}",
        schema=schema,
        table=table,
        what=what,
        change=sql.SQL(change.value),
    )
    return Step(Kind.MEND_TABLE, _SCHEMA, table, (statement,), acting=owner)


def create_extension_schema(schema: str) -> Step:
    """Create a schema of the admin's own, which nobody else can write."""
    return Step(Kind.CREATE_EXTENSION_SCHEMA, _SCHEMA, schema, (compose("CREATE SCHEMA {schema}", schema=schema),))


def create_extension(extension: str, schema: str) -> Step:
    """Create an extension in a schema that the tenant cannot write."""
    statement = compose("CREATE EXTENSION {extension} SCHEMA {schema}", extension=extension, schema=schema)
    return Step(Kind.CREATE_EXTENSION, _SCHEMA, extension, (statement,))


def grant_usage(schema: str, owner: str) -> Step:
    """Let the owner role use an extension's schema."""
    statement = compose("GRANT USAGE ON SCHEMA {schema} TO {owner}", schema=schema, owner=owner)
    return Step(Kind.GRANT_USAGE, _SCHEMA, schema, (statement,))


def unchanged(role: str, comment: str) -> sql.Composed:
    """Return what aborts its message with a division by zero unless the role's comment is still this one."""
    return compose(
        "SELECT 1 / (COALESCE((SELECT left(shobj_description(r.oid, 'pg_authid'), 4096) FROM pg_roles r "
        "WHERE r.rolname = {role}), '') = {comment})::int",
        role=sql.Literal(role),
        comment=sql.Literal(comment),
    )


def for_future(schema: str, admin: str, change: sql.Composed) -> sql.Composed:
    """Return a GRANT or REVOKE for what the admin will make in a schema (ALTER DEFAULT PRIVILEGES in the manual)."""
    return compose(
        "ALTER DEFAULT PRIVILEGES FOR ROLE {admin} IN SCHEMA {schema} {change}",
        admin=admin,
        schema=schema,
        change=change,
    )


def plural(kind: str) -> sql.SQL:
    """Return the word of ALTER DEFAULT PRIVILEGES for relations of kind 'r' or 'S'."""
    return sql.SQL("SEQUENCES" if kind == "S" else "TABLES")


def _comment(role: str, text: str) -> sql.Composed:
    return compose("COMMENT ON ROLE {role} IS {text}", role=role, text=sql.Literal(text))


def _create_index(schema: str, index: Index, *, concurrently: bool) -> sql.Composed:
    return compose(
        "CREATE INDEX{how} {index} ON {schema}.{table} USING btree ({columns})",
        how=sql.SQL(" CONCURRENTLY" if concurrently else ""),
        index=index.name,
        schema=schema,
        table=index.table,
        columns=identifiers(index.columns),
    )


@cache
def _body(table: Table) -> sql.Composed:
    """Return the columns and the key of one of Cipher's tables."""
    key = compose("PRIMARY KEY ({key})", key=identifiers(table.primary_key))
    return sql.SQL(", ").join([*map(_column, table.columns), key])


def _column(column: Column) -> sql.Composed:
    null = " NOT NULL" if column.not_null else ""
    default = f" DEFAULT {column.default}" if column.default is not None else ""
    rest = sql.SQL(f"{column.type}{null}{default}")
    return compose("{name} {rest}", name=column.name, rest=rest)
