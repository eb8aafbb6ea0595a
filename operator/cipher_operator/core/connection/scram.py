"""How a password is prepared before it is hashed (SASLprep, RFC 4013), and who makes what of it."""

import stringprep
import unicodedata

from cipher_operator.core.connection.password import Password

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
