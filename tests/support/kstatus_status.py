"""What kstatus computes of a custom resource, as Flux and Cluster API read it."""

from collections.abc import Mapping
from typing import Any


def compute_status(resource: Mapping[str, Any]) -> str:
    """Return Terminating, InProgress, Failed or Current.

    Source: sigs.k8s.io/cli-utils pkg/kstatus/status, generic.go and status.go: the first of Reconciling and Stalled
    that is True, in list order, decides; a resource without conditions is Current.
    """
    metadata, status = resource["metadata"], resource.get("status") or {}
    if "deletionTimestamp" in metadata:
        return "Terminating"
    if "observedGeneration" in status and status["observedGeneration"] != metadata.get("generation"):
        return "InProgress"
    conditions = status.get("conditions") or []
    for condition in conditions:
        if condition["status"] == "True" and condition["type"] in ("Reconciling", "Stalled"):
            return "InProgress" if condition["type"] == "Reconciling" else "Failed"
    for condition in conditions:
        if condition["type"] == "Ready":
            return "Current" if condition["status"] == "True" else "InProgress"
    return "Current"
