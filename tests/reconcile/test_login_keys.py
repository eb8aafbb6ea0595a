"""Whose logins have keys: the administrator's, from the third on, over all storages; never the one that is tested."""

from typing import Any

import pytest

from cipher_operator.core.connection.scram import Keys
from cipher_operator.postgres import opening
from cipher_operator.postgres.login_keys import ENOUGH
from cipher_operator.postgres.startup import connect
from support.runs import Runs


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Each connection's user, and whether it began with keys."""
    found: list[tuple[str, bool]] = []

    async def watched(keywords: dict[str, Any], keys: Keys | None = None, **how: Any) -> Any:
        found.append((keywords["user"], keys is not None))
        return await connect(keywords, keys, **how)

    monkeypatch.setattr(opening, "connect", watched)
    return found


async def test_an_administrator_has_keys_and_a_login_that_is_tested_has_none(
    runs: Runs, begun: list[tuple[str, bool]]
) -> None:
    await runs.ready("chat")
    await runs.ready("talk", database={"name": f"{runs.database}_talk"})
    for number in range(ENOUGH + 1):
        runs.ask(value=str(number))
        await runs.run()
    admin = [kept for user, kept in begun if user == runs.server.superuser]
    assert admin == [False] * ENOUGH + [True] * (len(admin) - ENOUGH)
    assert len(admin) > 2 * ENOUGH
    tested = [kept for user, kept in begun if user != runs.server.superuser]
    assert len(tested) > ENOUGH
    assert not any(tested), "a test proves the password"


async def test_who_no_longer_leads_forgets_them(runs: Runs, begun: list[tuple[str, bool]]) -> None:
    await runs.ready()
    for _ in range(ENOUGH):
        await runs.run()
    assert begun[-1] == (runs.server.superuser, True)
    begun.clear()
    await runs.reconciler.reset()
    await runs.run()
    assert begun[0] == (runs.server.superuser, False)
