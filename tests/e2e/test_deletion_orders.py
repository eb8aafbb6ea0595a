"""In which order things are deleted: the right ones, and the wrong ones that GitOps tools and people choose."""

import json
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError

import psycopg
import pytest

from devcluster import ControlPlane, PostgresServer
from manifests.argocd_files import HEALTH
from support.argo_lua import health
from support.cluster import PATIENCE, ROOT, Namespace, Operator, install, ready_storage, wait_until
from support.kstatus import kstatus

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/cipherstorages.storage.cipher.dev"


def databases(server: PostgresServer) -> set[object]:
    return {row[0] for row in server.execute("SELECT datname FROM pg_database")}


def gone(namespace: Namespace, plural: str, name: str) -> None:
    # The garbage collector looks only every 30 s for kinds that are new, as this one is in a new cluster.
    wait_until(lambda: namespace.get(plural, name) is None, f"{plural}/{name} is gone", PATIENCE)


def deleting(namespace: Namespace, plural: str, name: str) -> bool:
    return "deletionTimestamp" in (namespace.get(plural, name) or {"metadata": {}})["metadata"]


def judged(namespace: Namespace) -> tuple[str, str]:
    """Return what Argo CD and kstatus say of the storage as it is stored."""
    storage = namespace.get("cipherstorages", "chat")
    assert storage is not None
    return health(HEALTH, storage)[0], kstatus(storage)


def own(namespace: Namespace, secret: str) -> None:
    """Give a Secret an owner, as External Secrets and Sealed Secrets do; the owner is a ConfigMap here."""
    owner = namespace.request(
        "POST", namespace.path("configmaps"), {"metadata": {"name": f"{secret}-source"}, "data": {}}
    )
    reference = {
        **{"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"]},
        **{"uid": owner["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True},
    }
    namespace.apply("secrets", secret, {"metadata": {"ownerReferences": [reference]}})


def delete_in_foreground(namespace: Namespace, plural: str, name: str) -> None:
    """Delete as Argo CD does by default."""
    namespace.request("DELETE", namespace.path(plural, name), {"propagationPolicy": "Foreground"})


def test_the_storage_first_and_in_the_foreground(namespace: Namespace, server: PostgresServer) -> None:
    database = ready_storage(namespace, server, deletionPolicy="Delete")
    delete_in_foreground(namespace, "cipherstorages", "chat")
    gone(namespace, "cipherstorages", "chat")
    assert namespace.get("secrets", "chat-cipher") is None, "in the foreground what it owns goes first"
    assert database not in databases(server)
    namespace.delete("secrets", "pg-admin")
    # It is let go a moment after the storage, on purpose: see reconcile/finalize.release.
    gone(namespace, "secrets", "pg-admin")


def test_in_the_foreground_data_that_is_retained_stays(namespace: Namespace, server: PostgresServer) -> None:
    database = ready_storage(namespace, server)
    login = namespace.app_secret("chat")["uri"]
    delete_in_foreground(namespace, "cipherstorages", "chat")
    gone(namespace, "cipherstorages", "chat")
    gone(namespace, "secrets", "chat-cipher")
    assert database in databases(server)
    psycopg.connect(login).close()


def test_an_external_secret_first(namespace: Namespace, server: PostgresServer) -> None:
    database = ready_storage(namespace, server, deletionPolicy="Delete")
    own(namespace, "pg-admin")
    namespace.delete("configmaps", "pg-admin-source")
    wait_until(lambda: deleting(namespace, "secrets", "pg-admin"), "the garbage collector takes the Secret", PATIENCE)
    wait_until(lambda: "SecretHeld" in namespace.events("chat"), "it is held, and that is said")
    assert namespace.condition("chat")["status"] == "True"
    namespace.delete("cipherstorages", "chat")
    gone(namespace, "cipherstorages", "chat")
    assert database not in databases(server)
    gone(namespace, "secrets", "pg-admin")


def test_an_external_secret_first_where_data_is_retained(namespace: Namespace, server: PostgresServer) -> None:
    database = ready_storage(namespace, server)
    own(namespace, "pg-admin")
    namespace.delete("configmaps", "pg-admin-source")
    gone(namespace, "secrets", "pg-admin")
    namespace.wait_reason("chat", "SecretNotFound")
    assert namespace.app_secret("chat")["uri"], "pods go on with what they have"
    namespace.delete("cipherstorages", "chat")
    gone(namespace, "cipherstorages", "chat")
    assert database in databases(server)


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_all_in_one_wave(namespace: Namespace, server: PostgresServer, policy: str) -> None:
    database = ready_storage(namespace, server, deletionPolicy=policy)
    for plural, name in (("secrets", "pg-admin"), ("secrets", "chat-cipher"), ("cipherstorages", "chat")):
        namespace.delete(plural, name)
    for plural, name in (("cipherstorages", "chat"), ("secrets", "pg-admin"), ("secrets", "chat-cipher")):
        gone(namespace, plural, name)
    assert (database in databases(server)) is (policy == "Retain")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"database": {"name": "another"}}, id="a field that cannot be changed"),
        pytest.param({"interval": "soon"}, id="a value that is refused"),
    ],
)
def test_force_after_a_refused_patch_drops_the_data(
    namespace: Namespace, server: PostgresServer, change: dict[str, Any]
) -> None:
    database = ready_storage(namespace, server, deletionPolicy="Delete")
    with pytest.raises(HTTPError) as refused:
        namespace.patch("chat", {"spec": change})
    # What Flux takes for immutable, and with `force: true` answers by deleting and creating again.
    assert json.loads(refused.value.read())["reason"] == "Invalid"
    assert judged(namespace) == ("Healthy", "Current"), "without force nothing happens"
    namespace.delete("cipherstorages", "chat")
    gone(namespace, "cipherstorages", "chat")
    assert database not in databases(server)


def test_the_operator_first(new_namespace: Callable[[], Namespace], server: PostgresServer, operator: Operator) -> None:
    namespace = new_namespace()
    kept = ready_storage(namespace, server, "kept")
    dropped = ready_storage(namespace, server, "dropped", deletionPolicy="Delete")
    operator.stop()
    try:
        for name in ("kept", "dropped"):
            namespace.delete("cipherstorages", name)
        gone(namespace, "cipherstorages", "kept")
        namespace.request("DELETE", f"/api/v1/namespaces/{namespace.name}")
        wait_until(lambda: namespace.get("secrets", "dropped-cipher") is None, "the namespace is emptied", PATIENCE)
        waiting = namespace.get("cipherstorages", "dropped")
        assert waiting is not None
        assert waiting["metadata"]["finalizers"] == ["storage.cipher.dev/finalizer"]
        assert (health(HEALTH, waiting)[0], kstatus(waiting)) == ("Progressing", "Terminating")
        assert {kept, dropped} <= databases(server)
    finally:
        operator.start()
    wait_until(lambda: not namespace.exists(), "with the operator back, all of it ends", PATIENCE)
    assert kept in databases(server)
    assert dropped not in databases(server)


def test_the_kind_first(cluster: ControlPlane, namespace: Namespace, server: PostgresServer) -> None:
    kept = ready_storage(namespace, server, "kept")
    dropped = ready_storage(namespace, server, "dropped", deletionPolicy="Delete")
    with psycopg.connect(namespace.app_secret("kept")["uri"], autocommit=True) as app:
        app.execute("INSERT INTO cipher_store VALUES ('k', 'kept', now(), now())")
    namespace.request("DELETE", CRD)
    try:
        wait_until(lambda: _crd(namespace) is None, "the kind is gone: every storage was let go", PATIENCE)
        assert dropped not in databases(server), "what its policy says is done"
        assert kept in databases(server)
        gone(namespace, "secrets", "kept-cipher")
        wait_until(
            lambda: not (namespace.get("secrets", "pg-admin") or {})["metadata"].get("finalizers"),
            "the admin Secret is let go",
        )
    finally:
        install(cluster)
    namespace.storage("kept", {"database": {"name": kept}})
    namespace.wait_ready("kept")
    with psycopg.connect(namespace.app_secret("kept")["uri"]) as app:
        assert app.execute("SELECT value FROM cipher_store").fetchall() == [("kept",)], "the same Git finds its data"


def _crd(namespace: Namespace) -> dict[str, Any] | None:
    try:
        return namespace.request("GET", CRD)
    except HTTPError as error:
        if error.code == 404:
            return None
        raise


def test_the_kind_stays_when_the_operators_manifests_go() -> None:
    texts = [path.read_text() for path in (ROOT / "manifests" / "base").glob("*.yaml")]
    assert texts
    assert not any("kind: CustomResourceDefinition" in text for text in texts)
