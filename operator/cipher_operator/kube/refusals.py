"""Why the API server refused a request: what a person, or the next run, can do about it."""

import re
from collections.abc import Sequence
from enum import StrEnum

from cipher_operator.api.names import GROUP, VERSION
from cipher_operator.kube.port import ApiError

ADMISSION = re.compile(r"(Validating|Mutating)AdmissionPolicy '|admission webhook \"")
"""The API server's own words around what a policy says."""
WEBHOOK_AWAY = re.compile(r"failed calling webhook(?: \"[^\"]*\")?")
"""How the API server says, with some 5xx, that an admission webhook does not answer."""


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
    WEBHOOK_AWAY = "webhook away"
    """A policy's webhook does not answer, and its configuration says that nothing passes then."""
    QUOTA = "quota"
    """A ResourceQuota of the namespace."""
    TERMINATING = "terminating"
    """The namespace is being deleted."""
    FORBIDDEN = "forbidden"
    """The operator has not the right."""
    INVALID = "invalid"
    """The object is not what the API server takes: a defect of ours, or another version of the CRD."""


# The API server's own words, of Kubernetes 1.31 to 1.37. Policies first: they answer with any status, and say anything.
_BY_WORDS = (
    (ADMISSION, Refusal.ADMISSION),
    (WEBHOOK_AWAY, Refusal.WEBHOOK_AWAY),
    (re.compile("because it is being terminated"), Refusal.TERMINATING),
    (re.compile("exceeded quota|failed quota"), Refusal.QUOTA),
    (re.compile("field is immutable when `immutable` is set"), Refusal.IMMUTABLE),
    (re.compile("the server rejected our request due to an error in our request"), Refusal.CONFLICT),
    (re.compile(r"User \"[^\"]*\" cannot \w+ resource|cannot set blockOwnerDeletion"), Refusal.FORBIDDEN),
)
_RIGHT = re.compile(r'cannot (\w+) resource "([^"]+)" in API group "[^"]*"(?: in the namespace "([^"]+)")?')
_BY_STATUS = {401: Refusal.FORBIDDEN, 404: Refusal.GONE, 409: Refusal.CONFLICT, 410: Refusal.GONE}


def refusal(error: ApiError) -> Refusal:
    """Return the kind of a refusal."""
    for words, kind in _BY_WORDS:
        if words.search(error.message):
            return kind
    if error.status == 403:
        # What is built into API servers says no in its own words, without the frame of a policy.
        return Refusal.ADMISSION if error.message else Refusal.FORBIDDEN
    return _BY_STATUS.get(error.status, Refusal.INVALID)


def missing_rights(error: ApiError) -> list[tuple[str, str, str]]:
    """Return verb, resource and namespace ('' of all or none) of the rights that were missing; none where RBAC is not
    why a request was refused."""
    return sorted({(found[1], found[2], found[3] or "") for found in _RIGHT.finditer(error.message)})


def why_refused(error: ApiError, plural: str, api: str) -> str:
    """Return why a list or a watch of a kind is refused, with the right or the CRD that is missing."""
    for verb, resource, namespace in missing_rights(error):
        return f"the operator may not {verb} {resource} in {namespace or 'the whole cluster'} ({error})"
    if error.status == 404 and api.endswith(f"/{GROUP}/{VERSION}"):
        return f"the CRD {plural}.{GROUP} is not installed, or does not serve {VERSION} ({error})"
    return str(error)


def together(errors: Sequence[ApiError]) -> ApiError:
    """Return one refusal for those of several requests at once: where all lacked a right, it tells of all of them."""
    if not all(missing_rights(error) for error in errors):
        return next(error for error in errors if not missing_rights(error))
    messages = dict.fromkeys(error.message for error in errors)
    return ApiError(errors[0].status, errors[0].reason, "; ".join(messages))
