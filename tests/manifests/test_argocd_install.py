"""manifests/argocd and manifests/flux: what is installed holds the tested text, and its waves wait."""

import json
import re
import secrets
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import ControlPlane
from manifests.argocd_files import ACTIONS, DISCOVERY, FOLDER, HEALTH, SERVER_HEALTH
from manifests.manifest_files import REPOSITORY, documents
from support.argo_lua import scripted_health

CUSTOMIZE = "resource.customizations"
APPLICATION_HEALTH = yaml.safe_load((FOLDER / "argocd-cm-applications.yaml").read_text())["data"][
    f"{CUSTOMIZE}.health.argoproj.io_Application"
]
APPS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((FOLDER / "apps").glob("*.yaml"))}
FLUX = [
    each
    for each in documents((REPOSITORY / "manifests" / "flux" / "kustomizations.yaml").read_text())
    if each["kind"] == "Kustomization"
]


def wave(manifest: dict[str, Any]) -> int:
    return int(manifest["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])


def test_the_patch_holds_the_very_scripts() -> None:
    data = yaml.safe_load((FOLDER / "argocd-cm.yaml").read_text())["data"]
    assert set(data) == {
        f"{CUSTOMIZE}.{part}.storage.cipher.dev_{kind}"
        for part, kind in (("health", "CipherServer"), ("health", "CipherStorage"), ("actions", "CipherStorage"))
    }
    assert data[f"{CUSTOMIZE}.health.storage.cipher.dev_CipherServer"] == SERVER_HEALTH
    assert data[f"{CUSTOMIZE}.health.storage.cipher.dev_CipherStorage"] == HEALTH
    actions = yaml.safe_load(data[f"{CUSTOMIZE}.actions.storage.cipher.dev_CipherStorage"])
    assert actions["discovery.lua"] == DISCOVERY
    assert {each["name"]: each["action.lua"] for each in actions["definitions"]} == ACTIONS


@pytest.mark.parametrize("name", ["argocd-cm", "argocd-cm-applications", "argocd-rbac-cm"])
def test_a_patch_goes_in_as_its_comment_says_and_leaves_the_rest(control_plane: ControlPlane, name: str) -> None:
    path = FOLDER / f"{name}.yaml"
    command = re.search(r"kubectl (patch configmap .*)", path.read_text())
    assert command is not None
    patch = yaml.safe_load(path.read_text())
    namespace, config = f"argocd-{secrets.token_hex(4)}", patch["metadata"]["name"]
    control_plane.kubectl("create", "namespace", namespace)
    control_plane.kubectl("create", "configmap", config, "-n", namespace, "--from-literal=policy.csv=theirs")
    # The test's Argo CD has a namespace of its own, in the command and in the patch.
    moved = path.read_text().replace("namespace: argocd", f"namespace: {namespace}")
    words = [namespace if word == "argocd" else word for word in command[1].split()]
    assert words[-2:] == ["--patch-file", str(path.relative_to(REPOSITORY))]
    control_plane.kubectl(*words[:-2], "--patch", moved)
    stored = json.loads(control_plane.kubectl("get", "configmap", config, "-n", namespace, "-o", "json"))["data"]
    assert stored == {"policy.csv": "theirs", **patch["data"]}
    control_plane.kubectl("delete", "namespace", namespace, "--wait=false")


def test_the_role_may_do_every_action_and_nothing_else() -> None:
    data = yaml.safe_load((FOLDER / "argocd-rbac-cm.yaml").read_text())["data"]
    (lines,) = [text.splitlines() for text in data.values()]
    assert all(re.fullmatch(r"policy\..+\.csv", key) for key in data), "the keys that Argo CD reads"
    right = "p, role:cipherstorage-operator, applications, action/storage.cipher.dev/CipherStorage/{}, */*, allow"
    assert sorted(lines) == sorted(right.format(action) for action in ACTIONS)


def application(phase: str | None, health: str | None, *, revision: str = "main", message: str = "") -> dict[str, Any]:
    """Return a child Application as its own controller leaves it."""
    source = {"repoURL": "https://git.example.com/x.git", "path": "crds", "targetRevision": "main"}
    status: dict[str, Any] = {
        "sync": {"status": "Synced", "comparedTo": {"source": {**source, "targetRevision": revision}}}
    }
    if phase is not None:
        status["operationState"] = {"phase": phase, "message": message}
    if health is not None:
        status["health"] = {"status": health}
    return {"metadata": {"name": "child"}, "spec": {"source": source}, "status": status}


@pytest.mark.parametrize(
    ("child", "expected"),
    [
        pytest.param({"metadata": {}, "spec": {}}, "Progressing", id="just made"),
        pytest.param(application(None, "Healthy"), "Progressing", id="never synced: healthy because it has nothing"),
        pytest.param(application(None, "Missing"), "Progressing", id="never synced: missing"),
        pytest.param(application("Running", "Healthy"), "Progressing", id="a sync goes on"),
        pytest.param(application("Running", "Degraded"), "Progressing", id="a sync is tried again"),
        pytest.param(application("Failed", "Healthy", message="why"), "Degraded", id="its sync failed"),
        pytest.param(application("Succeeded", "Progressing"), "Progressing", id="synced and starting"),
        pytest.param(application("Succeeded", "Healthy", revision="v1"), "Progressing", id="healthy as it was before"),
        pytest.param(application("Succeeded", None), "Progressing", id="synced and not judged yet"),
        pytest.param(application("Succeeded", "Degraded"), "Degraded", id="synced and broken"),
        pytest.param(application("Succeeded", "Suspended"), "Suspended", id="synced and suspended"),
        pytest.param(application("Succeeded", "Healthy"), "Healthy", id="synced and healthy"),
    ],
)
def test_a_wave_of_applications_ends_when_their_own_sync_has(child: dict[str, Any], expected: str) -> None:
    assert scripted_health(APPLICATION_HEALTH, child)[0] == expected


def test_the_app_of_apps_goes_from_the_kind_to_its_users() -> None:
    assert wave(APPS["crds"]) < wave(APPS["operator"]) < wave(APPS["chat"])
    root = yaml.safe_load((FOLDER / "app-of-apps.yaml").read_text())
    assert (REPOSITORY / root["spec"]["source"]["path"]) == FOLDER / "apps"
    for app in (root, *APPS.values()):
        assert list((REPOSITORY / app["spec"]["source"]["path"]).iterdir())
        # Without it, a deletion leaves everything, and the next wave does not wait.
        assert app["metadata"]["finalizers"] == ["resources-finalizer.argocd.argoproj.io"]
    assert APPS["crds"]["spec"]["syncPolicy"]["automated"]["prune"] is False
    options = {option for app in APPS.values() for option in app["spec"]["syncPolicy"]["syncOptions"]}
    assert not options & {"Replace=true", "Force=true"}


def test_the_storage_is_between_its_secret_and_the_app() -> None:
    parts = {path.stem: yaml.safe_load(path.read_text()) for path in (FOLDER / "chat").glob("*.yaml")}
    assert wave(parts["secret"]) < wave(parts["storage"]) < wave(parts["deployment"])
    assert parts["secret"]["spec"]["target"]["name"] == parts["storage"]["spec"]["connection"]["secretRef"]["name"]
    (container,) = parts["deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": f"{parts['storage']['metadata']['name']}-cipher"}}]


def test_the_storage_and_the_app_apply(installed: ControlPlane, namespace: str) -> None:
    for name in ("storage.yaml", "deployment.yaml"):
        installed.kubectl("apply", "--server-side", "-n", namespace, "-f", str(FOLDER / "chat" / name))


def test_flux_waits_in_the_same_order() -> None:
    by_name = {each["metadata"]["name"]: each["spec"] for each in FLUX}
    after: dict[str, set[str]] = {}
    for name, spec in by_name.items():
        wanted = {each["name"] for each in spec.get("dependsOn", ())}
        assert wanted <= set(after), f"{name} stands after what it depends on"
        after[name] = wanted.union(*(after[each] for each in wanted))
    assert after["chat"] == {"chat-storage", "chat-secrets", "cipher-operator", "cipher-crds"}
    assert after["cipher-servers"] == {"cipher-operator", "cipher-crds"}
    assert all(spec["wait"] is True for spec in by_name.values())
    assert not any(spec.get("force") for spec in by_name.values())
    assert by_name["cipher-crds"]["prune"] is False
    assert [spec["path"] for spec in by_name.values()][:2] == ["./crds", "./manifests/base"]
    assert by_name["chat-storage"]["timeout"] == "12m", "longer than the progress deadline of 10m"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("**/*.yaml")), ids=lambda path: path.name)
def test_every_file_is_yaml(path: Path) -> None:
    assert documents(path.read_text())
