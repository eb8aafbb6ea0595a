"""Storages on a CipherServer: what a tenant gets, and what he tries and does not get. On a real server each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from cipher_operator.api.names import FINALIZER, default_user_name, derived_name
from devcluster import PostgresServer
from support.runs import NAMESPACE, SERVERS
from support.tenants import PROD, Tenants

VICTIM = "victim"


def database_of(namespace: str, name: str) -> str:
    return derived_name(f"{namespace}_{name}", namespace, name, 63)


async def test_a_tenant_without_any_secret_is_ready(tenants: Tenants) -> None:
    tenants.platform()
    await tenants.look_at_server()
    assert not tenants.held("secrets", f"{PROD}-admin", SERVERS)
    await tenants.ready_tenant(app={"maxConnections": 4})
    status = tenants.api.status()
    assert status["database"] == database_of(NAMESPACE, "chat")
    assert status["user"] == default_user_name(NAMESPACE, "chat")
    with tenants.app() as app:
        app.execute("INSERT INTO cipher_store VALUES ('k', 'v', now(), now())")
    assert tenants.held("cipherservers", PROD), "held while it is used, whatever the deletion policy"
    assert tenants.held("secrets", f"{PROD}-admin", SERVERS), "with its login, before the server's own run sees to it"
    assert not tenants.api.read("cipherstorages", "chat")["metadata"].get("finalizers")  # type: ignore[index]
    assert tenants.counts.samples[-1].state == "ready"


async def test_what_the_server_gives_holds_where_the_storage_says_nothing(tenants: Tenants) -> None:
    tenants.platform(
        databaseNameTemplate="t_{name}_{namespace}",
        defaults={
            "app": {"host": "localhost", "port": tenants.server.port, "maxConnections": 7},
            "user": {"connectionLimit": 30},
            "interval": "1h",
        },
        limits={"userConnectionLimit": 40},
    )
    await tenants.ready_tenant()
    data = tenants.secret()
    assert data["STORAGE_DATABASE_NAME"] == derived_name(f"t_chat_{NAMESPACE}", NAMESPACE, "chat", 63)
    assert data["STORAGE_DATABASE_HOST"] == "localhost"
    assert data["CIPHER_PG_URL"].endswith("max_connections=7")
    user = default_user_name(NAMESPACE, "chat")
    assert tenants.sql(f"SELECT rolconnlimit FROM pg_roles WHERE rolname = '{user}'") == [(30,)]
    tenants.spec(app={"maxConnections": 3}, user={"connectionLimit": 5})
    assert await tenants.look() == ("True", "Ready")
    assert tenants.secret()["CIPHER_PG_URL"].endswith("max_connections=3")
    assert tenants.sql(f"SELECT rolconnlimit FROM pg_roles WHERE rolname = '{user}'") == [(5,)]


async def test_no_limit_of_connections_means_as_many_as_a_login_may_have(tenants: Tenants) -> None:
    tenants.platform(limits={"userConnectionLimit": 12})
    await tenants.ready_tenant()
    user = default_user_name(NAMESPACE, "chat")
    assert tenants.sql(f"SELECT rolconnlimit FROM pg_roles WHERE rolname = '{user}'") == [(12,)]


@dataclass(frozen=True)
class Attempt:
    """What a tenant asks for, under which limits; `reason` and a word of the message say what stops it."""

    spec: dict[str, Any]
    says: str
    limits: dict[str, Any] = field(default_factory=dict)
    reason: str = "LimitExceeded"
    logins: int = 0
    """How many sessions it may cost: what is refused by the spec alone asks no server."""
    namespace: str = NAMESPACE
    before: Callable[[Tenants], None] = lambda tenants: None


def _existing(tenants: Tenants) -> None:
    tenants.sql("CREATE DATABASE ns_reports")


ATTEMPTS = {
    "another tenant's database, by its name": Attempt(
        {"database": {"name": database_of(VICTIM, "chat")}}, "limits.databaseNames"
    ),
    "the maintenance database": Attempt({"database": {"name": "postgres"}}, "limits.databaseNames"),
    "a database of a name that is another namespace's": Attempt(
        {"database": {"name": "victim_reports"}}, "limits.databaseNames", {"databaseNames": "^{namespace}_.*"}
    ),
    "the name that another's template yields, in reach of the pattern": Attempt(
        {"database": {"name": database_of("ns-a", "b")}}, "limits.databaseNames", {"databaseNames": "^{namespace}_.*$"}
    ),
    "a database that others made": Attempt(
        {"database": {"name": "ns_reports"}},
        "limits.existingDatabases",
        {"databaseNames": "^{namespace}_.*"},
        logins=2,
        before=_existing,
    ),
    "another tenant's login": Attempt({"user": {"name": default_user_name(VICTIM, "chat")}}, "spec.user.name"),
    "the administrator's own login": Attempt({"user": {"mode": "Shared"}}, "spec.user.mode", reason="InvalidSpec"),
    "what nobody owns": Attempt({"adoptionPolicy": "IfUnowned"}, "limits.adoption"),
    "another tenant's objects": Attempt(
        {"adoptFrom": {"instance": "tenants-1", "namespace": VICTIM, "name": "chat"}}, "limits.adoption"
    ),
    "another tenant's objects, where adoption is allowed": Attempt(
        {"adoptFrom": {"instance": "tenants-1", "namespace": VICTIM, "name": "chat"}},
        "spec.adoptFrom.namespace",
        {"adoption": True},
    ),
    "to drop": Attempt({"deletionPolicy": "Delete"}, "limits.deletionPolicies"),
    "to keep where everything goes": Attempt({}, "limits.deletionPolicies", {"deletionPolicies": ["Delete"]}),
    "an extension": Attempt({"extensions": [{"name": "vector"}]}, "limits.extensions"),
    "all connections": Attempt(
        {"user": {"connectionLimit": 500}}, "limits.userConnectionLimit", {"userConnectionLimit": 20}
    ),
    "to look, without being let in": Attempt(
        {"database": {"name": database_of(VICTIM, "chat")}, "managementPolicy": "Observe"}, "limits.databaseNames"
    ),
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
async def test_an_escalation_gains_nothing(tenants: Tenants, attempt: Attempt) -> None:
    tenants.platform()
    await tenants.ready_tenant(namespace=VICTIM)
    attempt.before(tenants)
    tenants.change_server(limits=attempt.limits)
    before, logins = tenants.there(), tenants.counts.connections["admin"]
    tenants.tenant(namespace=attempt.namespace, **attempt.spec)
    assert await tenants.look(namespace=attempt.namespace) == ("False", attempt.reason)
    assert attempt.says in tenants.api.condition(namespace=attempt.namespace)["message"]
    assert tenants.there() == before
    assert tenants.counts.connections["admin"] - logins <= attempt.logins
    assert tenants.api.data("chat-cipher", namespace=attempt.namespace) is None
    told = tenants.text(namespace=attempt.namespace).replace(str(attempt.spec.get("database", {}).get("name")), "")
    assert VICTIM not in told.replace(str(attempt.spec.get("user", {}).get("name")), "")


ALLOWED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "names of his namespace": ({"database": {"name": "ns_memories"}}, {"databaseNames": "^{namespace}_[a-z]+$"}),
    "to drop": ({"deletionPolicy": "Delete"}, {"deletionPolicies": ["Retain", "Delete"]}),
    "a connection limit": ({"user": {"connectionLimit": 20}}, {"userConnectionLimit": 20}),
    "the derived names, said aloud": (
        {"database": {"name": database_of(NAMESPACE, "chat")}, "user": {"name": default_user_name(NAMESPACE, "chat")}},
        {},
    ),
    "to adopt": ({"adoptionPolicy": "IfUnowned"}, {"adoption": True}),
}


@pytest.mark.parametrize(("spec", "limits"), ALLOWED.values(), ids=ALLOWED)
async def test_what_the_limits_allow(tenants: Tenants, spec: dict[str, Any], limits: dict[str, Any]) -> None:
    tenants.platform(limits=limits)
    await tenants.ready_tenant(**spec)


async def test_an_existing_database_where_that_is_allowed(tenants: Tenants) -> None:
    tenants.sql("CREATE DATABASE ns_reports")
    tenants.platform(limits={"databaseNames": "^{namespace}_.*", "existingDatabases": True})
    await tenants.ready_tenant(database={"name": "ns_reports"})


FORGED = {
    "another tenant's database": database_of(VICTIM, "chat"),
    "the maintenance database": "postgres",
}


@pytest.mark.parametrize("recreate", [False, True], ids=["as it is", "and asks to begin again"])
@pytest.mark.parametrize("database", FORGED.values(), ids=FORGED)
async def test_a_status_that_says_it_stood_before_opens_nothing(
    tenants: Tenants, database: str, recreate: bool
) -> None:
    # As a storage has it that was ready on a server of the tenant's own, and then names the platform's.
    tenants.platform()
    await tenants.ready_tenant(namespace=VICTIM)
    tenants.tenant(database={"name": database}, deletionPolicy="Delete")
    tenants.forge(database)
    if recreate:
        tenants.ask("recreate")
    before = tenants.there()
    for _ in range(2):
        status, reason = await tenants.look()
        assert (status, reason) in {("False", "LimitExceeded"), ("False", "DatabaseLost")}
    assert tenants.there() == before
    assert tenants.api.data("chat-cipher") is None
    assert VICTIM not in tenants.text().replace(database, "")
    tenants.api.delete("cipherstorages", "chat")
    await tenants.look()
    assert tenants.there() == before, "nor does its deletion take anything"


@pytest.mark.parametrize("recreate", [False, True], ids=["as it is", "and asks to begin again"])
@pytest.mark.parametrize("database", FORGED.values(), ids=FORGED)
async def test_a_storage_that_stood_cannot_move_into_a_database_of_others(
    tenants: Tenants, database: str, recreate: bool
) -> None:
    tenants.platform()
    await tenants.ready_tenant(namespace=VICTIM)
    await tenants.ready_tenant()
    before = tenants.there()
    stored = tenants.api.store.objects
    chat = ("/apis/storage.cipher.dev/v1alpha1/cipherstorages", NAMESPACE, "chat")
    # The schema's rules refuse it, and nobody but the operator has the right to write a status.
    stored[chat]["spec"]["database"] = {"name": database}
    stored[chat]["status"]["database"] = database
    if recreate:
        tenants.ask("recreate")
    for _ in range(2):
        assert await tenants.look() in {("False", "LimitExceeded"), ("False", "DatabaseLost")}
    assert tenants.there() == before


async def test_names_that_are_one_after_normalising_stay_two(tenants: Tenants) -> None:
    tenants.platform()
    await tenants.ready_tenant("b-c", "a")
    await tenants.ready_tenant("c", "a-b")
    first, second = (tenants.api.status(name, namespace=space) for name, space in (("b-c", "a"), ("c", "a-b")))
    assert first["database"] != second["database"]
    assert first["user"] != second["user"]


async def test_a_foreign_marker_is_met_without_a_name(tenants: Tenants) -> None:
    tenants.platform()
    await tenants.ready_tenant()
    user = default_user_name(NAMESPACE, "chat")
    (marker,) = tenants.sql(f"SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = '{user}_owner'")[
        0
    ]
    forged = marker.replace('"ns":"ns"', f'"ns":"{VICTIM}"')
    tenants.sql(f"COMMENT ON ROLE {user}_owner IS '{forged}'")
    assert await tenants.look() == ("False", "Conflict")
    assert VICTIM not in tenants.text()
    assert "adoptFrom" not in tenants.text(), "no way that is closed is shown"


async def test_a_namespace_cannot_use_up_what_others_need(tenants: Tenants) -> None:
    tenants.platform(limits={"storages": 1})
    await tenants.ready_tenant("first")
    tenants.tenant("second")
    assert await tenants.look("second") == ("False", "LimitExceeded")
    assert "limits.storages" in tenants.text("second")
    await tenants.ready_tenant("third", "other")
    await tenants.gone("first")
    assert await tenants.look("second") == ("True", "Ready")


@pytest.mark.parametrize("forged", [False, True], ids=["", "with a status that says it stood there"])
async def test_a_place_is_not_had_by_being_older_than_who_has_it(tenants: Tenants, forged: bool) -> None:
    """Each names the server when none that is older does: the youngest first."""
    tenants.platform(limits={"storages": 1})
    tenants.label(NAMESPACE)
    for name in ("a", "b", "c"):
        tenants.api.storage(name, {"connection": {"serverRef": {"name": "another"}}})
    told = []
    for name in ("c", "b", "a"):
        tenants.spec(name, connection={"serverRef": {"name": PROD}})
        if forged:
            tenants.forge(database_of(NAMESPACE, name), name)
            tenants.ask("recreate", "1", name)
        for _ in range(2):
            await tenants.look(name)
        told.append(tenants.told(name))
    assert told == [("True", "Ready"), ("False", "LimitExceeded"), ("False", "LimitExceeded")]
    assert "1 CipherStorages on the CipherServer that come first" in tenants.text("a")
    if not forged:  # else he counts what he has forged
        await tenants.gone("c")
        assert await tenants.look("a") == ("True", "Ready")
        assert await tenants.look("b") == ("False", "LimitExceeded")


async def test_a_server_that_is_being_deleted_takes_nobody_new_by_our_finalizer(tenants: Tenants) -> None:
    tenants.platform(limits={"deletionPolicies": ["Delete"]})
    await tenants.ready_tenant("old", deletionPolicy="Delete")
    await tenants.look_at_server()
    tenants.api.delete("cipherservers", PROD, namespace="")
    before = tenants.there()
    tenants.tenant(deletionPolicy="Delete")
    tenants.api.change("cipherstorages", "chat", {"metadata": {"finalizers": [FINALIZER]}})
    assert await tenants.look() == ("False", "ServerNotAvailable")
    assert tenants.there() == before
    for name in ("chat", "old"):
        tenants.api.delete("cipherstorages", name)
        await tenants.look(name)
        assert tenants.api.read("cipherstorages", name) is None, "the way out is open"


UNAVAILABLE: dict[str, dict[str, Any] | None] = {
    "there is none": None,
    "open to others by name": {"allowedNamespaces": {"from": "Selector", "names": ["other"]}},
    "open to others by label": {
        "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"cipher": "yes"}}}
    },
}


async def test_what_is_not_there_and_what_is_not_allowed_are_one(server: PostgresServer) -> None:
    texts = set()
    for spec in UNAVAILABLE.values():
        tenants = Tenants(server, "unused")
        if spec is not None:
            tenants.platform(**spec)
        tenants.tenant()
        assert await tenants.look() == ("False", "ServerNotAvailable")
        texts.add(tenants.api.condition()["message"])
        assert tenants.counts.connections["admin"] == 0
        assert tenants.api.count("GET", path=f"/namespaces/{SERVERS}/") == 0, "nothing that it names is read"
        await tenants.close()
    assert len(texts) == 1


SELECTORS: dict[str, tuple[dict[str, Any], dict[str, str], dict[str, str]]] = {
    "matchLabels": ({"matchLabels": {"cipher": "yes"}}, {"cipher": "yes", "x": "y"}, {"cipher": "no"}),
    "In": (
        {"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]},
        {"team": "b"},
        {"team": "c"},
    ),
    "NotIn": (
        {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]},
        {"team": "b"},
        {"team": "a"},
    ),
    "Exists": ({"matchExpressions": [{"key": "team", "operator": "Exists"}]}, {"team": ""}, {}),
    "DoesNotExist": ({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}, {}, {"team": "x"}),
}


@pytest.mark.parametrize(("selector", "inside", "outside"), SELECTORS.values(), ids=SELECTORS)
async def test_a_permission_comes_and_goes_with_a_label(
    tenants: Tenants, selector: dict[str, Any], inside: dict[str, str], outside: dict[str, str]
) -> None:
    tenants.platform(allowedNamespaces={"from": "Selector", "selector": selector})
    tenants.tenant()
    tenants.label(NAMESPACE, **outside)
    assert await tenants.look() == ("False", "ServerNotAvailable")
    tenants.label(NAMESPACE, **inside)
    assert await tenants.look() == ("True", "Ready")
    before = tenants.there()
    tenants.label(NAMESPACE, **outside)
    assert await tenants.look() == ("False", "ServerNotAvailable")
    assert tenants.there() == before, "management stops, nothing is revoked"
    with tenants.app() as app:
        app.execute("SELECT 1 FROM cipher_store")
    tenants.label(NAMESPACE, **inside)
    assert await tenants.look() == ("True", "Ready")


async def test_limits_that_are_exceeded_already_are_said_and_go_on(tenants: Tenants) -> None:
    tenants.platform(limits={"databaseNames": "^{namespace}_.*", "deletionPolicies": ["Delete"]})
    await tenants.ready_tenant(database={"name": "ns_memories"}, deletionPolicy="Delete")
    tenants.change_server(limits={"databaseNames": None, "deletionPolicies": ["Retain"]})
    before = tenants.there()
    assert await tenants.look() == ("True", "Ready")
    message = tenants.api.condition()["message"]
    assert "limits.databaseNames" in message
    assert "limits.deletionPolicies" in message
    assert tenants.there() == before
    tenants.api.delete("cipherstorages", "chat")
    await tenants.look()
    assert tenants.there() == before, "what may not be dropped any more stays"
    assert tenants.api.read("cipherstorages", "chat") is None


async def test_a_storage_moves_to_a_server_and_back_without_a_trace(tenants: Tenants) -> None:
    tenants.admin_secret()
    tenants.api.storage("chat", {"database": {"name": "cipher_db"}})
    await tenants.until(lambda: tenants.told() == ("True", "Ready"))
    tenants.platform()
    before, published = tenants.there(), tenants.secret()
    with tenants.app() as app:
        for connection in (
            {"serverRef": {"name": PROD}, "secretRef": None},
            {"serverRef": None, "secretRef": {"name": "pg-admin"}},
        ):
            tenants.spec(connection=connection)
            writes = sum(sample.statements for sample in tenants.counts.samples)
            assert await tenants.look() == ("True", "Ready"), tenants.text()
            assert sum(sample.statements for sample in tenants.counts.samples) == writes
            assert tenants.there() == before
            assert tenants.secret() == published
            app.execute("SELECT count(*) FROM cipher_store")


async def test_a_deletion_through_a_server(tenants: Tenants) -> None:
    tenants.platform(limits={"deletionPolicies": ["Delete", "Retain"]})
    before = tenants.there()
    await tenants.ready_tenant(deletionPolicy="Delete")
    tenants.api.delete("cipherstorages", "chat")
    await tenants.look()
    assert tenants.api.read("cipherstorages", "chat") is None
    assert tenants.there() == before


async def test_a_deletion_waits_for_a_server_that_is_not_available_and_can_be_let_go(tenants: Tenants) -> None:
    tenants.platform(limits={"deletionPolicies": ["Delete", "Retain"]})
    await tenants.ready_tenant(deletionPolicy="Delete")
    tenants.change_server(allowedNamespaces={"from": "Selector", "names": ["other"]})
    before = tenants.there()
    tenants.api.delete("cipherstorages", "chat")
    assert (await tenants.look())[1] == "ServerNotAvailable"
    assert "force-delete" in tenants.api.condition()["message"]
    tenants.api.change(
        "cipherstorages", "chat", {"metadata": {"annotations": {"storage.cipher.dev/force-delete": "true"}}}
    )
    await tenants.look()
    assert tenants.api.read("cipherstorages", "chat") is None
    assert tenants.there() == before


TROUBLE: dict[str, tuple[Callable[[Tenants], object], str]] = {
    "a password that is none": (
        lambda tenants: (
            tenants.api.secret(
                "prod-admin",
                {"CIPHER_PG_URL": tenants.server.admin_url(sslmode="disable", password="wrong")},
                namespace=SERVERS,
            )
            and None
        ),
        "AuthenticationFailed",
    ),
    "no Secret": (lambda tenants: tenants.api.delete("secrets", "prod-admin", namespace=SERVERS), "SecretNotFound"),
    "an empty Secret": (
        lambda tenants: tenants.api.secret("prod-admin", {"x": "y"}, namespace=SERVERS),
        "SecretKeyMissing",
    ),
    "nobody at that port": (
        lambda tenants: (
            tenants.api.secret(
                "prod-admin", {"CIPHER_PG_URL": "postgresql://admin_x:pw@127.0.0.1:1/postgres"}, namespace=SERVERS
            )
            and None
        ),
        "ConnectionRefused",
    ),
    "a certificate that is asked for": (
        lambda tenants: tenants.change_server(
            connection={"sslMode": "verify-full", "caRef": {"kind": "ConfigMap", "name": "rds-ca"}}
        ),
        "SecretNotFound",
    ),
}


@pytest.mark.parametrize(("break_it", "reason"), TROUBLE.values(), ids=TROUBLE)
async def test_the_servers_trouble_is_the_storages_without_its_secrets(
    tenants: Tenants, break_it: Callable[[Tenants], object], reason: str
) -> None:
    tenants.platform()
    break_it(tenants)
    tenants.tenant(app={"caPath": "/etc/ca.crt"})
    assert await tenants.look() == ("False", reason)
    for word in ("prod-admin", "127.0.0.1", "admin_x", "postgres'", "rds-ca", SERVERS):
        assert word not in tenants.text()
    assert f"CipherServer '{PROD}'" in tenants.api.condition()["message"]
    await tenants.look_at_server()
    ready = tenants.server_ready()
    assert (ready["status"], ready["reason"]) == ("False", reason)
    if reason == "SecretNotFound":
        assert f"namespace '{SERVERS}'" in ready["message"], "said where it is looked for"


OWN_TROUBLE: dict[str, tuple[dict[str, Any], str, str]] = {
    "nobody at the pods' door that he names": (
        {"app": {"host": "127.0.0.1", "port": 1, "verify": "Always"}},
        "ConnectionRefused",
        "pods' door",
    ),
    "a password that he brings and has not": (
        {"user": {"passwordSecretRef": {"name": "mine", "key": "password"}}},
        "SecretNotFound",
        "Secret 'mine'",
    ),
}


@pytest.mark.parametrize(("spec", "reason", "says"), OWN_TROUBLE.values(), ids=OWN_TROUBLE)
async def test_a_tenants_own_trouble_is_told_as_it_is(
    tenants: Tenants, spec: dict[str, Any], reason: str, says: str
) -> None:
    tenants.platform()
    tenants.tenant(**spec)
    assert await tenants.look() == ("False", reason)
    assert says in tenants.api.condition()["message"]
    assert f"CipherServer '{PROD}' cannot be used" not in tenants.text()


async def test_a_servers_own_spec_is_not_shown_to_its_tenants(tenants: Tenants) -> None:
    tenants.platform()
    login = {"STORAGE_DATABASE_USER": "boss", "STORAGE_DATABASE_PASSWORD": "pw"}
    tenants.api.secret("prod-admin", login, namespace=SERVERS)
    stored = tenants.api.store.objects["/apis/storage.cipher.dev/v1alpha1/cipherservers", "", PROD]
    stored["spec"]["connection"]["host"] = "db prod.example.com"
    stored["metadata"]["finalizers"] = ["storage.cipher.dev/in-use"]
    tenants.tenant()
    assert await tenants.look() == ("False", "InvalidSpec")
    assert "spec.connection.host" not in tenants.text()
    assert f"CipherServer '{PROD}' cannot be used" in tenants.api.condition()["message"]


async def test_a_certificate_that_pods_must_mount_is_asked_for(tenants: Tenants) -> None:
    tenants.platform(
        connection={"secretRef": {"name": "prod-admin"}, "sslMode": "verify-full", "caRef": {"name": "ca"}}
    )
    tenants.api.secret("ca", {"ca.crt": "x"}, namespace=SERVERS)
    tenants.tenant()
    assert await tenants.look() == ("False", "InvalidSpec")
    assert "spec.app.caPath" in tenants.api.condition()["message"]


async def test_a_changed_host_is_another_server(tenants: Tenants) -> None:
    tenants.platform()
    await tenants.ready_tenant()
    with PostgresServer(16) as other:
        tenants.api.secret("prod-admin", {"CIPHER_PG_URL": other.admin_url(sslmode="disable")}, namespace=SERVERS)
        assert await tenants.look() == ("False", "DatabaseLost")
        assert other.execute("SELECT count(*) FROM pg_roles WHERE rolname ~ '^cipher'") == [(0,)]


async def test_the_platform_team_reads_how_many_do_not_find_their_data(tenants: Tenants) -> None:
    tenants.platform()
    for name in ("chat", "talk", "walk"):
        await tenants.ready_tenant(name)
    await tenants.look_at_server()
    before = tenants.server_ready()
    assert "DatabaseLost" not in before["message"]
    with PostgresServer(16) as other:
        tenants.api.secret(f"{PROD}-admin", {"CIPHER_PG_URL": other.admin_url(sslmode="disable")}, namespace=SERVERS)
        await tenants.look_at_server()
        assert "DatabaseLost" not in tenants.server_ready()["message"], "nobody has looked yet"
        for name in ("chat", "talk"):
            assert await tenants.look(name) == ("False", "DatabaseLost")
        await tenants.look_at_server()
        ready = tenants.server_ready()
        assert ready["status"] == "True"
        assert (
            "2 of the 3 that use it did not find their data there when looked at last (`DatabaseLost`)"
            in ready["message"]
        )
    url = tenants.server.admin_url(sslmode="disable")
    tenants.api.secret(f"{PROD}-admin", {"CIPHER_PG_URL": url}, namespace=SERVERS)
    tenants.api.delete("cipherstorages", "talk")
    for name in ("chat", "talk"):
        await tenants.look(name)
    await tenants.look_at_server()
    assert tenants.server_ready()["message"] == before["message"]


@pytest.mark.parametrize(("drift", "says"), [(False, ("True", "Observed")), (True, ("False", "ChangesPending"))])
async def test_one_that_only_observes_finds_its_data_again(
    tenants: Tenants, drift: bool, says: tuple[str, str]
) -> None:
    tenants.platform()
    await tenants.ready_tenant()
    with PostgresServer(16) as other:
        tenants.api.secret(f"{PROD}-admin", {"CIPHER_PG_URL": other.admin_url(sslmode="disable")}, namespace=SERVERS)
        tenants.spec(managementPolicy="Observe")
        assert await tenants.look() == ("False", "DatabaseLost")
        await tenants.look_at_server()
        assert "DatabaseLost" in tenants.server_ready()["message"]
    url = tenants.server.admin_url(sslmode="disable")
    tenants.api.secret(f"{PROD}-admin", {"CIPHER_PG_URL": url}, namespace=SERVERS)
    if drift:
        tenants.sql("DROP TABLE cipher_lists", tenants.secret()["database"])
    assert await tenants.look() == says
    await tenants.look_at_server()
    assert "DatabaseLost" not in tenants.server_ready()["message"]


async def test_two_servers_for_one_host_do_not_meet(tenants: Tenants) -> None:
    tenants.platform(maxConnections=3)
    tenants.api.secret("twin-admin", {"CIPHER_PG_URL": tenants.server.admin_url(sslmode="disable")}, namespace=SERVERS)
    tenants.api.server("twin", {"maxConnections": 2})
    await tenants.ready_tenant()
    tenants.api.storage("other", {"connection": {"serverRef": {"name": "twin"}}})
    assert await tenants.look("other") == ("True", "Ready")
    tenants.spec(connection={"serverRef": {"name": "twin"}})
    assert await tenants.look() == ("True", "Ready"), "the same server under another name: nothing changes"


async def test_the_app_of_a_tenant_reaches_nothing_of_another(tenants: Tenants) -> None:
    tenants.platform()
    await tenants.ready_tenant(namespace=VICTIM)
    await tenants.ready_tenant()
    data = tenants.secret()
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(data["uri"].replace(f"/{data['STORAGE_DATABASE_NAME']}", f"/{database_of(VICTIM, 'chat')}"))
