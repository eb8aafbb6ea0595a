"""SCRAM verifiers as libpq makes them, by the RFC's own rule; and what clients make of a password."""

import base64
import hashlib
import hmac
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipher_operator.core.connection.password import Password
from cipher_operator.core.connection.scram import Terms, derive, may_be_derived, read_terms, saslprep
from cipher_operator.core.sql.composing import PasswordOf
from cipher_operator.postgres.apply import verifier


def libpq_verifier(word: str) -> str:
    return verifier(PasswordOf("u", Password(word)))


def expected_verifier(word: str, salt: bytes) -> str:
    """Return what RFC 5802 and RFC 7677 make of a password that is prepared as we say."""
    salted = hashlib.pbkdf2_hmac("sha256", saslprep(word).encode(), salt, 4096)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return "SCRAM-SHA-256$4096:{}${}:{}".format(*parts)


def salt_of(made: str) -> bytes:
    return base64.b64decode(made.split("$")[1].split(":")[1])


CHALLENGES = {
    b"r=nonce,s=c2FsdA==,i=4096": Terms(b"salt", 4096),
    b"r=n!+%~-/,s=c2Fs,i=1": Terms(b"sal", 1),
    b"r=nonce,s=c2FsdA==,i=04096": None,
    b"r=nonce,s=c2FsdA==,i=+4096": None,
    b"r=nonce,s=c2FsdA==,i=4096,x=1": None,
    b"m=1,r=nonce,s=c2FsdA==,i=4096": None,
    b"r=nonce,s=c2FsdA=,i=4096": None,
    b"r=nonce,s=c2 FsdA==,i=4096": None,
    b"r=nonce,s=,i=4096": None,
    b"r=,s=c2FsdA==,i=4096": None,
    b"r=nonce,s=c2FsdA==,i=": None,
    b"r=nonce,s=c2FsdA==,i=4096\0": None,
    b"": None,
}


@pytest.mark.parametrize(("challenge", "terms"), CHALLENGES.items(), ids=ascii)
def test_terms_are_read_where_they_are_as_the_rfc_writes_them(challenge: bytes, terms: Terms | None) -> None:
    assert read_terms(challenge) == terms


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40))
def test_keys_are_those_of_libpqs_verifier(word: str) -> None:
    made = libpq_verifier(word)
    assert may_be_derived(Password(word))
    keys = derive(Password(word), Terms(salt_of(made), 4096))
    stored = base64.b64encode(hashlib.sha256(base64.b64decode(keys.client)).digest()).decode()
    assert made.split("$")[2] == f"{stored}:{keys.server}"


ODD = ["pencil", "a b", "pässwörd", "\u00aa", "\u2168", "I\u00adX", "\u00a0x", "ﬀ", "\u0627\u0031", "\u06271\u0628",
       "\u0007", "\u0221", "\ufdd0", "日本語", "🔑", "\u1680", "\u200b", "\u00ad"]  # fmt: skip


def test_the_rfcs_own_keys() -> None:
    # RFC 7677, section 3: user `user`, password `pencil`. The proof there follows from the stored key.
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    stored, server = expected_verifier("pencil", salt).split("$")[2].split(":")
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    signature = hmac.digest(base64.b64decode(stored), message, "sha256")
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    assert hashlib.sha256(client_key).digest() == base64.b64decode(stored)
    signed = hmac.digest(base64.b64decode(server), message, "sha256")
    assert signed == base64.b64decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


@pytest.mark.parametrize("word", ODD, ids=[ascii(word) for word in ODD])
def test_libpq_prepares_a_password_as_we_say(word: str) -> None:
    made = libpq_verifier(word)
    assert expected_verifier(word, salt_of(made)) == made


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=16))
def test_so_it_does_any_password(word: str) -> None:
    made = libpq_verifier(word)
    assert expected_verifier(word, salt_of(made)) == made


def test_a_password_is_a_value_and_never_serialised() -> None:
    assert Password("a") == Password("a") != Password("b")
    assert len({Password("a"), Password("a"), Password("b")}) == 2
    assert not Password("")
    with pytest.raises(TypeError):
        pickle.dumps(Password("a"))
