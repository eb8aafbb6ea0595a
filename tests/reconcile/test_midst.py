"""Somebody changes what a run stands on while it goes on: what is told of it is true, and there is a way on."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cipher_operator.postgres.session import Session
from cipher_operator.reconcile.prove import GAPS
from support.runs import Runs

REFUSED, READY = ("False", "AuthenticationFailed"), ("True", "Ready")
ANNOTATION = "storage.cipher.dev/reconcile-requested-at"


@pytest.fixture
def before_login(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Give what has something done, once, before the next test of a published login."""
    waiting: list[Callable[[], None]] = []
    opened = Session.open

    async def opens(*way: Any, **how: Any) -> Session:
        if how.get("app_login") and waiting:
            waiting.pop()()
        return await opened(*way, **how)

    monkeypatch.setattr(Session, "open", opens)
    yield waiting.append
    assert not waiting, "there was no test of a login"


def a_minute_passes(runs: Runs) -> None:
    runs.seconds += 61
    for lane in runs.lanes._lanes.values():
        for known in lane.credentials.values():
            known.cause = None


def passwords_set(runs: Runs) -> int:
    return runs.server.log_text().count("PASSWORD 'SCRAM")


async def nothing_before(runs: Runs) -> None:
    runs.admin_secret()
    runs.storage()


async def brought_first(runs: Runs) -> None:
    runs.api.secret("mine", {"password": "brought-along-1"})
    runs.admin_secret()
    runs.storage(user={"passwordSecretRef": {"name": "mine", "key": "password"}})


async def refused_before(runs: Runs) -> None:
    """It is set again: the password is what is tested last, in the same run."""
    await runs.ready()
    steal(runs)
    runs.ask()


def steal(runs: Runs) -> None:
    logins = runs.sql(f"SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname ~ '^app_{runs.database}_'")
    for (login,) in logins:
        runs.sql(f"ALTER ROLE \"{login}\" PASSWORD 'somebody else changed it'")


@pytest.mark.parametrize("begin", [nothing_before, brought_first, refused_before])
async def test_a_password_that_was_changed_before_its_test_is_set_once_more_for_who_asks(
    runs: Runs, before_login: Callable[[Callable[[], None]], None], begin: Callable[[Runs], Any]
) -> None:
    await begin(runs)
    # Where one was refused first, the hand comes behind the setting.
    before_login(lambda: before_login(lambda: steal(runs)) if begin is refused_before else steal(runs))
    for _ in range(GAPS + 1):
        await runs.run()
    assert runs.says() == REFUSED
    assert "has set it" in runs.message() and ANNOTATION in runs.message(), runs.message()
    runs.server.mark_log()
    for _ in range(3):
        a_minute_passes(runs)
        await runs.run()
    assert (runs.says(), passwords_set(runs)) == (REFUSED, 0), "nobody has asked"
    runs.ask("reconcile", "please")
    # The refusal of a moment ago is remembered: it writes nothing, and what was asked for is not forgotten.
    await runs.run()
    assert (runs.says(), passwords_set(runs)) == (REFUSED, 0)
    a_minute_passes(runs)
    await runs.run()
    assert (runs.says(), passwords_set(runs)) == (READY, 1), runs.message()
    runs.app().close()
    a_minute_passes(runs)
    await runs.run()
    assert (runs.says(), passwords_set(runs)) == (READY, 1)


async def test_an_administrator_refused_while_it_is_set_again_is_not_told_that_it_is(
    runs: Runs, before_login: Callable[[Callable[[], None]], None]
) -> None:
    admin = f"admin_{runs.database}"
    runs.sql(f"CREATE ROLE {admin} LOGIN SUPERUSER PASSWORD 'admin-pw'")
    runs.admin_secret(user=admin, password="admin-pw")
    await runs.ready()

    def changed() -> None:
        steal(runs)
        runs.sql(f"ALTER ROLE {admin} PASSWORD 'another'")

    before_login(changed)
    runs.ask()
    await runs.run()
    assert runs.says() == REFUSED
    assert f"the admin login `{admin}`" in runs.message() and "password again" not in runs.message(), runs.message()


def deleted(runs: Runs) -> None:
    runs.api.delete("secrets", "pg-admin")


def held_by_others(runs: Runs) -> None:
    """Deleted, and somebody else keeps it for now."""
    runs.api.change("secrets", "pg-admin", {"metadata": {"finalizers": ["example.com/keeps"]}})
    deleted(runs)


def made_anew(runs: Runs) -> None:
    deleted(runs)
    runs.admin_secret()


GOES = {"gone": deleted, "kept by others": held_by_others, "another one": made_anew}


@pytest.mark.parametrize("established", [False, True], ids=["at first", "when it came to be asked for"])
@pytest.mark.parametrize("goes", GOES)
async def test_a_connection_secret_that_goes_before_it_is_held(runs: Runs, goes: str, established: bool) -> None:
    runs.admin_secret()
    runs.storage(deletionPolicy="Retain" if established else "Delete")
    if established:
        await runs.run()
        assert runs.says() == READY
        runs.spec(deletionPolicy="Delete")
    runs.api.fault("PATCH", "/secrets/pg-admin", act=lambda: GOES[goes](runs), times=1)
    following = await runs.run()
    body = runs.api.read("cipherstorages", "chat")
    assert body is not None
    if goes == "kept by others":
        assert runs.says() == READY, runs.message()
        return
    assert runs.says() == ("False", "SecretNotFound"), runs.message()
    assert not following.failed
    assert not body["metadata"].get("finalizers"), "it is held for nothing"
    runs.admin_secret()
    await runs.run()
    assert runs.says() == READY, runs.message()
