"""The adapter to cloud identities: tokens that are sent to PostgreSQL in place of a password."""
