"""The rights that a refusal makes the operator ask about are those that the manifests grant, in each way to install."""

from pathlib import Path

import pytest

from cipher_operator.kube.rights import Right as Asked
from cipher_operator.runtime.rights import needed, remedy
from cipher_operator.runtime.settings import Settings, parse_settings
from devcluster import ControlPlane
from manifests.manifest_files import REPOSITORY, documents
from support.rights import Right, granted

HOME, ACCOUNT = "cipher-system", "cipher-operator"
IN_A_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "POD_NAMESPACE": HOME}
APP_SECRETS = {Right("", "secrets", verb) for verb in ("get", "create", "update")}
"""What servers-only grants in namespaces that the operator is not told."""
INSTALLATIONS: dict[str, tuple[list[str], tuple[str, ...], set[Right]]] = {
    "manifests/base": ([], ("manifests/base",), set()),
    "manifests/overlays/servers-only": (
        ["--watch-secrets", "servers"], ("manifests/overlays/servers-only",), APP_SECRETS
    ),
    "manifests/overlays/restricted-namespace": (
        ["--namespace", "team-a", "--instance-id", "x"],
        ("manifests/overlays/restricted-namespace", "manifests/overlays/restricted-namespace/served"),
        set(),
    ),
}  # fmt: skip


def _needed(settings: Settings) -> set[Right]:
    def right(each: Asked) -> Right:
        return Right(each.group, each.resource, each.verb, each.namespace, each.name)

    return {right(each) for each in needed(settings, settings.leader_election_namespace)}


@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_what_is_asked_about_is_what_is_granted(control_plane: ControlPlane, installation: str) -> None:
    flags, folders, not_asked = INSTALLATIONS[installation]
    settings = parse_settings(flags, IN_A_POD)
    built = [documents(control_plane.kubectl("kustomize", str(REPOSITORY / folder))) for folder in folders]
    for document in built[-1] if len(built) > 1 else []:
        document["metadata"]["namespace"] = "team-a"
    given = granted([each for folder in built for each in folder], HOME, ACCOUNT)
    assert _needed(settings) == given - not_asked


@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_the_remedy_names_the_folders_that_grant_it(installation: str) -> None:
    flags, folders, _ = INSTALLATIONS[installation]
    text = remedy(parse_settings(flags, IN_A_POD))
    for folder in folders:
        assert f"apply -k {folder}`" in text and Path(REPOSITORY / folder).is_dir()


def test_without_a_lease_and_with_an_instance_id_less_is_needed() -> None:
    alone = set(needed(parse_settings(["--instance-id", "x", "--no-leader-election"], IN_A_POD), None))
    assert {each.resource for each in alone}.isdisjoint({"leases"})
    assert not any(each.name for each in alone)
