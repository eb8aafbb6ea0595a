"""What a tenant, or a platform team's own change, must not bring about: each was seen to go wrong once."""

from typing import Any

import pytest

from cipher_operator.reconcile.inputs import PLACE
from devcluster import PostgresServer
from support.runs import NAMESPACE, SERVERS
from support.tenants import PROD, Tenants


async def test_a_storage_that_never_was_ready_goes_with_its_server(tenants: Tenants) -> None:
    """Each waited for the other: the server was held for the storage, which was no longer let in."""
    tenants.platform(limits={"deletionPolicies": ["Delete", "Retain"]})
    before = tenants.there()
    tenants.api.secret("chat-cipher", {"of": "somebody else"})
    tenants.tenant(deletionPolicy="Delete")
    assert await tenants.look() == ("False", "AlreadyExists")
    await tenants.look_at_server()
    tenants.api.delete("cipherservers", PROD, namespace="")
    await tenants.look_at_server()
    tenants.api.delete("cipherstorages", "chat")
    await tenants.look()
    assert tenants.api.read("cipherstorages", "chat") is None, tenants.text()
    assert tenants.there() == before
    await tenants.look_at_server()
    assert tenants.api.read("cipherservers", PROD, namespace="") is None


@pytest.mark.parametrize("limits", [{}, {"databaseNames": "^{namespace}_.*"}], ids=["none", "a pattern"])
async def test_a_forged_status_asks_for_no_names(tenants: Tenants, limits: dict[str, Any]) -> None:
    """'Lost' for what is not there, and 'beyond the limits' for what is, told whether another's database exists."""
    tenants.sql("CREATE DATABASE victim_reports")
    tenants.platform(limits=limits)
    told = []
    for name in ("victim_reports", "victim_nothing"):
        tenants.tenant("chat", database={"name": name})
        tenants.forge(name)
        said = await tenants.look()
        told.append((said, tenants.api.condition()["message"].replace(name, "*")))
        tenants.api.delete("cipherstorages", "chat")
        await tenants.look()
    assert told[0] == told[1]


async def test_a_plan_names_nobody_but_the_tenant(tenants: Tenants) -> None:
    role = f"admin_{tenants.database}"
    tenants.sql(f"CREATE ROLE {role} LOGIN CREATEROLE CREATEDB PASSWORD 'pw'")
    tenants.platform()
    url = tenants.server.admin_url(sslmode="disable", user=role, password="pw")
    tenants.api.secret(f"{PROD}-admin", {"CIPHER_PG_URL": url}, namespace=SERVERS)
    tenants.tenant(managementPolicy="Observe")
    assert await tenants.look() == ("False", "ChangesPending")
    assert role not in tenants.text()
    tenants.spec(managementPolicy="Manage")
    for _ in range(3):
        await tenants.look()
    assert tenants.told() == ("True", "Ready")
    assert role not in tenants.text()


async def test_a_secret_of_a_server_that_is_deleted_alone_is_said(tenants: Tenants) -> None:
    """With no word of it, the login is gone the moment the last user goes."""
    tenants.platform()
    await tenants.ready_tenant()
    await tenants.look_at_server()
    tenants.api.delete("secrets", f"{PROD}-admin", namespace=SERVERS)
    await tenants.look_at_server()
    ready = tenants.server_ready()
    assert ready["status"] == "True"
    assert f"Secret '{PROD}-admin' is being deleted and is held" in ready["message"]
    assert f"{PROD}-admin" not in tenants.text()


async def test_a_certificate_that_comes_later_keeps_no_deletion(tenants: Tenants) -> None:
    tenants.platform(limits={"deletionPolicies": ["Delete", "Retain"]})
    before = tenants.there()
    await tenants.ready_tenant(deletionPolicy="Delete")
    # Verified where it can be; how pods do it is no matter any more.
    tenants.api.secret("ca", {"ca.crt": "x"}, namespace=SERVERS)
    tenants.change_server(connection={"sslMode": "verify-full", "caRef": {"kind": "Secret", "name": "ca"}})
    tenants.api.delete("cipherstorages", "chat")
    await tenants.look()
    assert "caPath" not in tenants.text()
    tenants.change_server(connection={"sslMode": "disable", "caRef": None})
    await tenants.look()
    assert tenants.api.read("cipherstorages", "chat") is None
    assert tenants.there() == before


async def test_a_place_that_becomes_free_is_known_to_who_waits_for_it(tenants: Tenants) -> None:
    tenants.platform(limits={"storages": 1})
    await tenants.ready_tenant("first")
    tenants.tenant("second")
    assert await tenants.look("second") == ("False", "LimitExceeded")
    waiting = tenants.inputs.users((PLACE, NAMESPACE, PROD))
    assert list(waiting) == [(NAMESPACE, "second")]
    await tenants.gone("first")
    assert await tenants.look("second") == ("True", "Ready")
    assert not tenants.inputs.users((PLACE, NAMESPACE, PROD))


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_name_that_is_used_again_does_not_carry_a_claim_to_a_database_of_others(
    tenants: Tenants, policy: str
) -> None:
    """A marker says `created: database` of the database of then."""
    tenants.sql("CREATE DATABASE ns_reports")
    tenants.platform(limits={"databaseNames": "^{namespace}_.*", "deletionPolicies": ["Delete", "Retain"]})
    await tenants.ready_tenant(database={"name": "ns_mine"})
    tenants.api.delete("cipherstorages", "chat")
    await tenants.look()
    before = tenants.there()
    tenants.tenant(database={"name": "ns_reports"}, deletionPolicy=policy)
    assert await tenants.look() == ("False", "LimitExceeded")
    tenants.api.delete("cipherstorages", "chat")
    await tenants.look()
    found = tenants.there()
    assert [row for row in before if row[0] == "ns_reports"] == [row for row in found if row[0] == "ns_reports"]


async def test_two_servers_of_one_host_are_no_way_around_a_limit(server: PostgresServer, tenants: Tenants) -> None:
    tenants.platform(limits={"storages": 1})
    tenants.api.secret("twin-admin", {"CIPHER_PG_URL": server.admin_url(sslmode="disable")}, namespace=SERVERS)
    tenants.api.server("twin", {"limits": {"storages": 1}})
    await tenants.ready_tenant("first")
    tenants.tenant("second")
    assert await tenants.look("second") == ("False", "LimitExceeded")
    # A server's limits are its own: another one has another login, and other limits.
    tenants.spec("second", connection={"serverRef": {"name": "twin"}})
    assert await tenants.look("second") == ("True", "Ready")
