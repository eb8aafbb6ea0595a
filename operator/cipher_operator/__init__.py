"""The CipherStorage operator: PostgreSQL storage for Cipher on servers that already exist."""

__version__ = "0.1.0"
