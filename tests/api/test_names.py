"""Names that the operator derives: within PostgreSQL's length, and never the same for two storages."""

import re

from hypothesis import given
from hypothesis import strategies as st

from cipher_operator.api.names import (
    MAX_USER_NAME,
    OWNER_SUFFIX,
    SECOND_LOGIN_SUFFIX,
    default_secret_name,
    default_user_name,
)

LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
NAME = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?", fullmatch=True)


@given(LABEL, NAME)
def test_default_user_name_is_a_plain_identifier(namespace: str, name: str) -> None:
    user = default_user_name(namespace, name)
    assert re.fullmatch(r"cipher_[a-z0-9_]*_[0-9a-f]{8}", user)
    assert len(user) <= MAX_USER_NAME


@given(LABEL, NAME, LABEL, NAME)
def test_two_storages_never_meet(namespace: str, name: str, other_namespace: str, other_name: str) -> None:
    same = (namespace, name) == (other_namespace, other_name)
    assert (default_user_name(namespace, name) == default_user_name(other_namespace, other_name)) is same


def test_names_that_look_the_same_when_written_with_underscores_stay_apart() -> None:
    assert default_user_name("a-b", "c") != default_user_name("a", "b-c")
    assert default_user_name("a", "b.c") != default_user_name("a", "b-c")


def test_an_example() -> None:
    # Written down: a storage that is already in use must find the same name for ever.
    assert default_user_name("team", "chat") == "cipher_team_chat_6cda14bf"
    assert default_secret_name("chat") == "chat-cipher"


def test_suffixes_fit() -> None:
    # PostgreSQL cuts names at 63 bytes with no more than a notice.
    assert MAX_USER_NAME + max(len(OWNER_SUFFIX), len(SECOND_LOGIN_SUFFIX)) <= 63
