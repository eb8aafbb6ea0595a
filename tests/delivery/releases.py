"""The chart's release in a real cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cipher_operator.api.names import GROUP
from delivery.rendering import NAMESPACE
from devcluster import ControlPlane
from devcluster.helm import Helm
from release.repository import CHART
from support.cluster import PATIENCE, wait_served, wait_until

RELEASE = "cipher-operator"
CRD = "crd/cipherstorages.storage.cipher.dev"


class Release:
    """The release in a cluster."""

    def __init__(self, helm: Helm, plane: ControlPlane) -> None:
        self._helm, self._plane = replace(helm, kubeconfig=plane.kubeconfig), plane
        self.major = helm.major

    def do(self, command: str, *args: str, namespace: str = NAMESPACE) -> str:
        return self._helm(command, *args, "--namespace", namespace)

    def install(self, chart: Path = CHART, *args: str, name: str = RELEASE, namespace: str = NAMESPACE) -> str:
        """Return what Helm says, the notes at its end."""
        said = self.do("install", name, str(chart), "--create-namespace", *args, namespace=namespace)
        wait_served(self._plane)
        return said

    def clear(self) -> None:
        """Take away all releases, the kinds and what is of them, though nobody carries out its deletion."""
        for each in json.loads(self._helm("list", "--all-namespaces", "--output=json")):
            self.do("uninstall", each["name"], namespace=each["namespace"])
        kinds = self._plane.kubectl("get", "crd", "--output=name").split()
        crds = [each for each in kinds if each.endswith(f".{GROUP}")]
        for crd in crds:
            kind = crd.partition("/")[2]
            listed = (
                self._plane.kubectl("get", kind, "--all-namespaces", "--output=json", check=False) or '{"items": []}'
            )
            for item in json.loads(listed)["items"]:
                where = [f"--namespace={item['metadata'].get('namespace', '')}"]
                free = ["--type=merge", "--patch", '{"metadata": {"finalizers": null}}']
                self._plane.kubectl("patch", kind, item["metadata"]["name"], *where, *free)
        if crds:
            self._plane.kubectl("delete", *crds)
        self.wait_gone(self.kept)

    def wait_gone(self, left: Callable[[], list[str]]) -> None:
        """Wait until the API server's own controllers have taken away what Helm deleted: CRDs have finalizers."""
        wait_until(lambda: left() == [], self._held, PATIENCE)

    def _held(self) -> str:
        """Return what holds the objects that are still there."""
        parts = ("deletionTimestamp", "finalizers", "annotations")
        said = [f"nothing is left; {self.kept()}"]
        for name in self.kept_crds():
            crd = json.loads(self._plane.kubectl("get", name, "--output=json", check=False) or "{}")
            held = {part: crd.get("metadata", {}).get(part) for part in parts}
            said.append(f"{name}: {held}, {crd.get('status', {}).get('conditions')}")
        return "\n".join(said)

    def kept_crds(self) -> list[str]:
        """Return the CRDs that are still there."""
        return [each for each in self.kept() if each.startswith("customresourcedefinition")]

    def kept(self) -> list[str]:
        """Return what is still there of the release's objects, by the label that they all have."""
        label = f"--selector=app.kubernetes.io/instance={RELEASE}"
        kinds = "crd,clusterrole,clusterrolebinding,role,rolebinding,serviceaccount,deployment,service,pdb"
        return self._plane.kubectl("get", kinds, "--all-namespaces", label, "--output=name").split()
