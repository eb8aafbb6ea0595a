"""What is told of an app Secret that holds something else than before: pods read it at their start only."""

from collections.abc import Awaitable, Callable

import pytest

from support.runs import Runs


async def mine(runs: Runs) -> None:
    runs.api.secret("mine", {"password": "brought-along-1"})
    await runs.ready(user={"passwordSecretRef": {"name": "mine", "key": "password"}})


async def shared(runs: Runs) -> None:
    runs.sql(f"CREATE ROLE boss_{runs.database} SUPERUSER LOGIN PASSWORD 'first-of-boss'")
    runs.admin_secret(user=f"boss_{runs.database}", password="first-of-boss")
    await runs.ready(user={"mode": "Shared"})


def another(runs: Runs) -> None:
    runs.sql(f"ALTER ROLE boss_{runs.database} PASSWORD 'second-of-boss'")
    runs.admin_secret(user=f"boss_{runs.database}", password="second-of-boss")


def lost(runs: Runs) -> None:
    runs.api.delete("secrets", "chat-cipher")


def by_hand(runs: Runs) -> None:
    runs.api.change("secrets", "chat-cipher", {"data": {"host": "aGFuZA=="}})


NEWS: dict[str, tuple[Callable[[Runs], Awaitable[None]], Callable[[Runs], None], str, str]] = {
    "a hand in it": (Runs.ready, by_hand, "SecretUpdated", "(host)"),
    "another spec": (
        Runs.ready,
        lambda runs: runs.spec(app={"maxConnections": 5}),
        "SecretUpdated",
        "(CIPHER_PG_URL)",
    ),
    "another password in mode Shared": (shared, another, "PasswordChanged", "mode Shared"),
    "lost in mode Shared": (shared, lost, "SecretRecreated", "published again"),
    "lost, with a password of one's own": (mine, lost, "SecretRecreated", "published again"),
}


@pytest.mark.parametrize("case", list(NEWS))
async def test_what_pods_have_to_read_anew_is_told_once_and_truly(runs: Runs, case: str) -> None:
    begin, happens, reason, words = NEWS[case]
    await begin(runs)
    await runs.run()
    before, password = len(runs.api.events()), runs.secret()["password"]
    happens(runs)
    # The run that writes it cannot tell of it.
    runs.api.fault("PATCH", "/cipherstorages/chat/status", times=1, network=True)
    runs.ask()
    for _ in range(3):
        await runs.run()
    assert [told for told, _ in runs.api.events()[before:]] == [reason]
    note = runs.api.events()[before][1]
    assert words in note and "new password" not in note and password not in note
    assert (runs.secret()["password"] == password) is (reason != "PasswordChanged")
    runs.app().close()
