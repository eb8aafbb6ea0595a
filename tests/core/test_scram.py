"""SCRAM verifiers against libpq's own. The login with one is tested on a real server in tests/postgres."""

import base64
import pickle

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipher_operator.core.connection.password import Password
from cipher_operator.core.connection.scram import scram_verifier


def libpq_verifier(password: str) -> str:
    connection = psycopg.pq.PGconn.connect_start(b"host=127.0.0.1 port=1")
    try:
        return connection.encrypt_password(password.encode(), b"u", b"scram-sha-256").decode()
    finally:
        connection.finish()


def salt_of(verifier: str) -> bytes:
    return base64.b64decode(verifier.split("$")[1].split(":")[1])


ODD = ["pencil", "a b", "pässwörd", "\u00aa", "\u2168", "I\u00adX", "\u00a0x", "ﬀ", "\u0627\u0031", "\u06271\u0628",
       "\u0007", "\u0221", "\ufdd0", "日本語", "🔑", "\u1680", "\u200b", "\u00ad"]  # fmt: skip


@pytest.mark.parametrize("word", ODD, ids=[ascii(word) for word in ODD])
def test_equals_libpq(word: str) -> None:
    expected = libpq_verifier(word)
    assert scram_verifier(Password(word), salt_of(expected)) == expected


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=16))
def test_any_password_equals_libpq(word: str) -> None:
    expected = libpq_verifier(word)
    assert scram_verifier(Password(word), salt_of(expected)) == expected


def test_refuses_nothing() -> None:
    for word, salt in (("", b"x" * 16), ("x", b"")):
        with pytest.raises(ValueError, match="needs a password and a salt"):
            scram_verifier(Password(word), salt)


def test_a_password_is_a_value_and_never_serialised() -> None:
    assert Password("a") == Password("a") != Password("b")
    assert len({Password("a"), Password("a"), Password("b")}) == 2
    assert not Password("")
    with pytest.raises(TypeError):
        pickle.dumps(Password("a"))
