"""What an API server answers: objects, and refusals in its own words."""

from dataclasses import dataclass, field
from typing import Any

from cipher_operator.kube.port import Json


@dataclass(frozen=True)
class Answer:
    """A status code and a body; `headers` where there are any that matter."""

    status: int
    body: Json
    headers: dict[str, str] = field(default_factory=dict)


class Refused(Exception):
    """A request that is refused; `answer` says how."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        causes: tuple[Json, ...] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {reason}: {message}")
        body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": {"causes": list(causes)} if causes else {},
            "code": status,
        }
        self.answer = Answer(status, body, headers or {})


def not_found(plural: str, name: str) -> Refused:
    return Refused(404, "NotFound", f'{plural} "{name}" not found')


NO_PAGE = Answer(404, {})
"""A path that is not served, such as that of a kind whose CRD is away, is answered without an object."""


def exists(plural: str, name: str) -> Refused:
    return Refused(409, "AlreadyExists", f'{plural} "{name}" already exists')


def conflict(plural: str, name: str, why: str = "") -> Refused:
    modified = "the object has been modified; please apply your changes to the latest version and try again"
    return Refused(409, "Conflict", f'Operation cannot be fulfilled on {plural} "{name}": {why or modified}')


def terminating(plural: str, name: str, namespace: str) -> Refused:
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    return Refused(403, "Forbidden", f'{plural} "{name}" is forbidden: {why}', (cause,))


def invalid(kind: str, name: str, *causes: tuple[str, str, str]) -> Refused:
    """Return the refusal of an object; `causes` are (reason, field, message)."""
    listed = tuple({"reason": reason, "field": path, "message": message} for reason, path, message in causes)
    said = [f"{path}: {message}" for _, path, message in causes]
    text = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    return Refused(422, "Invalid", f'{kind} "{name}" is invalid: {text}', listed)


def failed_test() -> Refused:
    return Refused(422, "Invalid", "the server rejected our request due to an error in our request")


def bad_request(message: str) -> Refused:
    return Refused(400, "BadRequest", message)


def expired() -> Refused:
    return Refused(410, "Expired", "The provided continue parameter is too old to display a consistent list result.")


def success(plural: str, name: str, uid: str) -> Json:
    details: dict[str, Any] = {"name": name, "kind": plural, "uid": uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
