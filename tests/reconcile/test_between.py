"""What happens between two moments of a run: others act there, and nothing of it is lost."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import sql

from cipher_operator.api.names import SERVER_KIND
from cipher_operator.postgres.session import Session
from cipher_operator.queue.needs import Busy
from cipher_operator.reconcile.at_work import AtWork
from cipher_operator.reconcile.conclude import REFUSED_FOR
from cipher_operator.reconcile.inputs import PLACE, Key, Ref, references
from support.memory_api import Refused
from support.runs import NAMESPACE, SERVERS, Runs
from support.tenants import PROD, Tenants

CHAT: Key = (NAMESPACE, "chat")
OTHER: Key = (NAMESPACE, "other")
SERVED = {"serverRef": {"name": PROD}}
IN_USE = "storage.cipher.dev/in-use"


def finalizers(runs: Runs, plural: str, name: str, namespace: str = NAMESPACE) -> list[str]:
    found = runs.api.read(plural, name, namespace=namespace)
    assert found is not None
    return found["metadata"].get("finalizers") or []


async def test_who_takes_hold_of_a_secret_that_is_about_to_be_let_go_holds_it(runs: Runs) -> None:
    await runs.ready(deletionPolicy="Delete")
    runs.api.delete("cipherstorages", "chat")

    async def another() -> None:
        runs.storage("second", deletionPolicy="Delete")
        await runs.run("second")

    runs.api.fault("PATCH", "/secrets/pg-admin", act=another, times=1)
    await runs.run()
    assert runs.api.read("cipherstorages", "chat") is None
    assert IN_USE in finalizers(runs, "secrets", "pg-admin")


async def test_a_server_that_takes_hold_of_such_a_secret_holds_it(tenants: Tenants) -> None:
    tenants.platform()
    await tenants.ready_tenant()
    await tenants.look_at_server()
    await tenants.gone()
    await tenants.look_at_server()
    assert IN_USE not in finalizers(tenants, "secrets", f"{PROD}-admin", SERVERS)
    await tenants.ready_tenant()
    await tenants.look_at_server()
    tenants.api.server("next", {"connection": {"secretRef": {"name": f"{PROD}-admin"}}})
    tenants.api.storage("other", {"connection": {"serverRef": {"name": "next"}}})
    tenants.inputs.set_references(OTHER, {(SERVER_KIND, "", "next")})
    await tenants.gone()

    async def another() -> None:
        await tenants.look_at_server("next")

    tenants.api.fault("PATCH", f"/secrets/{PROD}-admin", act=another, times=1)
    await tenants.look_at_server()
    assert tenants.held("cipherservers", "next")
    assert IN_USE in finalizers(tenants, "secrets", f"{PROD}-admin", SERVERS)


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/cipherservers/prod"),
        ("GET", "/secrets/prod-admin"),
        ("GET", "/secrets/chat-cipher"),
        ("PATCH", "/cipherstorages/chat$"),
        ("POST", "/secrets$"),
        ("PATCH", "/cipherstorages/chat/status"),
    ],
)
async def test_a_server_that_is_deleted_beside_a_first_run_is_held_or_not_begun_on(
    tenants: Tenants, policy: str, verb: str, path: str
) -> None:
    tenants.platform(limits={"deletionPolicies": ["Delete", "Retain"]})
    before = tenants.there()
    tenants.tenant(deletionPolicy=policy)
    tenants.inputs.set_references(CHAT, {(SERVER_KIND, "", PROD)})
    await tenants.look_at_server()
    assert tenants.held("cipherservers", PROD)

    async def deleted() -> None:
        tenants.api.delete("cipherservers", PROD, namespace="")
        await tenants.look_at_server()

    tenants.api.fault(verb, path, act=deleted, times=1)
    await tenants.look()
    await tenants.look_at_server()
    if tenants.api.read("cipherservers", PROD, namespace="") is None:
        assert tenants.there() == before
        assert tenants.told() == ("False", "ServerNotAvailable")
        assert finalizers(tenants, "cipherstorages", "chat") == []
    else:
        assert tenants.told() == ("True", "Ready")
        assert await tenants.look() == ("True", "Ready")


async def test_a_server_that_goes_at_once_is_not_available_as_any_other(tenants: Tenants) -> None:
    tenants.platform(limits={"deletionPolicies": ["Delete"]})
    before = tenants.there()
    tenants.tenant(deletionPolicy="Delete")

    def deleted() -> None:
        tenants.api.delete("cipherservers", PROD, namespace="")

    tenants.api.fault("PATCH", "/cipherstorages/chat$", act=deleted, times=1)
    assert await tenants.look() == ("False", "ServerNotAvailable")
    assert (tenants.there(), finalizers(tenants, "cipherstorages", "chat")) == (before, [])


async def test_a_server_that_waited_for_a_run_is_told_of_its_end() -> None:
    told: list[str] = []
    at_work, server = AtWork(told.append), (SERVER_KIND, "", PROD)
    with at_work.on(server, CHAT):
        pass
    assert (told, at_work.await_on(server)) == ([], frozenset())
    with contextlib.suppress(asyncio.CancelledError), at_work.on(server, CHAT), at_work.on(server, OTHER):
        assert at_work.await_on(server) == {CHAT, OTHER}
        raise asyncio.CancelledError
    assert told == [PROD]
    assert at_work.await_on(server) == frozenset()


async def test_a_place_that_gets_free_while_it_is_asked_for_is_told(tenants: Tenants) -> None:
    """However often that happens while one list is asked for after the other."""
    tenants.platform(limits={"storages": 1})
    for name in ("a", "b", "chat"):
        tenants.tenant(name)
        tenants.inputs.set_references((NAMESPACE, name), references((NAMESPACE, name), {"connection": SERVED}))
    told: set[Key] = set()

    def named(key: Key, begun: frozenset[Ref], ceased: frozenset[Ref]) -> None:
        if (SERVER_KIND, "", PROD) in ceased:
            told.clear()
            told.update(tenants.inputs.users((PLACE, NAMESPACE, PROD)))

    tenants.inputs.listen(named)
    get = tenants.api.get
    left = ["a", "b"]

    async def outdated(path: str, **query: Any) -> Any:
        answer = await get(path, **query)
        if path.endswith("/cipherstorages") and left:
            name = left.pop(0)
            tenants.api.delete("cipherstorages", name)
            tenants.inputs.forget((NAMESPACE, name))
        return answer

    tenants.api.get = outdated  # type: ignore[method-assign]
    says = await tenants.look()
    assert says == ("True", "Ready") or CHAT in told


async def test_nothing_is_begun_with_a_secret_that_goes_before_it_is_held(runs: Runs) -> None:
    runs.admin_secret()
    runs.storage(deletionPolicy="Delete")
    runs.api.fault("PATCH", "/cipherstorages/chat$", act=lambda: runs.api.delete("secrets", "pg-admin"), times=1)
    await runs.run()
    assert runs.says() == ("False", "SecretNotFound")
    runs.api.delete("cipherstorages", "chat")
    assert (await runs.run()).gone


async def test_a_login_that_changes_while_a_tenant_reads_it_starts_him_again(tenants: Tenants) -> None:
    tenants.platform()
    tenants.tenant()
    secret = "Secret", SERVERS, f"{PROD}-admin"
    get = tenants.api.get

    async def slow(path: str, **query: Any) -> Any:
        answer = await get(path, **query)
        if path.endswith(f"/secrets/{PROD}-admin"):
            tenants.api.secret(f"{PROD}-admin", {"CIPHER_PG_URL": "postgres://else@db/x"}, namespace=SERVERS)
            found = tenants.api.read("secrets", f"{PROD}-admin", namespace=SERVERS)
            assert found is not None
            tenants.inputs.seen(secret, int(found["metadata"]["resourceVersion"]))
        return answer

    tenants.api.get = slow  # type: ignore[method-assign]
    await tenants.look()
    assert CHAT in tenants.started


def told(runs: Runs, reason: str) -> list[str]:
    return [note for each, note in runs.api.events() if each == reason]


UNTOLD = {
    "the status is not written": ("PATCH", "/cipherstorages/chat/status", {"network": True}),
    "the status is refused": ("PATCH", "/cipherstorages/chat/status", {"answer": Refused(403, "Forbidden", "no")}),
    "the Secret is not written": ("POST", "/namespaces/ns/secrets", {"network": True}),
}


@pytest.mark.parametrize(("verb", "path", "what"), UNTOLD.values(), ids=UNTOLD)
async def test_what_a_run_did_that_could_not_tell_of_it_is_told_by_the_next(
    runs: Runs, verb: str, path: str, what: dict[str, Any]
) -> None:
    runs.admin_secret()
    runs.storage()
    runs.api.fault(verb, path, times=1, **what)
    await runs.run()
    await runs.until(lambda: runs.says() == ("True", "Ready"))
    (note,) = told(runs, "Created")
    assert "CREATE DATABASE" in note and "CREATE TABLE" in note
    await runs.run()
    assert len(told(runs, "Created")) == 1


async def test_what_a_run_did_is_told_by_the_one_that_says_what_the_api_server_fails_on(runs: Runs) -> None:
    runs.admin_secret()
    runs.storage()
    runs.api.answer(500, "InternalError", verb="POST", path="/namespaces/ns/secrets")
    for _ in range(2):
        await runs.run()
        runs.seconds += REFUSED_FOR
    assert runs.says() == ("False", "Unknown")
    (note,) = told(runs, "Created")
    assert "CREATE DATABASE" in note
    runs.api.mend()
    await runs.until(lambda: runs.says() == ("True", "Ready"))
    assert len(told(runs, "Created")) == 1


async def test_a_rotation_that_could_not_be_told_of_is_told_by_the_next_run(runs: Runs) -> None:
    await runs.ready()
    before = runs.secret()["password"]
    runs.ask("rotate")
    runs.api.fault("PATCH", "/cipherstorages/chat/status", times=1, network=True)
    await runs.run()
    rotated = runs.secret()["password"]
    assert rotated != before and told(runs, "PasswordRotated") == []
    await runs.run()
    assert runs.secret()["password"] == rotated
    (note,) = told(runs, "PasswordRotated")
    assert "CREATE ROLE" in note and rotated not in note


async def test_a_rotation_that_could_not_be_told_of_is_told_after_runs_that_fail(runs: Runs) -> None:
    await runs.ready()
    runs.ask("rotate")
    runs.api.fault("PATCH", "/cipherstorages/chat/status", times=1, network=True)
    await runs.run()
    runs.api.delete("secrets", "pg-admin")
    await runs.run()
    assert runs.says()[0] == "False" and told(runs, "PasswordRotated") == []
    runs.admin_secret()
    await runs.until(lambda: runs.says() == ("True", "Ready"))
    assert len(told(runs, "PasswordRotated")) == 1
    await runs.run()
    assert len(told(runs, "PasswordRotated")) == 1


async def test_a_password_that_was_set_again_is_told_where_its_proof_is_put_off(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await runs.ready()
    runs.sql(f"ALTER ROLE {runs.secret()['username']} PASSWORD 'another'")
    runs.ask()
    with cut_off(monkeypatch, "SAVEPOINT cipher_start", Busy()), contextlib.suppress(Busy):
        await runs.run()
    await runs.until(lambda: runs.says() == ("True", "Ready"))
    (note,) = told(runs, "DriftHealed")
    assert "PASSWORD '***'" in note


async def test_what_was_dropped_is_told_where_the_storage_could_not_be_let_go_at_once(runs: Runs) -> None:
    await runs.ready(deletionPolicy="Delete")
    runs.api.delete("cipherstorages", "chat")
    runs.api.fault("PATCH", "/cipherstorages/chat$", times=1, network=True)
    await runs.run()
    assert (await runs.run()).gone
    (note,) = told(runs, "Dropped")
    assert "DROP DATABASE" in note


@pytest.mark.parametrize("cut", [TimeoutError(), RuntimeError("x"), Busy()], ids=["too slow", "unforeseen", "put off"])
async def test_a_run_that_is_cut_off_tells_later_what_it_did(
    runs: Runs, cut: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.admin_secret()
    runs.storage(deletionPolicy="Delete")
    told = []
    for statement in ("CREATE TABLE", "DROP ROLE"):
        if statement == "DROP ROLE":
            runs.api.delete("cipherstorages", "chat")
        with cut_off(monkeypatch, statement, cut), contextlib.suppress(Busy):
            await runs.run()
        for _ in range(3):
            if runs.api.read("cipherstorages", "chat") is not None:
                await runs.run()
        told.append(" ".join(message for _, message in runs.api.events()))
    assert "CREATE ROLE" in told[0] and "CREATE DATABASE" in told[0] and "CREATE TABLE" in told[0]
    assert "DROP DATABASE" in told[1] and "DROP ROLE" in told[1]
    assert "NothingDropped" not in {reason for reason, _ in runs.api.events()}


@pytest.mark.parametrize("cut", [TimeoutError(), RuntimeError("x")], ids=["too slow", "unforeseen"])
async def test_a_deletion_that_is_cut_off_names_the_way_out(
    runs: Runs, cut: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    await runs.ready(deletionPolicy="Delete")
    runs.api.delete("cipherstorages", "chat")
    with cut_off(monkeypatch, "DROP ROLE", cut):
        await runs.run()
    assert runs.message().startswith("The deletion waits: ")
    assert 'force-delete: "true"' in runs.message()
    assert (await runs.run()).gone


async def test_a_run_that_is_cut_off_between_two_mends_tells_later_of_the_first(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await runs.ready()
    for table in ("cipher_store", "cipher_list_metadata"):
        runs.sql(f"ALTER TABLE {table} ALTER created_at DROP NOT NULL, ALTER updated_at DROP NOT NULL", runs.database)
    runs.ask()
    with cut_off(monkeypatch, '"updated_at" SET NOT NULL', Busy()), contextlib.suppress(Busy):
        await runs.run()
    await runs.until(lambda: runs.says() == ("True", "Ready"))
    said = " ".join(told(runs, "DriftHealed"))
    assert said.count("SET NOT NULL") == 4


@contextlib.contextmanager
def cut_off(monkeypatch: pytest.MonkeyPatch, statement: str, error: Exception) -> Iterator[None]:
    """Raise an error in the place of the first message that has a statement, after all before it ran."""
    execute = Session.execute

    async def cutting(self: Session, query: sql.Composed, *args: Any, **more: Any) -> Any:
        if statement in query.as_string():
            raise error
        return await execute(self, query, *args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "execute", cutting)
        yield
