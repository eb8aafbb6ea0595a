"""The edge that speaks PostgreSQL, through psycopg."""
