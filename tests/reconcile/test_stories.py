"""What people do to a storage, run by run: requests, drift, lost Secrets, policies, moves, deletions."""

from typing import Any

import psycopg
import pytest

from cipher_operator.api.names import FINALIZER, IN_USE_FINALIZER
from support.kstatus import violations
from support.runs import NAMESPACE, Runs

NAMES = "SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles ORDER BY 1"


def finalizers(runs: Runs, plural: str, name: str) -> list[str]:
    found: list[str] = (runs.api.read(plural, name) or {"metadata": {}})["metadata"].get("finalizers", [])
    return found


async def test_apply_to_ready_in_one_run(runs: Runs) -> None:
    await runs.ready()
    assert runs.says() == ("True", "Ready")
    status = runs.api.status()
    assert violations(runs.api.read("cipherstorages", "chat") or {}) == []
    assert (status["database"], status["binding"]) == (runs.database, {"name": "chat-cipher"})
    assert status["passwordSetAt"]
    assert [reason for reason, _ in runs.api.events()] == ["Created", "Ready"]
    assert "CREATE DATABASE" in runs.api.events()[0][1] and "CREATE TABLE" in runs.api.events()[0][1]
    assert runs.counts.connections == {"admin": 2, "login": 1}
    assert runs.writes() == 2, "the Secret and the status"
    with runs.app() as app:
        app.execute("INSERT INTO cipher_store VALUES ('k', '😀', now(), now())")


async def test_a_check_writes_nothing_and_makes_one_connection(runs: Runs) -> None:
    await runs.ready()
    runs.counts.connections.clear()
    writes, revision = runs.writes(), runs.api.read("cipherstorages", "chat")["metadata"]["resourceVersion"]  # type: ignore[index]
    runs.server.mark_log()
    await runs.run()
    assert runs.counts.connections == {"admin": 1}
    assert runs.writes() == writes
    assert runs.api.read("cipherstorages", "chat")["metadata"]["resourceVersion"] == revision  # type: ignore[index]
    assert runs.started == [], "what it wrote itself starts no other run"


async def test_a_new_start_tests_each_login_once(runs: Runs) -> None:
    await runs.ready()
    again = runs.make()
    runs.counts.connections.clear()
    await runs.run(reconciler=again)
    await runs.run(reconciler=again)
    assert runs.counts.connections == {"admin": 2, "login": 1}


async def test_drift_is_healed_and_told(runs: Runs) -> None:
    await runs.ready()
    runs.sql("DROP TABLE cipher_lists", runs.database)
    await runs.run()
    assert runs.says() == ("True", "Ready")
    assert [reason for reason, _ in runs.api.events()] == ["Created", "Ready", "DriftHealed"]
    assert runs.sql("SELECT to_regclass('cipher_lists') IS NOT NULL", runs.database) == [(True,)]


async def test_rotation_keeps_the_login_before_and_revoking_ends_it(runs: Runs) -> None:
    await runs.ready()
    old = runs.secret()
    runs.ask("rotate")
    await runs.run()
    new = runs.secret()
    assert new["username"] == f"{old['username']}_b"
    for secret in (old, new):
        psycopg.connect(secret["uri"]).close()
    assert runs.api.status()["handledRequests"] == {"rotate": "1"}
    await runs.run()
    runs.ask("revoke-previous")
    await runs.run()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(old["uri"])
    psycopg.connect(new["uri"]).close()
    assert {"PasswordRotated", "PreviousRevoked"} <= {reason for reason, _ in runs.api.events()}


async def test_rotate_and_revoke_asked_at_once_come_one_after_the_other(runs: Runs) -> None:
    await runs.ready()
    old = runs.secret()
    runs.ask("rotate")
    runs.ask("revoke-previous")
    following = await runs.run()
    assert following.after == 1.0, "what it could not do yet waits for no interval"
    await runs.until(lambda: set(runs.api.status()["handledRequests"]) == {"rotate", "revokePrevious"})
    psycopg.connect(runs.secret()["uri"]).close()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(old["uri"])


@pytest.mark.parametrize("how", ["deleted", "emptied"])
async def test_a_lost_app_secret_comes_back_through_the_other_login(runs: Runs, how: str) -> None:
    await runs.ready()
    await runs.run()
    old = runs.secret()
    if how == "deleted":
        runs.api.delete("secrets", "chat-cipher")
    else:
        runs.api.change("secrets", "chat-cipher", {"data": None})
    await runs.run()
    new = runs.secret()
    assert new["username"] != old["username"]
    for secret in (old, new):
        psycopg.connect(secret["uri"]).close()
    assert "SecretRecreated" in [reason for reason, _ in runs.api.events()]


async def test_a_password_that_somebody_changed_is_set_again_when_it_is_tested(runs: Runs) -> None:
    await runs.ready()
    user = runs.secret()["username"]
    runs.sql(f"ALTER ROLE \"{user}\" PASSWORD 'someone else changed it'")
    await runs.run()
    with pytest.raises(psycopg.OperationalError):
        runs.app()
    runs.ask()
    await runs.run()
    runs.app().close()
    assert runs.says() == ("True", "Ready")


async def test_the_users_own_password_is_taken_and_changed_in_place(runs: Runs) -> None:
    runs.api.secret("mine", {"password": "brought-along-1"})
    await runs.ready(user={"passwordSecretRef": {"name": "mine", "key": "password"}})
    assert runs.secret()["password"] == "brought-along-1"
    user = runs.secret()["username"]
    runs.api.secret("mine", {"password": "brought-along-2"})
    await runs.run()
    assert (runs.secret()["username"], runs.secret()["password"]) == (user, "brought-along-2")
    runs.app().close()
    assert "PasswordChanged" in [reason for reason, _ in runs.api.events()]
    assert "passwordSetAt" not in runs.api.status(), "it is not the operator's"


async def test_observe_plans_and_writes_nothing(runs: Runs) -> None:
    before = runs.sql(NAMES)
    runs.admin_secret()
    runs.storage(managementPolicy="Observe")
    await runs.run()
    assert runs.says() == ("False", "ChangesPending")
    assert any("CREATE DATABASE" in line for line in runs.api.status()["plan"])
    assert runs.sql(NAMES) == before
    assert runs.api.read("secrets", "chat-cipher") is None


async def test_a_suspended_storage_is_left_as_it_is(runs: Runs) -> None:
    await runs.ready()
    runs.spec(suspend=True)
    status = runs.api.status()
    runs.sql("DROP TABLE cipher_lists", runs.database)
    following = await runs.run()
    assert following.after is None
    assert runs.api.status() == status
    runs.spec(suspend=False)
    await runs.run()
    assert runs.sql("SELECT to_regclass('cipher_lists') IS NOT NULL", runs.database) == [(True,)]


async def test_delete_leaves_nothing(runs: Runs) -> None:
    before = runs.sql(NAMES)
    await runs.ready(deletionPolicy="Delete")
    assert finalizers(runs, "cipherstorages", "chat") == [FINALIZER]
    assert finalizers(runs, "secrets", "pg-admin") == [IN_USE_FINALIZER]
    runs.api.delete("cipherstorages", "chat")
    following = await runs.run()
    assert following.gone
    assert runs.api.read("cipherstorages", "chat") is None
    assert finalizers(runs, "secrets", "pg-admin") == []
    assert runs.sql(NAMES) == before
    assert "Dropped" in [reason for reason, _ in runs.api.events()]


@pytest.mark.parametrize("wish", [{"suspend": True}, {"managementPolicy": "Observe"}], ids=["suspended", "Observe"])
async def test_a_deletion_touches_nothing_of_what_is_not_managed(runs: Runs, wish: dict[str, Any]) -> None:
    await runs.ready(deletionPolicy="Delete")
    runs.spec(**wish)
    before = runs.sql(NAMES)
    runs.api.delete("cipherstorages", "chat")
    await runs.run()
    assert runs.api.read("cipherstorages", "chat") is None
    assert runs.sql(NAMES) == before
    assert finalizers(runs, "secrets", "pg-admin") == []


async def test_the_finalizers_follow_every_change_of_policy(runs: Runs) -> None:
    await runs.ready(deletionPolicy="Delete")
    changes: list[tuple[dict[str, str], bool]] = [
        ({"deletionPolicy": "Retain"}, False),
        ({"deletionPolicy": "Delete"}, True),
        ({"managementPolicy": "Observe"}, False),
        ({"managementPolicy": "Manage"}, True),
    ]
    for change, held in changes:
        runs.spec(**change)
        await runs.run()
        assert bool(finalizers(runs, "cipherstorages", "chat")) is held, change
        assert bool(finalizers(runs, "secrets", "pg-admin")) is held, change


async def test_a_blocked_deletion_says_what_is_in_the_way(runs: Runs) -> None:
    await runs.ready(deletionPolicy="Delete")
    runs.sql("CREATE TABLE reports (id int)", runs.database)
    runs.api.delete("cipherstorages", "chat")
    following = await runs.run()
    assert runs.says() == ("False", "DeletionBlocked")
    assert "public.reports" in runs.message()
    assert following.after == 15.0
    runs.sql("DROP TABLE reports", runs.database)
    await runs.run()
    assert runs.api.read("cipherstorages", "chat") is None


async def test_force_delete_lets_go_without_the_server(runs: Runs) -> None:
    await runs.ready(deletionPolicy="Delete")
    before = runs.sql(NAMES)
    runs.api.delete("cipherstorages", "chat")
    runs.api.annotate("chat", "force-delete", "true")
    await runs.run()
    assert runs.api.read("cipherstorages", "chat") is None
    assert runs.sql(NAMES) == before


async def test_two_storages_share_a_secret_until_the_last_is_gone(runs: Runs) -> None:
    await runs.ready("first", deletionPolicy="Delete", database={"name": f"{runs.database}_1"})
    await runs.ready("second", deletionPolicy="Delete", database={"name": f"{runs.database}_2"})
    runs.api.delete("cipherstorages", "first")
    await runs.run("first")
    assert finalizers(runs, "secrets", "pg-admin") == [IN_USE_FINALIZER]
    runs.api.delete("cipherstorages", "second")
    await runs.run("second")
    assert finalizers(runs, "secrets", "pg-admin") == []


@pytest.mark.parametrize(
    ("mode", "requests"),
    [
        ({"mode": "Shared"}, ["rotate", "revoke-previous"]),
        ({"passwordSecretRef": {"name": "mine", "key": "password"}}, ["rotate"]),
    ],
    ids=["the administrator's own login", "a password that the user brings"],
)
async def test_a_request_that_can_never_be_is_told_and_done_with(
    runs: Runs, mode: dict[str, Any], requests: list[str]
) -> None:
    runs.sql(f'CREATE DATABASE "{runs.database}"')
    runs.api.secret("mine", {"password": "brought-along-1"})
    await runs.ready(user=mode)
    before = runs.secret()
    for request in requests:
        runs.ask(request)
    following = await runs.run()
    assert [reason for reason, _ in runs.api.events()].count("RequestIgnored") == len(requests)
    assert len(runs.api.status()["handledRequests"]) == len(requests)
    assert following.after == 300.0
    assert runs.secret() == before


async def test_another_database_in_the_secret_is_refused(runs: Runs) -> None:
    runs.admin_secret(database="postgres")
    runs.api.storage("chat", {"user": {"name": f"app_{runs.database}"}, "schema": "cipher"})
    await runs.until(lambda: runs.says()[0] == "True")
    runs.sql(f'CREATE DATABASE "{runs.database}"')
    runs.admin_secret(database=runs.database)
    await runs.run()
    assert runs.says() == ("False", "TargetChanged")


async def test_a_lost_database_is_said_and_made_again_only_when_asked(runs: Runs) -> None:
    await runs.ready()
    runs.sql(f'DROP DATABASE "{runs.database}" WITH (FORCE)')
    await runs.run()
    assert runs.says() == ("False", "DatabaseLost")
    assert runs.sql(f"SELECT 1 FROM pg_database WHERE datname = '{runs.database}'") == []
    runs.ask("recreate")
    await runs.until(lambda: runs.says()[0] == "True")
    runs.app().close()


async def test_a_storage_that_does_not_exist_is_forgotten(runs: Runs) -> None:
    await runs.ready()
    runs.api.delete("cipherstorages", "chat")
    assert (await runs.run()).gone
    assert runs.reconciler._histories == {}
    assert not runs.inputs.watched(("Secret", NAMESPACE, "pg-admin"))


async def test_a_status_on_its_way_from_a_former_leader_replaces_no_later_one(runs: Runs) -> None:
    """Its process stood still while it was sent; who leads now has told of a newer spec meanwhile."""
    await runs.ready()
    runs.admin_secret(password="wrong")
    successor = runs.make()

    async def take_over() -> None:
        runs.admin_secret()
        runs.spec(interval="10m")
        await runs.run(reconciler=successor)

    late = runs.api.fault("PATCH", r"/cipherstorages/chat/status$", times=1, act=take_over)
    following = await runs.run()
    assert late.met == 1
    assert following.failed, "it is looked at again, by whoever leads"
    assert (runs.says(), runs.api.status()["observedGeneration"]) == (("True", "Ready"), 2)
