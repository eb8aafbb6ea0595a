"""Admin logins shaped like those of the providers, made on a plain server.

Attributes and memberships as the providers document them for the login that they hand out; what a database of theirs
looks like when the operator comes to it. `{db}` stands for its quoted name.
"""

from dataclasses import dataclass, replace

import psycopg

from cipher_operator.api.spec import SSLMode
from devcluster import PostgresServer
from support.provision import Provisioner, Storage, admin_connection, desired
from support.scram import verifier

PASSWORD = "admin-pw"


@dataclass(frozen=True)
class Shape:
    """One provider's admin. `roles` make it, `existing` makes the database that the provider gives along."""

    name: str
    admin: str
    roles: tuple[str, ...]
    existing: tuple[str, ...]
    schema: str = "public"
    """Where Cipher's tables go in the existing database."""
    database: str | None = None
    """The existing database's name where the provider fixes it."""
    shared: bool = False
    """The admin may create neither roles nor databases."""
    before_15: tuple[str, ...] = ()
    """What the provider does inside the existing database where `public` is not the database owner's by itself."""

    def make(self, server: PostgresServer) -> Provisioner:
        """Make the admin and return the way in through it."""
        for statement in self.roles:
            server.execute(statement)
        server.execute(f"ALTER ROLE {self.admin} PASSWORD '{verifier(PASSWORD, rounds=1)}'")
        mode = SSLMode.REQUIRE if server.tls is not None else SSLMode.DISABLE
        return Provisioner(admin_connection(server, self.admin, PASSWORD, "postgres", mode))

    def give_database(self, server: PostgresServer, name: str) -> None:
        """Make the provider's own database."""
        for statement in self.existing:
            server.execute(statement.format(db=f'"{name}"'))
        if server.installation.major < 15:
            for statement in self.before_15:
                server.execute(statement, database=name)

    def wanted(self, name: str, *, existing: bool) -> Storage:
        """Return a storage in a database of our own, or in the provider's."""
        wanted = desired(name)
        if existing:
            wanted = replace(wanted, schema=self.schema, database=self.database or wanted.database)
        if self.shared:
            wanted = replace(wanted, user=self.admin, shared=True, credential=None, create_database=False)
        return wanted


SHAPES = (
    Shape(
        "superuser",
        "super_admin",
        ("CREATE ROLE super_admin LOGIN SUPERUSER",),
        ("CREATE DATABASE {db}",),
    ),
    Shape(
        "createrole",
        "plain_admin",
        ("CREATE ROLE plain_admin LOGIN CREATEDB CREATEROLE",),
        ("CREATE DATABASE {db} OWNER plain_admin",),
    ),
    Shape(
        "rds",
        "rds_master",
        (
            "CREATE ROLE rds_superuser",
            "GRANT pg_monitor, pg_signal_backend TO rds_superuser WITH ADMIN OPTION",
            "CREATE ROLE rds_master LOGIN CREATEROLE CREATEDB VALID UNTIL 'infinity' IN ROLE rds_superuser",
        ),
        ("CREATE DATABASE {db} OWNER rds_master",),
    ),
    Shape(
        "cloudsql",
        "cloudsql_admin",
        (
            "CREATE ROLE cloudsqlsuperuser CREATEDB CREATEROLE",
            "CREATE ROLE cloudsql_admin LOGIN CREATEDB CREATEROLE IN ROLE cloudsqlsuperuser",
        ),
        # What the console makes belongs to the group, not to the login.
        ("CREATE DATABASE {db} OWNER cloudsqlsuperuser",),
    ),
    Shape(
        "azure",
        "azure_login",
        (
            "CREATE ROLE azure_pg_admin",
            "CREATE ROLE azure_login LOGIN CREATEDB CREATEROLE",
            "GRANT azure_pg_admin TO azure_login WITH ADMIN OPTION",
        ),
        ("CREATE DATABASE {db} OWNER azure_pg_admin",),
    ),
    Shape(
        "neon",
        "neondb_owner",
        (
            "CREATE ROLE neon_superuser CREATEDB CREATEROLE BYPASSRLS",
            "CREATE ROLE neondb_owner LOGIN CREATEDB CREATEROLE IN ROLE neon_superuser",
        ),
        ("CREATE DATABASE {db} OWNER neondb_owner",),
    ),
    Shape(
        "supabase",
        "supabase_login",
        (
            "CREATE ROLE supabase_login LOGIN CREATEDB CREATEROLE REPLICATION BYPASSRLS",
            "CREATE ROLE anon",
            "CREATE ROLE authenticated",
            "CREATE ROLE service_role BYPASSRLS",
        ),
        (
            "ALTER DATABASE {db} OWNER TO supabase_login",
            "GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role",
            "ALTER DEFAULT PRIVILEGES FOR ROLE supabase_login IN SCHEMA public "
            "GRANT ALL ON TABLES TO anon, authenticated, service_role",
        ),
        schema="cipher",
        database="postgres",
    ),
    Shape(
        "heroku",
        "heroku_login",
        ("CREATE ROLE heroku_login LOGIN CONNECTION LIMIT 20",),
        ("CREATE DATABASE {db} OWNER heroku_login", "REVOKE CONNECT, TEMPORARY ON DATABASE {db} FROM PUBLIC"),
        shared=True,
        before_15=("ALTER SCHEMA public OWNER TO heroku_login",),
    ),
    Shape(
        "noinherit",
        "noinherit_admin",
        ("CREATE ROLE noinherit_admin LOGIN CREATEDB CREATEROLE NOINHERIT",),
        ("CREATE DATABASE {db} OWNER noinherit_admin",),
    ),
)


FOOTPRINT = {
    "roles": "SELECT rolname, rolcanlogin, rolinherit, rolconnlimit, rolpassword FROM pg_authid",
    "memberships": "SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members",
    "settings": "SELECT setrole::regrole::text, setdatabase, setconfig::text FROM pg_db_role_setting",
    "comments": "SELECT classoid::regclass::text, objoid, description FROM pg_shdescription",
    "databases": "SELECT datname, datdba::regrole::text, datallowconn FROM pg_database",
    "database grants": "SELECT datname, a.grantee, a.privilege_type FROM pg_database, "
    "aclexplode(COALESCE(datacl, acldefault('d', datdba))) a",
    "schemas": "SELECT nspname, nspowner::regrole::text FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast)'",
    "schema grants": "SELECT nspname, a.grantee, a.privilege_type FROM pg_namespace, "
    "aclexplode(COALESCE(nspacl, acldefault('n', nspowner))) a WHERE nspname !~ '^pg_(temp|toast)'",
    "relations": "SELECT relnamespace::regnamespace::text, relname, relowner::regrole::text, relacl::text "
    "FROM pg_class WHERE relnamespace::regnamespace::text !~ '^(pg_|information_schema)'",
    "default privileges": "SELECT defaclrole::regrole::text, defaclobjtype::text, defaclacl::text FROM pg_default_acl",
    "dependencies": "SELECT refobjid::regrole::text, deptype::text FROM pg_shdepend "
    "WHERE refclassid = 'pg_authid'::regclass",
}
"""What a storage could leave behind: on the server, and inside one database."""


def footprint(server: PostgresServer, database: str) -> dict[str, list[str]]:
    """Return what is there, by kind; a grant that is the default counts as none."""
    with psycopg.connect(server.admin_url(database), autocommit=True) as connection:
        return {what: sorted(map(repr, connection.execute(query).fetchall())) for what, query in FOOTPRINT.items()}


def changed(before: dict[str, list[str]], after: dict[str, list[str]]) -> dict[str, tuple[set[str], set[str]]]:
    """Return by kind what is gone and what has come."""
    pairs = {what: (set(before[what]), set(after[what])) for what in before if before[what] != after[what]}
    return {what: (old - new, new - old) for what, (old, new) in pairs.items()}
