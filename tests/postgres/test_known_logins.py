"""When keys are made of an administrator's password, when no longer, and of how many logins."""

import pytest

from cipher_operator.core.connection.password import Password
from cipher_operator.core.connection.scram import Terms
from cipher_operator.postgres.login_keys import ENOUGH, MORE, LoginKeys

WORD = "pass-w0rd of an admin"
A, B = Terms(b"a", 4096), Terms(b"b", 4096)
EVERY = [Terms(bytes([number]), 4096) for number in range(200)]
SEQUENCES: dict[str, tuple[list[Terms], int, int]] = {
    "always the same": ([A] * 200, 200 - ENOUGH, 0),
    "another each time": (EVERY, 0, 0),
    "two in turn": ([A, B] * 100, 0, 0),
    "two, each twice": ([A, A, B, B] * 50, 0, 1),
    "two, each five times": ([*[A] * 5, *[B] * 5] * 20, 5 - ENOUGH, 1),
    "changed once": ([A] * 10 + [B] * 100, 10 - ENOUGH + 100 - ENOUGH * MORE, 1),
}
"""What a server names, login by login; how often keys fit, and how often they did not."""


@pytest.mark.parametrize(("named", "fit", "missed"), SEQUENCES.values(), ids=SEQUENCES)
async def test_keys_are_made_where_they_will_fit(named: list[Terms], fit: int, missed: int) -> None:
    keys, login, word = LoginKeys(), b"login", Password(WORD)
    found = [0, 0]
    for terms in named:
        offered = await keys.of(login, word)
        if offered is not None:
            found[offered.terms != terms] += 1
            if offered.terms != terms:
                keys.missed(login, offered)
        keys.accepted(login, terms)
    assert found == [fit, missed]


async def test_logins_under_way_together_miss_once() -> None:
    keys, login, word = LoginKeys(), b"login", Password(WORD)
    for _ in range(ENOUGH):
        keys.accepted(login, A)
    under_way = [await keys.of(login, word) for _ in range(8)]
    for offered in under_way:
        keys.missed(login, offered)
        keys.accepted(login, B)
    for _ in range(ENOUGH * MORE - len(under_way)):
        assert await keys.of(login, word) is None
        keys.accepted(login, B)
    assert await keys.of(login, word) is not None


async def test_so_many_logins_are_known_and_no_more() -> None:
    keys, word = LoginKeys(most=3), Password(WORD)
    for login in (b"1", b"2", b"3", b"1", b"4"):
        for _ in range(ENOUGH):
            keys.accepted(login, A)
    assert [await keys.of(login, word) is not None for login in (b"1", b"2", b"3", b"4")] == [True, False, True, True]
    keys.clear()
    assert await keys.of(b"1", word) is None
