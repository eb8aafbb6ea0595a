"""What the chart renders, as objects by kind and name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from devcluster.helm import Helm
from manifests.manifest_files import REPOSITORY, documents
from release.repository import CHART

NAMESPACE = "cipher-system"
Objects = dict[tuple[str, str, str], dict[str, Any]]
"""By kind, namespace ("" where the object has none) and name."""
_OF_THE_RELEASE = {
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
}


def by_name(listed: list[dict[str, Any]]) -> Objects:
    """Return objects by kind, namespace and name; AssertionError when two have all three in common."""
    found = {(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each for each in listed}
    assert len(found) == len(listed)
    return found


def rendered(
    helm: Helm, values: Mapping[str, Any] | None = None, file: Path | None = None, chart: Path = CHART
) -> Objects:
    """Return what `helm template` makes of the chart with these values, which go through `file`.

    Raises HelmError, with what Helm says, where the schema or a template refuses them.
    """
    given: list[str] = []
    if values:
        assert file is not None
        file.write_text(yaml.safe_dump(dict(values)))
        given = ["--values", str(file)]
    return by_name(documents(helm("template", "cipher-operator", str(chart), "--namespace", NAMESPACE, *given)))


def without_release(objects: Objects) -> Objects:
    """Return the objects without what only Helm needs: its labels, and the policy that keeps CRDs."""
    for each in objects.values():
        metadata = each["metadata"]
        metadata["labels"] = {key: value for key, value in metadata["labels"].items() if key not in _OF_THE_RELEASE}
        metadata.get("annotations", {}).pop("helm.sh/resource-policy", None)
    return objects


def deployment(objects: Objects) -> dict[str, Any]:
    found: dict[str, Any] = objects["Deployment", NAMESPACE, "cipher-operator"]["spec"]
    return found


def template(objects: Objects) -> dict[str, Any]:
    found: dict[str, Any] = deployment(objects)["template"]
    return found


def pod(objects: Objects) -> dict[str, Any]:
    found: dict[str, Any] = template(objects)["spec"]
    return found


def container(objects: Objects) -> dict[str, Any]:
    (found,) = pod(objects)["containers"]
    assert isinstance(found, dict)
    return found


def variables(objects: Objects) -> dict[str, Any]:
    return {each["name"]: each.get("value") for each in container(objects)["env"]}


def kinds(objects: Objects) -> set[str]:
    return {kind for kind, _, _ in objects}


def crds(objects: Objects) -> list[dict[str, Any]]:
    return [each for (kind, _, _), each in objects.items() if kind == "CustomResourceDefinition"]


def subjects(objects: Objects) -> set[str]:
    bindings = [each for (kind, _, _), each in objects.items() if kind.endswith("RoleBinding")]
    return {subject["name"] for each in bindings for subject in each["subjects"]}


def account(objects: Objects, name: str = "cipher-operator") -> dict[str, Any]:
    found: dict[str, Any] = objects["ServiceAccount", NAMESPACE, name]["metadata"]
    return found


def policy(objects: Objects) -> dict[str, Any]:
    found: dict[str, Any] = objects["NetworkPolicy", NAMESPACE, "cipher-operator"]["spec"]
    return found


def component(path: str) -> list[dict[str, Any]]:
    return documents((REPOSITORY / "manifests" / "components" / path).read_text())


def monitoring(file: str) -> list[dict[str, Any]]:
    return component(f"monitoring/{file}")
