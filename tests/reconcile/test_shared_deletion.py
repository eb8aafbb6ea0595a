"""The deletion of a storage whose only marker stands inside its database: who has not looked there has not seen it."""

from typing import Any

import pytest

from cipher_operator.core.observed import Observed
from cipher_operator.postgres.inspect import observe
from cipher_operator.postgres.session import Session
from support.runs import Runs

LOOK = "cipher_operator.postgres.remove.observe"

TABLE = "SELECT to_regclass('public.cipher_store') IS NOT NULL"


@pytest.fixture
async def deleted(runs: Runs) -> Runs:
    """A storage in mode Shared whose deletion was asked for."""
    await runs.ready(user={"mode": "Shared"}, deletionPolicy="Delete")
    runs.api.delete("cipherstorages", "chat")
    return runs


def there(runs: Runs) -> bool:
    return runs.api.read("cipherstorages", "chat") is not None


async def test_a_database_that_lets_nobody_in_holds_the_deletion(deleted: Runs) -> None:
    deleted.sql(f'ALTER DATABASE "{deleted.database}" ALLOW_CONNECTIONS false')
    await deleted.run()
    assert there(deleted)
    assert deleted.says() == ("False", "ServerNotReady")
    deleted.sql(f'ALTER DATABASE "{deleted.database}" ALLOW_CONNECTIONS true')
    assert deleted.sql(TABLE, deleted.database) == [(True,)]
    await deleted.run()
    assert not there(deleted)
    assert deleted.sql(TABLE, deleted.database) == [(False,)]


async def test_a_database_that_answers_late_is_looked_into_again(
    deleted: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cipher_operator.postgres.remove.HASTY_SECONDS", 0.0)
    await deleted.run()
    assert not there(deleted)
    assert deleted.sql(TABLE, deleted.database) == [(False,)]


async def test_a_session_that_is_ended_in_its_first_look_holds_the_deletion(
    deleted: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ended(session: Session, *wanted: Any, **how: Any) -> Observed:
        monkeypatch.setattr(LOOK, observe)
        deleted.sql(f"SELECT pg_terminate_backend({session.backend_pid}, 5000)")
        return await observe(session, *wanted, **how)

    monkeypatch.setattr(LOOK, ended)
    await deleted.run()
    assert there(deleted)
    assert deleted.says() == ("False", "Disconnected")
    await deleted.run()
    assert not there(deleted)
    assert deleted.sql(TABLE, deleted.database) == [(False,)]


async def test_a_database_that_is_gone_holds_nothing(deleted: Runs) -> None:
    deleted.sql(f'DROP DATABASE "{deleted.database}"')
    await deleted.run()
    assert not there(deleted)
