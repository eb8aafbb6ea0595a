"""Why the API server refused a request: what a person, or the next run, can do about it."""

import re
from enum import StrEnum

from cipher_operator.kube.port import ApiError

ADMISSION = re.compile(r"(Validating|Mutating)AdmissionPolicy '|admission webhook \"")
"""The API server's own words around what a policy says."""
_IMMUTABLE = "field is immutable when `immutable` is set"
_FAILED_TEST = "the server rejected our request due to an error in our request"
_RIGHTS = re.compile(r"User \"[^\"]*\" cannot \w+ resource|cannot set blockOwnerDeletion")


class Refusal(StrEnum):
    """A kind of refusal."""

    GONE = "gone"
    """The object, or its namespace, is not there."""
    CONFLICT = "conflict"
    """Somebody else was faster: read again, try again."""
    IMMUTABLE = "immutable"
    """It is a Secret with `immutable: true`, whose content nobody can change."""
    ADMISSION = "admission"
    """A policy of the cluster, whose sentence is in the message."""
    QUOTA = "quota"
    """A ResourceQuota of the namespace."""
    TERMINATING = "terminating"
    """The namespace is being deleted."""
    FORBIDDEN = "forbidden"
    """The operator has not the right."""
    INVALID = "invalid"
    """The object is not what the API server takes: a defect of ours, or another version of the CRD."""


def refusal(error: ApiError) -> Refusal:
    """Return the kind of a refusal. Asks policies first: they answer with any status, and may say anything."""
    if ADMISSION.search(error.message):
        return Refusal.ADMISSION
    if error.status in (404, 410):
        return Refusal.GONE
    if error.status == 409 or (error.status == 422 and _FAILED_TEST in error.message):
        return Refusal.CONFLICT
    if error.status == 422 and _IMMUTABLE in error.message:
        return Refusal.IMMUTABLE
    if error.status in (401, 403):
        return _forbidden(error)
    return Refusal.INVALID


def _forbidden(error: ApiError) -> Refusal:
    if any(reason == "NamespaceTerminating" for reason, _ in error.causes) or "being terminated" in error.message:
        return Refusal.TERMINATING
    if "exceeded quota" in error.message or "failed quota" in error.message:
        return Refusal.QUOTA
    if error.status == 401 or not error.message or _RIGHTS.search(error.message):
        return Refusal.FORBIDDEN
    # What is built into API servers says no in its own words, without the frame of a policy.
    return Refusal.ADMISSION
