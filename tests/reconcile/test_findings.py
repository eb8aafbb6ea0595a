"""What went wrong once, each through the whole run: proofs, doors, verdicts, held Secrets, rewound servers."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cipher_operator.api.names import FINALIZER, IN_USE_FINALIZER
from cipher_operator.api.reasons import Reason
from cipher_operator.postgres import inspect
from cipher_operator.postgres.dial import parse_blocked_ranges
from cipher_operator.reconcile import tell
from devcluster import FaultProxy, PostgresServer
from support.faulty_servers import set_hba
from support.poolers import Pooler
from support.runs import NAMESPACE, Runs


@pytest.fixture
async def own(postgres_server: Callable[..., PostgresServer]) -> AsyncIterator[Runs]:
    """Runs against a server of the test's own."""
    made = Runs(postgres_server(16), "chat_own", instance="own")
    yield made
    await made.close()


Proxies = Callable[..., FaultProxy]


@pytest.mark.parametrize("asked", [True, False], ids=["somebody asked", "after healed drift"])
async def test_a_failed_test_stands_until_a_new_one_passes(own: Runs, asked: bool) -> None:
    await own.ready()
    set_hba(own.server, f"host all {own.secret()['username']} all reject")
    if asked:
        own.ask()
    else:
        own.sql("DROP INDEX idx_cipher_lists_key", own.database)
    await own.run()
    assert own.says() == ("False", "TLSRequired")
    for _ in range(3):
        before = own.counts.connections["admin"]
        await own.run()
        assert own.says() == ("False", "TLSRequired"), "a refusal is not forgotten"
        assert own.counts.connections["admin"] == before + 1
    set_hba(own.server)
    await own.run()
    assert own.says() == ("True", "Ready")


async def test_a_connection_secret_that_comes_later_starts_a_storage_with_delete(runs: Runs) -> None:
    runs.storage(deletionPolicy="Delete")
    await runs.run()
    assert runs.says() == ("False", "SecretNotFound")
    runs.admin_secret()
    runs.inputs.seen(("Secret", NAMESPACE, "pg-admin"), 10_000)
    assert runs.inputs.watched(("Secret", NAMESPACE, "pg-admin"))
    await runs.run()
    assert runs.says() == ("True", "Ready")


async def test_without_its_secret_nothing_is_held(runs: Runs) -> None:
    runs.storage(deletionPolicy="Delete")
    await runs.run()
    assert "finalizers" not in (runs.api.read("cipherstorages", "chat") or {})["metadata"]


DOORS: dict[str, tuple[dict[str, Any], tuple[str, str], str]] = {
    "nobody listens there": ({"host": "127.0.0.1", "port": 1}, ("True", "Ready"), "could not be tested from here"),
    "the name does not exist": ({"host": "no-such-host.invalid"}, ("True", "Ready"), "could not be tested from here"),
    "it must be tested": (
        {"host": "127.0.0.1", "port": 1, "verify": "Always"},
        ("False", "ConnectionRefused"),
        "at the pods' door",
    ),
    "it is not to be tested": ({"host": "127.0.0.1", "port": 1, "verify": "Never"}, ("True", "Ready"), ""),
}


@pytest.mark.parametrize("case", list(DOORS))
async def test_the_pods_door(runs: Runs, case: str) -> None:
    app, says, words = DOORS[case]
    runs.admin_secret()
    runs.storage(app=app)
    await runs.run()
    assert runs.says() == says
    assert words in runs.message()
    if says[0] == "False":
        assert runs.api.read("secrets", "chat-cipher") is None, "pods are not sent to a door that does not open"
    if not words:
        assert "door" not in runs.message()


async def test_a_door_that_refuses_the_login_is_not_ready(
    runs: Runs, postgres_server: Callable[..., PostgresServer]
) -> None:
    other = postgres_server(16)
    runs.admin_secret()
    runs.storage(app={"host": other.host, "port": other.port})
    await runs.run()
    assert runs.says()[0] == "False"
    assert "at the pods' door" in runs.message()
    assert runs.api.read("secrets", "chat-cipher") is None


async def test_a_door_that_lets_the_login_in(runs: Runs, fault_proxy: Proxies) -> None:
    proxy = fault_proxy(runs.server.port)
    await runs.ready(app={"host": "127.0.0.1", "port": proxy.port})
    assert "door" not in runs.message()
    assert runs.secret()["port"] == str(proxy.port)


async def test_a_server_that_was_rewound_is_noticed_at_the_next_check(own: Runs, tmp_path: Path) -> None:
    await own.ready()
    data = own.server.data_path
    own.server.stop()
    subprocess.run(["cp", "-a", str(data), str(tmp_path / "copy")], check=True)
    own.server.start()
    for number in range(2):
        own.ask("rotate", str(number))
        await own.run()
        await own.run()
    own.server.stop()
    shutil.rmtree(data)
    subprocess.run(["cp", "-a", str(tmp_path / "copy"), str(data)], check=True)
    own.server.start()
    with pytest.raises(psycopg.OperationalError):
        own.app()
    await own.run()
    assert own.says() == ("True", "Ready")
    own.app().close()


async def test_a_secret_that_somebody_deletes_is_held_and_said(runs: Runs) -> None:
    await runs.ready(deletionPolicy="Delete")
    runs.api.delete("secrets", "pg-admin")
    await runs.run()
    assert runs.says() == ("True", "Ready")
    assert "Secret 'pg-admin' is being deleted and is held" in runs.message()
    await runs.run()
    assert [reason for reason, _ in runs.api.events()].count("SecretHeld") == 1
    runs.spec(deletionPolicy="Retain")
    await runs.run()
    assert runs.api.read("secrets", "pg-admin") is None


LABELS: dict[str, tuple[Any, tuple[str, str]]] = {
    "our label is gone, our owner reference is there": (
        {"metadata": {"labels": {"storage.cipher.dev/name": None}}},
        ("True", "Ready"),
    ),
    "neither is there": (
        {"metadata": {"labels": {"storage.cipher.dev/name": None}, "ownerReferences": None}},
        ("False", "AlreadyExists"),
    ),
    "the owner reference is gone: a restored backup": ({"metadata": {"ownerReferences": None}}, ("True", "Ready")),
}


@pytest.mark.parametrize("case", list(LABELS))
async def test_whose_an_app_secret_is(runs: Runs, case: str) -> None:
    change, says = LABELS[case]
    await runs.ready()
    runs.api.change("secrets", "chat-cipher", change)
    await runs.run()
    assert runs.says() == says
    if says[0] == "True":
        metadata = (runs.api.read("secrets", "chat-cipher") or {})["metadata"]
        assert metadata["labels"]["storage.cipher.dev/name"] == "chat"
        assert metadata["ownerReferences"][0]["controller"]


async def test_owners_and_immutability_that_others_gave_stay(runs: Runs) -> None:
    await runs.ready()
    secret = runs.api.read("secrets", "chat-cipher") or {}
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "their-uid"}
    runs.api.change("secrets", "chat-cipher", {"metadata": {"ownerReferences": [*_owners(secret), theirs]}})
    runs.ask("rotate")
    await runs.run()
    assert theirs in _owners(runs.api.read("secrets", "chat-cipher") or {})


def _owners(secret: dict[str, Any]) -> list[dict[str, Any]]:
    owners: list[dict[str, Any]] = secret["metadata"].get("ownerReferences", [])
    return owners


async def test_a_secret_that_goes_while_it_is_written_is_a_race(runs: Runs) -> None:
    await runs.ready()
    runs.ask("rotate")

    async def gone() -> None:
        runs.api.delete("secrets", "chat-cipher")

    runs.api.fault("PUT", "/secrets/", act=gone, times=1)
    await runs.run()
    assert "trying again" in runs.message()
    assert "RBAC" not in runs.message()
    await runs.until(lambda: runs.says()[0] == "True")
    runs.app().close()


async def test_what_an_admission_policy_says_is_repeated_without_values(runs: Runs) -> None:
    needs = lambda body: "team" in (body["metadata"].get("labels") or {})  # noqa: E731
    runs.api.policy("secrets", "need-team", "label team is required", allows=needs)
    runs.admin_secret = lambda *a, **k: None  # type: ignore[method-assign]
    runs.api.secret("pg-admin", {"CIPHER_PG_URL": runs.server.admin_url(sslmode="disable")}, labels={"team": "x"})
    runs.storage()
    await runs.run()
    assert runs.says() == ("False", "Unknown")
    assert "label team is required" in runs.message()
    assert "`spec.app.labels`" in runs.message()
    runs.spec(app={"labels": {"team": "search"}})
    await runs.until(lambda: runs.says()[0] == "True")


async def test_an_api_server_in_trouble_keeps_the_password_that_was_set(runs: Runs) -> None:
    runs.admin_secret()
    runs.storage()
    runs.api.answer(429, "TooManyRequests", verb="POST", path="/secrets", times=1)
    following = await runs.run()
    assert following.failed
    assert runs.api.read("secrets", "chat-cipher") is None
    runs.lanes._of("api").open()
    runs.server.mark_log()
    await runs.run()
    assert runs.says() == ("True", "Ready")
    assert runs.server.log_text().count("PASSWORD 'SCRAM") == 0, "it is not made anew"
    assert not runs.secret()["username"].endswith("_b")


async def test_a_ca_that_went_with_its_namespace_keeps_no_deletion(runs: Runs) -> None:
    await runs.ready(deletionPolicy="Delete")
    assert finalizer_of(runs, "secrets", "pg-admin") == [IN_USE_FINALIZER]
    assert finalizer_of(runs, "cipherstorages", "chat") == [FINALIZER]


def finalizer_of(runs: Runs, plural: str, name: str) -> list[str]:
    found: list[str] = (runs.api.read(plural, name) or {"metadata": {}})["metadata"].get("finalizers", [])
    return found


async def test_a_storage_that_is_made_again_while_a_run_is_under_way_gets_a_status_of_its_own(runs: Runs) -> None:
    await runs.ready()
    old = (runs.api.read("cipherstorages", "chat") or {})["metadata"]["uid"]

    async def replaced() -> None:
        runs.api.delete("cipherstorages", "chat")
        runs.storage()

    runs.sql("DROP TABLE cipher_lists", runs.database)
    runs.spec(user={"connectionLimit": 7})
    runs.api.fault("PATCH", "/status", act=replaced, times=1)
    await runs.run()
    new = runs.api.read("cipherstorages", "chat") or {}
    assert new["metadata"]["uid"] != old
    assert "conditions" not in new.get("status", {}), "nothing of the old one stands on the new one"
    await runs.until(lambda: runs.says()[0] == "True")


async def test_a_run_that_takes_long_says_so_once(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tell, "SAY_AFTER", 0.2)
    runs.admin_secret()
    runs.storage()
    said: list[tuple[str, str]] = []

    async def slow() -> None:
        await asyncio.sleep(0.5)
        said.append(runs.says())

    runs.api.fault("POST", "/secrets", act=slow, times=1)
    await runs.run()
    assert said == [("False", "Progressing")]
    assert runs.says() == ("True", "Ready")


async def test_a_blocked_address_is_no_refusal_at_the_pods_door(runs: Runs) -> None:
    blocked = replace(runs.policy, blocked=parse_blocked_ranges("10.0.0.0/8"))
    other = Runs(runs.server, runs.database, instance=runs.instance, policy=blocked)
    await other.ready(app={"host": "10.1.2.3"})
    assert str(Reason.BLOCKED_ADDRESS) in other.message()
    await other.close()


async def test_the_app_cannot_connect_while_it_is_not_proven(runs: Runs) -> None:
    """The Secret appears with a login that works, never before."""
    runs.admin_secret()
    runs.storage()
    await runs.run()
    psycopg.connect(runs.secret()["uri"]).close()


async def test_a_pooler_with_a_list_of_its_own_is_said_as_that(runs: Runs) -> None:
    with Pooler(runs.server, "session", databases="postgres") as pooler:
        url = runs.server.admin_url(sslmode="disable").replace(f":{runs.server.port}/", f":{pooler.port}/")
        runs.api.secret("pg-admin", {"CIPHER_PG_URL": url})
        runs.storage()
        for _ in range(2):
            await runs.run()
            assert runs.says() == ("False", "DatabaseMissing")
            assert "does not know it: a connection pooler" in runs.message()
            assert "trying again" not in runs.message()
    assert runs.sql(f"SELECT 1 FROM pg_database WHERE datname = '{runs.database}'") == [(1,)]
    runs.admin_secret()
    await runs.until(lambda: runs.says()[0] == "True")


async def test_two_logins_that_take_turns_in_shared_mode_leave_the_tables_where_they_are(runs: Runs) -> None:
    user, clone = f"{runs.database}_user", f"{runs.database}_clone"
    runs.sql(f"CREATE ROLE {user} LOGIN PASSWORD 'a'")
    runs.sql(f'CREATE DATABASE "{runs.database}" OWNER {user}')
    runs.admin_secret(user=user, password="a", database=runs.database)
    runs.storage(user={"mode": "Shared"}, database={"name": runs.database, "create": False})
    await runs.until(lambda: runs.says()[0] == "True")
    runs.sql(f"CREATE ROLE {clone} LOGIN PASSWORD 'b' IN ROLE {user}")
    owner = "SELECT DISTINCT tableowner FROM pg_tables WHERE tablename LIKE 'cipher%'"
    for login, password in ((clone, "b"), (user, "a")):
        runs.admin_secret(user=login, password=password, database=runs.database)
        await runs.run()
        assert runs.says() == ("True", "Ready"), runs.message()
        assert runs.sql(owner, runs.database) == [(user,)]
        with runs.app() as app:
            app.execute("INSERT INTO cipher_store VALUES (%s, 'x', now(), now())", [login])


async def test_roles_that_an_upgrade_left_unmanaged_are_said_before_a_rotation_needs_them(runs: Runs) -> None:
    admin = f"admin_{runs.database}"
    runs.sql(f"CREATE ROLE {admin} LOGIN CREATEROLE CREATEDB PASSWORD 'admin-pw'")
    runs.admin_secret(user=admin, password="admin-pw")
    await runs.ready()
    login = runs.secret()["username"]
    roles = f'"{login}_owner", "{login}"'
    runs.sql(f"REVOKE {roles} FROM {admin} CASCADE")
    runs.sql(f'GRANT "{login}_owner" TO {admin} WITH ADMIN FALSE, INHERIT TRUE, SET TRUE')
    runs.sql(f'GRANT "{login}_owner" TO "{login}"')
    await runs.run()
    assert runs.says() == ("True", "Ready"), runs.message()
    assert "may not manage role" in runs.message()
    remedy = runs.message().split("run: ")[1].split(" (as")[0]
    runs.sql(remedy)
    await runs.run()
    assert "may not manage" not in runs.message()
    runs.ask("rotate")
    await runs.run()
    assert runs.says() == ("True", "Ready"), runs.message()
    runs.app().close()


async def test_what_a_hostile_marker_says_is_one_printable_line(runs: Runs) -> None:
    await runs.ready()
    user = runs.secret()["username"]
    ((comment,),) = runs.sql(f"SELECT shobj_description('\"{user}_owner\"'::regrole, 'pg_authid')")
    name = "x\\u001b[31m\\u0007" + "y" * 3_000
    hostile = comment.replace('"name":"chat"', f'"name":"{name}"')
    assert hostile != comment
    runs.server.execute(f"COMMENT ON ROLE \"{user}_owner\" IS '{hostile}'")
    await runs.run()
    assert runs.says() == ("False", "Conflict"), runs.message()
    assert runs.message().isprintable()


ODD: dict[str, str] = {
    "no row": "SELECT 1 WHERE false",
    "another type": "SELECT 5",
    "an object without what was asked for": "SELECT '{}'::jsonb",
    "an object with something else in it": 'SELECT \'{"server": 5, "database": null}\'::jsonb',
}


@pytest.mark.parametrize("case", ODD)
@pytest.mark.parametrize("before", [False, True], ids=["a new storage", "one that is Ready"])
async def test_a_server_that_answers_what_was_not_asked_is_told(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, case: str, before: bool
) -> None:
    """Anybody can name a server of his own, which says what it likes."""
    if before:
        await runs.ready()
    else:
        runs.admin_secret()
        runs.storage()
    monkeypatch.setattr(inspect, "catalog_query", lambda *_, **__: sql.SQL(ODD[case]))
    following = await runs.run()
    assert (runs.says(), following.failed) == (("False", "Unknown"), True)
    assert "operator's log" in runs.message()
    assert "a run failed unexpectedly" in caplog.text
    monkeypatch.undo()
    await runs.until(lambda: runs.says() == ("True", "Ready"))
