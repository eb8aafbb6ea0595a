"""Statements as values: steps of a plan, composed by psycopg.sql alone. None knows a connection."""
