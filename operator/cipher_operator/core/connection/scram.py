"""SCRAM-SHA-256 verifiers, made on the client so that no plain password reaches a server log (RFC 5802, RFC 7677)."""

import base64
import hashlib
import hmac
import stringprep
import unicodedata

from cipher_operator.core.connection.password import Password

ITERATIONS = 4096
"""PostgreSQL's own default (`scram_iterations`), and what every client expects to be quick."""
SALT_BYTES = 16

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def scram_verifier(password: Password, salt: bytes) -> str:
    """Return the verifier for `ALTER ROLE … PASSWORD`, in the shape of `pg_authid.rolpassword`.

    `SCRAM-SHA-256$4096:<salt>$<StoredKey>:<ServerKey>`, base64 inside. `salt` is 16 random bytes that the
    caller draws; a new one each time the password is set. Raises ValueError for an empty password or salt.
    """
    if not password or not salt:
        raise ValueError("a verifier needs a password and a salt")
    salted = hashlib.pbkdf2_hmac("sha256", saslprep(password.reveal()).encode(), salt, ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${ITERATIONS}:{_b64(salt)}${_b64(stored_key)}:{_b64(server_key)}"


def clients_agree(password: Password) -> bool:
    """Return whether every client makes the same of the password once it is prepared.

    libpq leaves one with a prohibited character as it is; node-pg 8.23 prepares that too, 8.16 prepares nothing.
    """
    prepared = saslprep(password.reveal())
    return unicodedata.normalize("NFKC", _mapped(prepared)) == prepared


def _mapped(text: str) -> str:
    # U+200B stands in both tables; PostgreSQL asks for the spaces first.
    return "".join(
        " " if stringprep.in_table_c12(char) else "" if stringprep.in_table_b1(char) else char for char in text
    )


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def saslprep(text: str) -> str:
    """Return the text as PostgreSQL's `pg_saslprep` does (RFC 4013); unchanged where that refuses it."""
    if text.isascii():
        return text
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", _mapped(text))
    if not prepared or any(table(char) for char in prepared for table in _PROHIBITED):
        return text
    if any(stringprep.in_table_d1(char) for char in prepared):
        ends_right = stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1])
        if not ends_right or any(stringprep.in_table_d2(char) for char in prepared):
            return text
    return prepared
