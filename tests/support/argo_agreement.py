"""Argo CD's answer and kstatus's to the same stored version: both hold back, or let go on, what comes after it."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from support.argo_lua import health
from support.kstatus import kstatus

AGREED = {"Current": "Healthy", "Failed": "Degraded", "InProgress": "Progressing", "Terminating": "Progressing"}
"""kstatus's word, and Argo CD's for the same."""
_CHECKS = Path(__file__).parents[2] / "manifests/argocd/resource_customizations/storage.cipher.dev"


def disagreements(stored: Mapping[str, Any]) -> Iterator[str]:
    """Yield where the health check of manifests/argocd says another thing of a CipherStorage or CipherServer."""
    said, theirs = health(_check(stored["kind"]), stored)[0], kstatus(stored)
    suspended = stored.get("spec", {}).get("suspend") is True and "deletionTimestamp" not in stored["metadata"]
    # Of one that is left alone kstatus knows what its status said before.
    if said != ("Suspended" if suspended else AGREED[theirs]):
        yield f"Argo CD says {said}, kstatus {theirs}"


@cache
def _check(kind: str) -> str:
    return (_CHECKS / kind / "health.lua").read_text()
