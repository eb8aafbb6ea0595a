"""Names that PostgreSQL or a provider keeps for itself.

Three lists: the schema in `crds/`, the parser of the spec and that of connection URLs share them. An existing database
such as Supabase's `postgres` or Neon's `neondb` may be used, so it is in none.
"""

DATABASES = frozenset(
    {
        "template0",
        "template1",
        "rdsadmin",
        "cloudsqladmin",
        "alloydbadmin",
        "azure_maintenance",
        "azure_sys",
        "_supabase",
    }
)
"""Databases that nobody may log in to, that a session in them keeps from being copied, or that the provider needs."""

SCHEMAS = frozenset({"information_schema", "heroku_ext", "pgbouncer", "pgsodium", "rdsadmin", "cipher_extensions"})
"""Schemas of the server, of a provider, and the operator's own for extensions, which no app may write to."""
SCHEMA_PREFIXES = ("pg_", "supabase_")

ROLES = frozenset(
    {
        "public",
        "none",
        "user",
        "current_role",
        "current_user",
        "session_user",
        "postgres",
        "anon",
        "authenticated",
        "authenticator",
        "service_role",
        "dashboard_user",
        "pgbouncer",
        "streaming_replica",
    }
)
"""Words that mean another role in SQL, and roles that come with a server."""
ROLE_PREFIXES = ("pg_", "rds", "cloudsql", "azure", "supabase_", "neon_", "neondb", "alloydb")


def is_reserved_database(name: str) -> bool:
    """Return whether no storage may live in, create or drop a database of that name, nor the operator log in to it."""
    return name in DATABASES


def is_reserved_schema(name: str) -> bool:
    """Return whether Cipher's tables may not be in a schema of that name."""
    return name in SCHEMAS or name.startswith(SCHEMA_PREFIXES)


def is_reserved_role(name: str) -> bool:
    """Return whether no storage may have a login of that name."""
    return name in ROLES or name.startswith(ROLE_PREFIXES)
