"""What stands before every statement of the operator: the server is hostile ground, and slow at times."""

from psycopg import sql

PREFIX = sql.SQL(
    "SET LOCAL ROLE NONE; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL quote_all_identifiers = off; "
    "SET LOCAL client_min_messages = error; "
)
"""First words of every message of the operator: neither a setting nor a function of a tenant acts in it, a type is
written as it is compared, and a server that tells all that it does (debug_print_plan) tells it to its log alone."""
LOCK_TIMEOUT_MS = 5_000
STATEMENT_TIMEOUT_MS = 30_000
LIMITS = sql.SQL("SET LOCAL lock_timeout = {lock}; SET LOCAL statement_timeout = {statement}; ").format(
    lock=sql.Literal(LOCK_TIMEOUT_MS), statement=sql.Literal(STATEMENT_TIMEOUT_MS)
)
"""Behind it: the admin's own limits, or the database's, may be too short to look at what they are."""
LOOK_TIMEOUT_MS = 10_000
LOOKING = PREFIX + sql.SQL("SET LOCAL statement_timeout = {}; ").format(sql.Literal(LOOK_TIMEOUT_MS))
"""The first words of a message that only looks: it ends well within the time of a run, whatever hangs."""
