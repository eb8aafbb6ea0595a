"""The chart's release in a real cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from delivery.rendering import NAMESPACE
from devcluster import ControlPlane
from devcluster.helm import Helm
from release.repository import CHART
from support.cluster import PATIENCE, wait_until

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
        self._plane.kubectl("wait", "--for=condition=Established", "--timeout=20s", CRD)
        return said

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
