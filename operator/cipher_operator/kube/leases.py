"""The Lease that says which process leads: read, created, and replaced only as it was read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cipher_operator.kube.port import ApiError, Json, Kube

LEASE_NAME = "cipher-operator"
MICRO = "%Y-%m-%dT%H:%M:%S.%fZ"
"""Kubernetes' MicroTime."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease as it was read; equal where it says the same, whoever has annotated it meanwhile.

    `holder` is empty where it was released, `duration` in seconds; `acquired` and `renewed` are times as its holder
    wrote them, by a clock that may be wrong.
    """

    holder: str
    duration: float
    transitions: int
    acquired: str
    renewed: str
    body: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a process writes into a Lease. `acquired` is None where the term goes on that the Lease names already."""

    holder: str
    duration: int
    transitions: int
    renewed: datetime
    acquired: datetime | None = None


def lease_path(namespace: str, name: str = "") -> str:
    """Return a Lease's path on the API server, without a name that of all of a namespace."""
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases" + (f"/{name}" if name else "")


async def get_lease(kube: Kube, namespace: str, name: str) -> Lease | None:
    """Return the Lease, None where there is none. Raises ApiError, ApiUnavailable."""
    try:
        return _parse(await kube.get(lease_path(namespace, name)))
    except ApiError as error:
        if error.status == 404:
            return None
        raise


async def create_lease(kube: Kube, namespace: str, name: str, claim: Claim) -> Lease:
    """Create the Lease. Raises ApiError, status 409 where somebody else was faster, and ApiUnavailable."""
    body: Json = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace},
        "spec": _spec(claim),
    }
    return _parse(await kube.post(lease_path(namespace), body))


async def replace_lease(kube: Kube, lease: Lease, claim: Claim) -> Lease:
    """Write a claim into the Lease as it was read; what others have put there stays.

    Raises ApiError, status 409 where it has been written since, and ApiUnavailable.
    """
    body = dict(lease.body)
    body["spec"] = {**(body.get("spec") or {}), **_spec(claim)}
    metadata = body["metadata"]
    return _parse(await kube.put(lease_path(metadata["namespace"], metadata["name"]), body))


def _spec(claim: Claim) -> Json:
    spec: Json = {
        "holderIdentity": claim.holder,
        "leaseDurationSeconds": claim.duration,
        "leaseTransitions": claim.transitions,
        "renewTime": claim.renewed.strftime(MICRO),
    }
    if claim.acquired is not None:
        spec["acquireTime"] = claim.acquired.strftime(MICRO)
    return spec


def _parse(body: Json) -> Lease:
    spec = body.get("spec") or {}
    return Lease(
        holder=str(spec.get("holderIdentity") or ""),
        duration=float(spec.get("leaseDurationSeconds") or 0),
        transitions=int(spec.get("leaseTransitions") or 0),
        acquired=str(spec.get("acquireTime") or ""),
        renewed=str(spec.get("renewTime") or ""),
        body=body,
    )
