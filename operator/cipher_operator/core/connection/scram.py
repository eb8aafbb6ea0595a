"""How a password is prepared before it is hashed (SASLprep, RFC 4013), who makes what of it, and the keys that come out
(SCRAM-SHA-256: RFC 5802, RFC 7677)."""

import base64
import binascii
import hashlib
import hmac
import re
import stringprep
import unicodedata
from dataclasses import dataclass, field

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

_CHALLENGE = re.compile(rb"r=[!-+\--~]+,s=([A-Za-z0-9+/]+={0,2}),i=([1-9][0-9]{0,9})")


@dataclass(frozen=True, slots=True)
class Terms:
    """With which salt, and how often, a server has a password hashed."""

    salt: bytes
    rounds: int


@dataclass(frozen=True, slots=True)
class Keys:
    """What a login proves itself by in place of the password, to a server with the same terms. Both are base64."""

    terms: Terms
    client: str = field(repr=False)
    server: str = field(repr=False)


def read_terms(challenge: bytes) -> Terms | None:
    """Return the terms in a server's first message; None where it is not wholly as RFC 5802, 7 writes it."""
    found = _CHALLENGE.fullmatch(challenge)
    if found is None:
        return None
    try:
        return Terms(base64.b64decode(found[1], validate=True), int(found[2]))
    except binascii.Error:
        return None


def may_be_derived(password: Password) -> bool:
    """Return whether a password is hashed as it is written, whoever prepares it: printable ASCII."""
    text = password.reveal()
    return bool(text) and text.isascii() and text.isprintable()


def derive(password: Password, terms: Terms) -> Keys:
    """Return the keys of a password that may be derived. It takes 0.3 ms of CPU time for every 1000 rounds."""
    salted = hashlib.pbkdf2_hmac("sha256", password.reveal().encode("ascii"), terms.salt, terms.rounds)
    client, server = (hmac.digest(salted, label, "sha256") for label in (b"Client Key", b"Server Key"))
    return Keys(terms, base64.b64encode(client).decode("ascii"), base64.b64encode(server).decode("ascii"))


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
