"""manifests/components/name-reference: with it, names that kustomize changes reach a CipherStorage's spec."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from devcluster import ControlPlane
from devcluster.programs import find_programs
from manifests.manifest_files import REPOSITORY, documents
from support import crd

COMPONENT = REPOSITORY / "manifests" / "components" / "name-reference"
STORAGE = """\
apiVersion: storage.cipher.dev/v1alpha1
kind: CipherStorage
metadata: {name: chat}
spec:
  connection:
    secretRef: {name: pg-admin}
    sslMode: verify-full
    caRef: {kind: ConfigMap, name: rds-ca}
  user:
    passwordSecretRef: {name: own}
  app:
    secretName: chat-login
    sslMode: verify-ca
    caRef: {name: pooler-ca}
    caPath: /etc/cipher/ca.crt
"""
KUSTOMIZATION = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namePrefix: dev-
resources: [chat.yaml]
secretGenerator:
- {name: pg-admin, literals: ["CIPHER_PG_URL=postgresql://u:p@h/d"]}
- {name: own, literals: [password=p]}
- {name: pooler-ca, literals: [ca.crt=x]}
configMapGenerator:
- {name: rds-ca, literals: [ca.crt=x]}
"""


def built(folder: Path, components: str = "", resources: str = STORAGE) -> dict[str, Any]:
    """Return what kustomize makes of it, by kind and the name that was given."""
    (folder / "chat.yaml").write_text(resources)
    (folder / "kustomization.yaml").write_text(KUSTOMIZATION + components)
    # A kustomization may reach into its own tree only.
    (folder / "name-reference").mkdir()
    for path in COMPONENT.iterdir():
        (folder / "name-reference" / path.name).write_text(path.read_text())
    said = subprocess.run(
        [find_programs().kubectl, "kustomize", folder], capture_output=True, text=True, check=True
    ).stdout
    return {f"{each['kind']}/{_plain(each['metadata']['name'])}": each for each in documents(said)}


def _plain(name: str) -> str:
    return re.sub(r"-[a-z0-9]{10}$", "", name.removeprefix("dev-"))


def test_names_follow_prefix_and_hash(tmp_path: Path) -> None:
    found = built(tmp_path, "components: [name-reference]\n")
    spec = found["CipherStorage/chat"]["spec"]
    named = {
        "Secret/pg-admin": spec["connection"]["secretRef"]["name"],
        "ConfigMap/rds-ca": spec["connection"]["caRef"]["name"],
        "Secret/own": spec["user"]["passwordSecretRef"]["name"],
        "Secret/pooler-ca": spec["app"]["caRef"]["name"],
    }
    assert named == {key: found[key]["metadata"]["name"] for key in named}
    assert all(re.fullmatch(r"dev-.*-[a-z0-9]{10}", name) for name in named.values())
    # What the operator writes is no resource of theirs: pods find it under the name that the spec gives.
    assert spec["app"]["secretName"] == "chat-login"


def test_without_it_they_do_not(tmp_path: Path) -> None:
    found = built(tmp_path)
    assert found["CipherStorage/chat"]["spec"]["connection"]["secretRef"]["name"] == "pg-admin"


SERVER = """\
apiVersion: storage.cipher.dev/v1alpha1
kind: CipherServer
metadata: {name: eu}
spec:
  connection:
    secretRef: {name: pg-admin}
    sslMode: verify-ca
    caRef: {kind: ConfigMap, name: rds-ca}
  allowedNamespaces: {from: All}
"""


def test_names_follow_in_a_server_of_the_operators_namespace(tmp_path: Path) -> None:
    # kustomize does not know that a CipherServer is in no namespace, and gives it the one of all the others.
    found = built(tmp_path, "namespace: cipher-system\ncomponents: [name-reference]\n", SERVER)
    connection = found["CipherServer/eu"]["spec"]["connection"]
    assert connection["secretRef"]["name"] == found["Secret/pg-admin"]["metadata"]["name"]
    assert connection["caRef"]["name"] == found["ConfigMap/rds-ca"]["metadata"]["name"]


def test_what_kustomize_makes_of_a_server_applies(installed: ControlPlane, tmp_path: Path) -> None:
    server = built(tmp_path, "namespace: cipher-system\ncomponents: [name-reference]\n", SERVER)["CipherServer/eu"]
    assert server["metadata"]["namespace"] == "cipher-system"
    installed.kubectl("apply", "--dry-run=server", "-f", "-", input=yaml.safe_dump(server))


def test_it_knows_every_reference_of_the_schemas() -> None:
    paths = {
        (document["spec"]["names"]["kind"], path.replace(".", "/"))
        for kind, document in ((kind, crd.document(kind)) for kind in crd.KINDS)
        for path, _ in crd.nodes(crd.schema("spec", kind), "spec")
        if path.endswith("Ref.name")
    }
    configuration = yaml.safe_load((COMPONENT / "configuration.yaml").read_text())
    known = {
        each["kind"]: {(field["kind"], field["path"]) for field in each["fieldSpecs"]}
        for each in configuration["nameReference"]
    }
    to_servers = {("CipherStorage", "spec/connection/serverRef/name")}
    assert known["Secret"] == paths - to_servers
    assert known["ConfigMap"] == {(kind, path) for kind, path in paths if path.endswith("caRef/name")}
