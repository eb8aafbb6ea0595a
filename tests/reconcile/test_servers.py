"""A CipherServer's own run: what it says of its login, who uses it, and what is held for whom."""

from typing import Any

import pytest

from cipher_operator.api.names import FINALIZER
from cipher_operator.postgres import rights
from support.runs import NAMESPACE, SERVERS
from support.tenants import PROD, Tenants


async def test_a_server_says_what_its_login_may(tenants: Tenants) -> None:
    tenants.platform()
    await tenants.look_at_server()
    status = tenants.server_status()
    assert (tenants.server_ready()["status"], tenants.server_ready()["reason"]) == ("True", "Ready")
    assert status["rights"][0] == "SUPERUSER"
    assert status["serverVersion"].startswith("16.")
    assert (status["storages"], status["observedGeneration"]) == (0, 1)
    assert [each["type"] for each in status["conditions"]] == ["Ready"]
    events = [each for each in tenants.api.store.objects.values() if each.get("regarding", {}).get("name") == PROD]
    assert [(each["regarding"]["kind"], each["reason"]) for each in events] == [("CipherServer", "Ready")]


LACKING: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "roles": ("CREATEDB", {}, "InsufficientPrivilege", 'ALTER ROLE "{}" CREATEROLE'),
    "databases": ("CREATEROLE", {}, "InsufficientPrivilege", 'ALTER ROLE "{}" CREATEDB'),
    "databases, and existing ones may be used": (
        "CREATEROLE",
        {"existingDatabases": True},
        "Ready",
        'ALTER ROLE "{}" CREATEDB',
    ),
}


@pytest.mark.parametrize(("given", "limits", "reason", "remedy"), LACKING.values(), ids=LACKING)
async def test_what_the_login_lacks_is_said_with_its_remedy(
    tenants: Tenants, given: str, limits: dict[str, Any], reason: str, remedy: str
) -> None:
    role = f"admin_{tenants.database}"
    tenants.sql(f"CREATE ROLE {role} LOGIN {given} PASSWORD 'pw'")
    tenants.platform(limits=limits)
    url = tenants.server.admin_url(sslmode="disable", user=role, password="pw")
    tenants.api.secret(f"{PROD}-admin", {"CIPHER_PG_URL": url}, namespace=SERVERS)
    await tenants.look_at_server()
    assert tenants.server_ready()["reason"] == reason
    assert remedy.format(role).replace('"', "") in tenants.server_ready()["message"].replace('"', "")
    tenants.sql(remedy.format(role))
    tenants.seconds += 400
    await tenants.look_at_server()
    assert tenants.server_ready()["status"] == "True"


async def test_a_server_that_answers_what_was_not_asked_is_told(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tenants.platform()
    monkeypatch.setattr(rights, "_QUERY", "SELECT 5")
    await tenants.look_at_server()
    assert (tenants.server_ready()["status"], tenants.server_ready()["reason"]) == ("False", "Unknown")
    assert "a run failed unexpectedly" in caplog.text


async def test_a_spec_that_serves_nobody_is_said(tenants: Tenants) -> None:
    tenants.platform(limits={"databaseNames": "{namespace}_[z-a]"})
    await tenants.look_at_server()
    assert (tenants.server_ready()["status"], tenants.server_ready()["reason"]) == ("False", "InvalidSpec")
    assert "spec.limits.databaseNames" in tenants.server_ready()["message"]
    assert {each["type"] for each in tenants.server_status()["conditions"]} == {"Ready", "Stalled"}
    tenants.tenant()
    assert await tenants.look() == ("False", "ServerNotAvailable")
    assert "databaseNames" not in tenants.text()


async def test_what_cannot_be_read_is_not_let_go_while_somebody_names_it(tenants: Tenants) -> None:
    tenants.platform()
    await tenants.ready_tenant()
    await tenants.look_at_server()
    stored = tenants.api.store.objects["/apis/storage.cipher.dev/v1alpha1/cipherservers", "", PROD]
    stored["spec"]["allowedNamespaces"] = {"from": "Everywhere"}
    await tenants.look_at_server()
    assert tenants.held("cipherservers", PROD)


async def test_users_are_counted_where_they_are_allowed(tenants: Tenants) -> None:
    tenants.platform(allowedNamespaces={"from": "Selector", "names": [NAMESPACE]})
    await tenants.ready_tenant()
    tenants.tenant("chat", "stranger")
    await tenants.look("chat", "stranger")
    await tenants.look_at_server()
    assert tenants.server_status()["storages"] == 1
    logins = tenants.counts.connections["admin"]
    tenants.tenant("second")
    await tenants.look("second")
    users = tenants.counts.connections["admin"]
    following = await tenants.look_at_server()
    assert tenants.server_status()["storages"] == 1, "written every 30 s at most"
    assert following.after is not None
    assert following.after <= 30
    tenants.seconds += 31
    await tenants.look_at_server()
    assert tenants.server_status()["storages"] == 2
    assert tenants.counts.connections["admin"] == users > logins, "counting logs in nowhere"


async def test_a_look_that_finds_the_same_writes_nothing(tenants: Tenants) -> None:
    tenants.platform()
    await tenants.look_at_server()
    writes = tenants.writes()
    tenants.seconds += 400
    await tenants.look_at_server()
    assert tenants.writes() == writes
    assert tenants.counts.connections["admin"] == 2


async def test_a_server_in_use_is_held_and_says_so(tenants: Tenants) -> None:
    tenants.platform()
    await tenants.ready_tenant()
    await tenants.look_at_server()
    assert tenants.held("cipherservers", PROD)
    assert tenants.held("secrets", f"{PROD}-admin", SERVERS)
    tenants.api.delete("cipherservers", PROD, namespace="")
    tenants.api.delete("secrets", f"{PROD}-admin", namespace=SERVERS)
    await tenants.look_at_server()
    assert "is being deleted and is held, because 1 CipherStorage uses it" in tenants.server_ready()["message"]
    assert await tenants.look() == ("True", "Ready"), "who uses it goes on"
    assert "CipherServer" in str(tenants.api.events()), "and is told"
    tenants.tenant("late")
    assert await tenants.look("late") == ("False", "ServerNotAvailable"), "nobody new"
    for name in ("chat", "late"):
        tenants.api.delete("cipherstorages", name)
        await tenants.look(name)
    await tenants.look_at_server()
    assert tenants.api.read("cipherservers", PROD, namespace="") is None
    await tenants.look_at_server()
    assert tenants.api.read("secrets", f"{PROD}-admin", namespace=SERVERS) is None


async def test_a_server_that_is_deleted_by_force_leaves_its_storages_as_they_are(tenants: Tenants) -> None:
    tenants.platform()
    await tenants.ready_tenant()
    before = tenants.there()
    tenants.api.change("cipherservers", PROD, {"metadata": {"finalizers": []}}, namespace="")
    tenants.api.delete("cipherservers", PROD, namespace="")
    assert await tenants.look() == ("False", "ServerNotAvailable")
    assert tenants.there() == before
    await tenants.look_at_server()
    assert not tenants.held("secrets", f"{PROD}-admin", SERVERS)
    tenants.api.server(PROD)
    assert await tenants.look() == ("True", "Ready")


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
async def test_who_is_not_let_in_any_more_does_not_hold_a_server(tenants: Tenants, policy: str) -> None:
    """Made anew on both sides: each would wait for the other to go."""
    tenants.platform(limits={"deletionPolicies": ["Delete", "Retain"]})
    await tenants.ready_tenant(deletionPolicy=policy)
    await tenants.look_at_server()
    tenants.api.delete("cipherservers", PROD, namespace="")
    tenants.api.delete("cipherstorages", "chat")
    await tenants.look()
    tenants.tenant(deletionPolicy=policy)
    assert await tenants.look() == ("False", "ServerNotAvailable")
    await tenants.look_at_server()
    assert tenants.api.read("cipherservers", PROD, namespace="") is None
    tenants.api.server(PROD, {"limits": {"deletionPolicies": ["Delete", "Retain"]}})
    assert await tenants.look() == ("True", "Ready")


async def test_what_a_run_began_and_did_not_end_holds_a_server(tenants: Tenants) -> None:
    tenants.platform(limits={"deletionPolicies": ["Delete", "Retain"]})
    await tenants.ready_tenant(deletionPolicy="Delete")
    await tenants.look_at_server()
    tenants.forget("chat")
    tenants.api.delete("cipherservers", PROD, namespace="")
    await tenants.look_at_server()
    assert "because 1 CipherStorage uses it" in tenants.server_ready()["message"]


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
async def test_a_server_is_held_for_what_is_still_to_be_dropped(tenants: Tenants, policy: str) -> None:
    """Its users lost the permission: one that must drop what it created still needs the way there, and its Secret."""
    tenants.platform(limits={"deletionPolicies": ["Delete", "Retain"]})
    before = tenants.there()
    await tenants.ready_tenant(deletionPolicy=policy)
    await tenants.look_at_server()
    tenants.change_server(allowedNamespaces={"from": "Selector", "names": ["other"]})
    assert await tenants.look() == ("False", "ServerNotAvailable")
    await tenants.look_at_server()
    assert tenants.server_status()["storages"] == 0
    needed = policy == "Delete"
    assert tenants.held("cipherservers", PROD) is needed
    assert tenants.held("secrets", f"{PROD}-admin", SERVERS) is needed
    tenants.api.delete("cipherservers", PROD, namespace="")
    await tenants.look_at_server()
    assert (tenants.api.read("cipherservers", PROD, namespace="") is not None) is needed
    if not needed:
        return
    assert (
        "1 of namespaces that may not use it any more have `deletionPolicy: Delete`"
        in tenants.server_ready()["message"]
    )
    tenants.change_server(allowedNamespaces={"from": "All", "names": None})
    tenants.api.delete("cipherstorages", "chat")
    await tenants.look()
    assert tenants.api.read("cipherstorages", "chat") is None
    assert tenants.there() == before
    await tenants.look_at_server()
    assert tenants.api.read("cipherservers", PROD, namespace="") is None


async def test_who_never_was_allowed_cannot_hold_a_server(tenants: Tenants) -> None:
    """Naming it, and our finalizer, are what anybody can write."""
    tenants.platform(allowedNamespaces={"from": "Selector", "names": ["other"]})
    tenants.tenant(deletionPolicy="Delete")
    tenants.api.change("cipherstorages", "chat", {"metadata": {"finalizers": [FINALIZER]}})
    assert await tenants.look() == ("False", "ServerNotAvailable")
    await tenants.look_at_server()
    assert not tenants.held("cipherservers", PROD)
    tenants.api.delete("cipherservers", PROD, namespace="")
    await tenants.look_at_server()
    assert tenants.api.read("cipherservers", PROD, namespace="") is None


async def test_a_server_is_let_go_where_the_deletion_was_forced(tenants: Tenants) -> None:
    tenants.platform(limits={"deletionPolicies": ["Delete", "Retain"]})
    await tenants.ready_tenant(deletionPolicy="Delete")
    await tenants.look_at_server()
    tenants.change_server(allowedNamespaces={"from": "Selector", "names": ["other"]})
    tenants.api.delete("cipherservers", PROD, namespace="")
    tenants.api.delete("cipherstorages", "chat")
    await tenants.look()
    await tenants.look_at_server()
    assert tenants.held("cipherservers", PROD)
    force = {"metadata": {"annotations": {"storage.cipher.dev/force-delete": "true"}}}
    tenants.api.change("cipherstorages", "chat", force)
    await tenants.look()
    await tenants.look_at_server()
    assert tenants.api.read("cipherservers", PROD, namespace="") is None
    await tenants.look_at_server()
    assert not tenants.held("secrets", f"{PROD}-admin", SERVERS)


async def full_lane(tenants: Tenants) -> int:
    """Return how many connections the operator may have at once, after as many looks as it takes to open them."""
    for _ in range(4):
        await tenants.look_at_server()
    return tenants.lanes.counts().slots


async def test_a_deletion_takes_no_more_connections_than_the_server_gives(tenants: Tenants) -> None:
    tenants.platform(limits={"deletionPolicies": ["Delete"]}, maxConnections=2)
    await tenants.ready_tenant(deletionPolicy="Delete")
    assert await full_lane(tenants) == 2
    tenants.api.delete("cipherstorages", "chat")
    await tenants.look()
    assert tenants.api.read("cipherstorages", "chat") is None
    assert tenants.lanes.counts().slots == 2


async def test_a_storage_with_the_same_login_in_its_own_secret_takes_no_more_either(tenants: Tenants) -> None:
    tenants.platform(maxConnections=2)
    await tenants.ready_tenant()
    assert await full_lane(tenants) == 2
    tenants.api.secret("own", {"CIPHER_PG_URL": tenants.server.admin_url("own_db", sslmode="disable")})
    tenants.api.storage("own", {"connection": {"secretRef": {"name": "own"}}})
    await tenants.look("own")
    assert tenants.told("own") == ("True", "Ready")
    assert tenants.lanes.counts().slots == 2


async def test_more_connections_count_at_once_after_the_login_was_changed(tenants: Tenants) -> None:
    tenants.platform(maxConnections=2)
    await tenants.ready_tenant()
    assert await full_lane(tenants) == 2
    tenants.sql("CREATE ROLE next_admin LOGIN SUPERUSER PASSWORD 'next'")
    url = tenants.server.admin_url(user="next_admin", password="next", sslmode="disable")
    tenants.api.change("secrets", "prod-admin", {"stringData": {"CIPHER_PG_URL": url}}, namespace=SERVERS)
    tenants.change_server(maxConnections=6)
    assert await full_lane(tenants) == 6
    tenants.api.delete("cipherstorages", "chat")
    await tenants.look()
    tenants.api.delete("cipherservers", "prod", namespace="")
    await tenants.look_at_server()
    await tenants.look_at_server()
    assert tenants.lanes.counts().slots == 8, "nobody says anything of it any more"


@pytest.mark.parametrize(
    ("most", "allowed", "told"),
    [
        (1, {"from": "All"}, True),
        (2, {"from": "All"}, False),
        (1, {"from": "Selector", "names": ["shop"]}, False),
        (1, {"from": "Selector", "names": ["shop", "office"]}, True),
        (1, {"from": "Selector", "selector": {"matchLabels": {"cipher": "yes"}}}, True),
    ],
    ids=["one for all", "two", "one namespace", "two namespaces", "a label"],
)
async def test_a_server_whose_only_connection_many_share_says_so(
    tenants: Tenants, most: int, allowed: dict[str, Any], told: bool
) -> None:
    tenants.platform(maxConnections=most, allowedNamespaces=allowed)
    await tenants.look_at_server()
    ready = tenants.server_ready()
    assert ready["status"] == "True"
    assert ("`spec.maxConnections: 1`" in ready["message"]) is told
