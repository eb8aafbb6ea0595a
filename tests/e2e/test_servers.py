"""CipherServers on a real API server: how soon what a platform team does is felt by its tenants, and by whom not."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cipher_operator.api.names import default_user_name, derived_name
from devcluster import ControlPlane, PostgresServer
from support.cluster import ROOT, Namespace, Operator, wait_until
from support.platform import HOME, Platform
from support.pooled_app import PooledApp

OTHER_FINALIZER = "storage.cipher.dev/in-use"


@pytest.fixture(scope="module")
def operator_flags() -> tuple[str, ...]:
    # Whatever happens within seconds happens because it was seen, not because it was due.
    return ("--interval", "1h", "--server-secrets-namespace", HOME)


@pytest.fixture
def platform(cluster: ControlPlane, operator: Operator, server: PostgresServer) -> Iterator[Platform]:
    made = Platform(cluster, server)
    made.secret()
    made.offer(limits={"deletionPolicies": ["Delete", "Retain"]})
    yield made
    made.remove()
    wait_until(lambda: not made.get(), lambda: f"the CipherServer is gone: {made.get()}")


@pytest.fixture
def tenant(platform: Platform, namespace: Namespace) -> Iterator[Namespace]:
    """A namespace that may use the server, with a storage that is Ready."""
    platform.label(namespace, allowed=True)
    namespace.storage("chat", spec(deletionPolicy="Delete"))
    namespace.wait_ready("chat")
    yield namespace
    if namespace.get("cipherstorages", "chat") is not None:
        namespace.delete("cipherstorages", "chat")


def spec(**changes: Any) -> dict[str, Any]:
    return {"connection": {"serverRef": {"name": "prod"}}, **changes}


def said(what: str, seconds: float) -> None:
    print(f"{what}: {seconds:.2f} s")


def test_what_people_see(platform: Platform, tenant: Namespace) -> None:
    wait_until(lambda: platform.get()["status"].get("storages") == 1, "it is counted")
    columns, row = platform.plane.kubectl("get", "cserver", "prod").splitlines()
    assert columns.split() == ["NAME", "READY", "REASON", "VERSION", "STORAGES", "AGE"]
    assert row.split()[:3] == ["prod", "True", "Ready"]
    assert row.split()[4] == "1"
    described = platform.plane.kubectl("describe", "cserver", "prod")
    assert "CREATEROLE" in described
    assert f"Logged in as '{platform.server.superuser}'" in described
    wide = platform.plane.kubectl("get", "cstore", "chat", "-n", tenant.name, "-o", "wide")
    assert " prod " in wide
    status = (tenant.get("cipherstorages", "chat") or {})["status"]
    assert status["database"] == derived_name(f"{tenant.name}_chat", tenant.name, "chat", 63)
    assert status["user"] == default_user_name(tenant.name, "chat")
    assert platform.server.host not in json.dumps(status)


def examine(platform: Platform, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `plan` or `check` as a person does who has a kubeconfig."""
    environment = {"KUBECONFIG": str(platform.plane.kubeconfig), "PYTHONPATH": str(ROOT / "operator")}
    command = [sys.executable, "-m", "cipher_operator", *arguments, "--blocked-ranges", "none"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_plan_and_check_of_what_is_in_the_cluster(platform: Platform, tenant: Namespace) -> None:
    where = ("-n", tenant.name)
    done = examine(platform, "plan", "chat", *where)
    assert (done.returncode, done.stdout) == (0, f"{tenant.name}/chat: nothing to do\n"), done.stderr
    checked = examine(platform, "check", "chat", *where)
    assert (checked.returncode, checked.stdout.rpartition(" ")[0]) == (0, f"{tenant.name}/chat: usable; PostgreSQL")
    database = (tenant.get("cipherstorages", "chat") or {})["status"]["database"]
    platform.server.execute("DROP INDEX idx_cipher_lists_key", database=database)
    planned = examine(platform, "plan", "chat", *where)
    assert 'CREATE INDEX "idx_cipher_lists_key"' in planned.stdout
    assert planned.stdout.endswith(f"{tenant.name}/chat: 3 statements to run\n")
    assert platform.server.execute("SELECT to_regclass('idx_cipher_lists_key')", database=database) == [(None,)]
    tenant.storage("greedy", spec(extensions=[{"name": "vector"}]))
    refused = examine(platform, "check", "greedy", *where)
    assert (refused.returncode, "LimitExceeded" in refused.stderr) == (1, True)
    tenant.delete("cipherstorages", "greedy")
    missing = examine(platform, "plan", "nothing", *where)
    assert (missing.returncode, missing.stderr) == (
        1,
        f"cipher-operator plan: there is no CipherStorage {tenant.name}/nothing; -n or --context names another place\n",
    )
    elsewhere = examine(platform, "plan", "chat", *where, "--context", "prod")
    assert elsewhere.returncode == 1
    assert "context 'prod' cannot be used: there is none of that name; it has dev" in elsewhere.stderr
    assert "Traceback" not in elsewhere.stderr


def test_a_label_that_comes_and_goes(platform: Platform, namespace: Namespace) -> None:
    namespace.storage("chat", spec())
    namespace.wait_reason("chat", "ServerNotAvailable")
    platform.label(namespace, allowed=True)
    said("label added, until Ready", namespace.wait_ready("chat"))
    platform.label(namespace, allowed=False)
    said("label removed, until it is said", namespace.wait_reason("chat", "ServerNotAvailable"))
    with psycopg.connect(namespace.app_secret("chat")["uri"]) as app:
        app.execute("SELECT 1 FROM cipher_store")
    assert namespace.get("secrets", "chat-cipher") is not None
    platform.label(namespace, allowed=True)
    said("label added again, until Ready", namespace.wait_ready("chat"))


def test_a_password_that_is_wrong_and_mended(platform: Platform, tenant: Namespace) -> None:
    platform.secret(password="wrong")
    said("wrong password, until the tenant is told", tenant.wait_reason("chat", "AuthenticationFailed"))
    wait_until(lambda: platform.ready().get("reason") == "AuthenticationFailed", "the server says so")
    assert "prod-admin" not in json.dumps(tenant.get("cipherstorages", "chat"))
    platform.secret()
    said("password mended, until Ready", tenant.wait_ready("chat"))
    wait_until(lambda: platform.ready().get("status") == "True", "the server is Ready")


def test_a_limit_that_comes(platform: Platform, tenant: Namespace) -> None:
    platform.offer(limits={"deletionPolicies": ["Delete", "Retain"], "userConnectionLimit": 7})
    user = default_user_name(tenant.name, "chat")
    ask = f"SELECT rolconnlimit FROM pg_roles WHERE rolname = '{user}'"
    said("limit set, until it holds", wait_until(lambda: platform.server.execute(ask) == [(7,)], "the limit holds"))
    tenant.storage("greedy", spec(user={"connectionLimit": 8}))
    tenant.wait_reason("greedy", "LimitExceeded")
    platform.offer(limits={"deletionPolicies": ["Delete", "Retain"], "userConnectionLimit": 8})
    said("limit raised, until Ready", tenant.wait_ready("greedy"))
    tenant.delete("cipherstorages", "greedy")


def test_a_place_that_becomes_free(platform: Platform, tenant: Namespace) -> None:
    """Of one second, the first by name comes first."""
    both = {"deletionPolicies": ["Delete", "Retain"]}
    platform.offer(limits={**both, "storages": 1})
    for name in ("wait1", "wait2", "wait3"):
        tenant.storage(name, spec(deletionPolicy="Delete"))
        tenant.wait_reason(name, "LimitExceeded")
    tenant.delete("cipherstorages", "chat")
    said("place free, until Ready", tenant.wait_ready("wait1"))
    assert tenant.condition("wait2").get("reason") == "LimitExceeded"
    tenant.patch("wait1", {"spec": {"connection": {"serverRef": {"name": "another"}}}})
    said("moved away, until the next is Ready", tenant.wait_ready("wait2"))
    assert tenant.condition("wait3").get("reason") == "LimitExceeded"
    platform.offer(limits={**both, "storages": 2})
    said("limit raised, until Ready", tenant.wait_ready("wait3"))
    tenant.patch("wait1", {"spec": {"connection": {"serverRef": {"name": "prod"}}}})
    tenant.wait_ready("wait1")
    for name in ("wait1", "wait2", "wait3"):
        tenant.delete("cipherstorages", name)


def test_a_server_that_comes_after_its_tenants(platform: Platform, namespace: Namespace) -> None:
    platform.label(namespace, allowed=True)
    later = Platform(platform.plane, platform.server, "later")
    namespace.storage("chat", {"connection": {"serverRef": {"name": "later"}}})
    namespace.wait_reason("chat", "ServerNotAvailable")
    later.offer()
    namespace.wait_reason("chat", "SecretNotFound")
    assert f"namespace '{HOME}'" in later.ready()["message"]
    later.secret()
    said("Secret created, until Ready", namespace.wait_ready("chat"))
    namespace.delete("cipherstorages", "chat")
    later.remove()
    wait_until(lambda: not later.get(), "it goes")


def test_a_server_that_is_deleted_while_it_is_used(platform: Platform, tenant: Namespace) -> None:
    platform.remove()
    wait_until(lambda: "is being deleted and is held" in platform.ready().get("message", ""), "it says why it stays")
    tenant.annotate("chat", "reconcile-requested-at", "1")
    wait_until(lambda: tenant.handled("chat").get("reconcile") == "1", "who uses it goes on")
    tenant.wait_ready("chat")
    assert "ServerHeld" in tenant.events("chat")
    tenant.delete("cipherstorages", "chat")
    said("last user gone, until the server is gone", wait_until(lambda: not platform.get(), "it goes"))
    gone = platform.plane.kubectl("get", "secret", "prod-admin", "-n", HOME, "--ignore-not-found")
    wait_until(
        lambda: not platform.plane.kubectl("get", "secret", "prod-admin", "-n", HOME, "--ignore-not-found"), gone
    )


def test_a_server_that_is_down(platform: Platform, tenant: Namespace, operator: Operator) -> None:
    for number in range(4):
        tenant.storage(f"more-{number}", spec())
        tenant.wait_ready(f"more-{number}")
    before = len(operator.log())
    platform.server.stop()
    try:
        tenant.annotate("chat", "reconcile-requested-at", "down")
        tenant.wait_reason("chat", "ConnectionRefused")
        for number in range(4):
            tenant.wait_reason(f"more-{number}", "ConnectionRefused")
        wait_until(lambda: platform.ready().get("reason") == "ConnectionRefused", "the server says so")
        assert operator.log()[before:].count("a PostgreSQL server does not answer") == 1
    finally:
        platform.server.start()
    said("server up again, until Ready", tenant.wait_ready("chat"))
    for number in range(4):
        tenant.wait_ready(f"more-{number}")
        tenant.delete("cipherstorages", f"more-{number}")
    wait_until(lambda: platform.ready().get("status") == "True", "the server is Ready")


def test_a_storage_moves_under_its_pods(platform: Platform, namespace: Namespace, server: PostgresServer) -> None:
    platform.label(namespace, allowed=True)
    namespace.admin_secret(server)
    name = namespace.name.replace("-", "_")
    namespace.storage("chat", {"connection": {"secretRef": {"name": "pg-admin"}}, "database": {"name": name}})
    namespace.wait_ready("chat")
    published, before = namespace.app_secret("chat"), written(server, name)
    with PooledApp(namespace, "chat-cipher") as app:
        for connection in (
            {"serverRef": {"name": "prod"}, "secretRef": None},
            {"serverRef": None, "secretRef": {"name": "pg-admin"}},
        ):
            namespace.patch("chat", {"spec": {"connection": connection}})
            namespace.wait_ready("chat")
            assert namespace.app_secret("chat") == published
            assert written(server, name) == before
    assert app.errors == []
    print(f"{app.requests} requests of pods, {app.opened} connections, 0 errors, 0 statements that write")


def written(server: PostgresServer, database: str) -> list[Any]:
    """Return by which transaction each thing on the server was written last."""
    shared = ("pg_authid", "pg_auth_members", "pg_database", "pg_shdescription", "pg_db_role_setting")
    own = ("pg_class", "pg_namespace", "pg_default_acl", "pg_constraint")
    return [
        server.execute(f"SELECT ctid::text, xmin::text FROM {table} ORDER BY 1", database=database)
        for table in (*shared, *own)
    ]


def test_an_operator_without_the_kind_and_with_it(
    platform: Platform, namespace: Namespace, operator: Operator, tmp_path: Path
) -> None:
    """The operator before its CRDs: it is ready, and serves the kind when it comes."""
    platform.label(namespace, allowed=True)
    platform.remove()
    wait_until(lambda: not platform.get(), "nothing is left of the kind")
    operator.stop()
    platform.plane.kubectl("delete", "crd", "cipherservers.storage.cipher.dev")
    operator.start()
    namespace.storage("chat", spec())
    namespace.wait_reason("chat", "ServerNotAvailable")
    platform.plane.kubectl("apply", "-k", str(ROOT / "crds"))
    platform.plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
    platform.secret()
    wait_until(lambda: _offered(platform), "the kind is served")
    said("kind installed and server created, until Ready", namespace.wait_ready("chat"))


def _offered(platform: Platform) -> bool:
    try:
        platform.offer()
    except Exception:
        return False
    return True


def test_a_restart_finds_all_as_it_was(platform: Platform, tenant: Namespace, operator: Operator) -> None:
    wait_until(lambda: OTHER_FINALIZER in json.dumps(platform.get()["metadata"].get("finalizers", [])), "it is held")
    wait_until(lambda: platform.get()["status"].get("storages") == 1, "it is counted")
    operator.stop()
    before = (platform.get()["metadata"]["resourceVersion"], tenant.get("cipherstorages", "chat"))
    operator.start()
    tenant.annotate("chat", "reconcile-requested-at", "2")
    wait_until(lambda: tenant.handled("chat").get("reconcile") == "2", "it was looked at")
    assert platform.get()["metadata"]["resourceVersion"] == before[0], "a look that finds the same writes nothing"
    platform.label(tenant, allowed=False)
    tenant.wait_reason("chat", "ServerNotAvailable")
    platform.label(tenant, allowed=True)
    tenant.wait_ready("chat")
