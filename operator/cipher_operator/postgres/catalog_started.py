"""When the server was started, in the words of SQL: what tells one server from another."""

from psycopg import sql

STARTED = sql.SQL("(extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::int8 / 1000000::numeric")
"""Seconds since the epoch, as a number of which no setting, such as `extra_float_digits`, takes digits away."""
