"""What Argo CD and Flux meet: no drift while the operator works, health from its statuses, actions that it answers."""

import json
import re

import pytest

from devcluster import PostgresServer
from manifests.argocd_files import ACTIONS, DISCOVERY, HEALTH
from manifests.manifest_files import EXAMPLES
from support.argo_lua import act, health, run
from support.cluster import Namespace, ready_storage, wait_until
from support.kstatus import kstatus

AS_ARGO = ("--server-side", "--force-conflicts", "--field-manager=argocd-controller")
AS_KUBECTL: tuple[str, ...] = ()


def judged(namespace: Namespace, name: str = "chat") -> tuple[str, str]:
    """Return what Argo CD and kstatus say of a storage as it is stored."""
    storage = namespace.get("cipherstorages", name)
    assert storage is not None
    return health(HEALTH, storage)[0], kstatus(storage)


def press(namespace: Namespace, action: str, name: str = "chat") -> None:
    """Do what Argo CD does when somebody presses a button: run the script, and patch what it changed."""
    storage = namespace.get("cipherstorages", name)
    assert storage is not None
    assert run(DISCOVERY, storage)[action]["disabled"] is False
    changed = act(ACTIONS[action], storage)
    body = {part: changed[part] for part in ("metadata", "spec") if changed[part] != storage[part]}
    if "metadata" in body:
        body["metadata"] = {"annotations": changed["metadata"]["annotations"]}
    assert body
    namespace.patch(name, body)


def examples(namespace: Namespace, server: PostgresServer) -> dict[str, str]:
    """Return the text of every example; in the one for a local server stands the test's."""
    texts = {path.stem: path.read_text() for path in EXAMPLES}
    url = re.compile(r"postgresql://postgres:PASSWORD@127\.0\.0\.1:5432/postgres\?sslmode=disable")
    texts["local"], replaced = url.subn(server.admin_url(sslmode="disable"), texts["local"])
    assert replaced == 1
    name = namespace.name.replace("-", "_")
    texts["local"] = texts["local"].replace("cipher_db", f"{name}_db").replace("cipher_user", f"{name}_user")
    return texts


def kubectl(namespace: Namespace, verb: str, way: tuple[str, ...], text: str, *, check: bool = True) -> str:
    """Apply a text, or return how what is stored differs from it."""
    return namespace.plane.kubectl(verb, "-n", namespace.name, *way, "-f", "-", input=text, check=check)


@pytest.mark.parametrize("way", [AS_ARGO, AS_KUBECTL], ids=["server-side", "client-side"])
def test_no_example_drifts_once_the_operator_has_worked(
    namespace: Namespace, server: PostgresServer, way: tuple[str, ...]
) -> None:
    texts = examples(namespace, server)
    for text in texts.values():
        kubectl(namespace, "apply", way, text)
    storages = namespace.request("GET", namespace.path("cipherstorages"))["items"]
    assert len(storages) == len(EXAMPLES)
    for storage in storages:
        name = storage["metadata"]["name"]
        wait_until(lambda: namespace.condition(name), f"{name} was looked at")  # noqa: B023
    namespace.wait_ready("chat")
    # Something of everything the operator writes: two finalizers, and a status that tells of a request.
    namespace.annotate("chat", "reconcile-requested-at", "1")
    wait_until(lambda: namespace.handled("chat") == {"reconcile": "1"}, "the request is handled")
    for name in ("cipherstorages/chat", "secrets/pg-admin"):
        stored = namespace.get(*name.split("/"))
        assert stored is not None
        assert stored["metadata"]["finalizers"], name
    for text in texts.values():
        # Fails, with the difference, where there is one.
        assert kubectl(namespace, "diff", way, text) == ""


def test_a_diff_is_seen_where_there_is_one(namespace: Namespace, server: PostgresServer) -> None:
    text = examples(namespace, server)["local"]
    kubectl(namespace, "apply", AS_ARGO, text)
    changed = text.replace("deletionPolicy: Delete", "deletionPolicy: Retain")
    diff = kubectl(namespace, "diff", AS_ARGO, changed, check=False)
    assert "+  deletionPolicy: Retain" in diff


@pytest.mark.parametrize(
    ("in_git", "drifts"),
    [
        pytest.param("", False, id="Git says nothing of it: a suspension stays"),
        pytest.param("  suspend: false\n", True, id="Git says false: self-heal ends a suspension"),
    ],
)
def test_a_suspension_by_action_is_drift_only_where_git_speaks_of_it(
    namespace: Namespace, server: PostgresServer, in_git: str, drifts: bool
) -> None:
    name = namespace.name.replace("-", "_")
    namespace.admin_secret(server)
    text = (
        "apiVersion: storage.cipher.dev/v1alpha1\nkind: CipherStorage\nmetadata: {name: chat}\nspec:\n"
        f"  connection: {{secretRef: {{name: pg-admin}}}}\n  database: {{name: {name}}}\n{in_git}"
    )
    kubectl(namespace, "apply", AS_ARGO, text)
    namespace.wait_ready("chat")
    press(namespace, "suspend")
    diff = kubectl(namespace, "diff", AS_ARGO, text, check=False)
    assert ("+  suspend: false" in diff) is drifts
    assert (diff != "") is drifts


def test_each_action_does_what_its_button_says(namespace: Namespace, server: PostgresServer) -> None:
    database = ready_storage(namespace, server)
    assert judged(namespace) == ("Healthy", "Current")
    press(namespace, "reconcile")
    wait_until(lambda: set(namespace.handled("chat")) == {"reconcile"}, "it was looked at")
    old = namespace.app_secret("chat")["password"]
    press(namespace, "rotate-password")
    wait_until(lambda: set(namespace.handled("chat")) == {"reconcile", "rotate"}, "it was rotated")
    assert namespace.app_secret("chat")["password"] != old
    wait_until(lambda: judged(namespace) == ("Healthy", "Current"), "it is Ready again")
    press(namespace, "suspend")
    assert judged(namespace) == ("Suspended", "InProgress"), "both hold what waits for it"
    server.execute("DROP TABLE cipher_lists", database=database)
    press(namespace, "resume")
    wait_until(lambda: judged(namespace) == ("Healthy", "Current"), "it goes on")
    assert server.execute("SELECT to_regclass('cipher_lists') IS NOT NULL", database=database) == [(True,)]


def test_health_follows_a_storage_from_new_to_broken(namespace: Namespace, server: PostgresServer) -> None:
    storage = namespace.storage("chat", {"database": {"name": namespace.name.replace("-", "_")}})
    assert (health(HEALTH, storage)[0], kstatus(storage)) == ("Progressing", "InProgress")
    namespace.wait_reason("chat", "SecretNotFound")
    assert judged(namespace) == ("Progressing", "InProgress")
    namespace.secret("pg-admin", {"CIPHER_PG_URL": "nonsense"})
    namespace.wait_reason("chat", "InvalidURL")
    assert judged(namespace) == ("Degraded", "Failed")
    namespace.admin_secret(server)
    namespace.wait_ready("chat")
    assert judged(namespace) == ("Healthy", "Current")
    # What a tool reads right after an edit is never the answer to the spec before it.
    namespace.patch("chat", {"spec": {"interval": "1h"}})
    seen = namespace.get("cipherstorages", "chat")
    assert seen is not None
    agreed = {("Healthy", "Current"), ("Progressing", "InProgress")}
    assert (health(HEALTH, seen)[0], kstatus(seen)) in agreed
    finished = seen["status"]["observedGeneration"] == seen["metadata"]["generation"]
    assert (kstatus(seen) == "Current") is finished, json.dumps(seen["status"])
