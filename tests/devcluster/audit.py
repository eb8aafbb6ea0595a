"""What the API server's audit log says of some users' requests: who asked for what, and the answer's code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request. `resource` has its subresource (`secrets/status`); it is empty where none was asked for, as in
    discovery. `said` is what the API server answered with, where that was no success."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    uri: str
    code: int
    said: str


class AuditLog:
    """The log of a control plane in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._policy, self._log = folder / "audit-policy.json", folder / "audit.log"

    @property
    def flags(self) -> tuple[str, ...]:
        """Return what kube-apiserver is to be started with. A request is in the log before it is answered."""
        return (
            f"--audit-policy-file={self._policy}",
            f"--audit-log-path={self._log}",
            "--audit-log-mode=blocking-strict",
        )

    def write_policy(self, users: tuple[str, ...]) -> None:
        """Have the requests of these users logged, without their content, and nobody else's."""
        rules = [{"level": "Metadata", "users": list(users)}, {"level": "None"}]
        # A watch is logged when its answer begins: it ends with its client only.
        policy = {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": rules,
        }
        self._policy.write_text(json.dumps(policy))

    def requests(self) -> list[Request]:
        """Return all requests so far, in the order in which they were answered; a watch that has ended stands twice."""
        if not self._log.exists():
            return []
        whole = self._log.read_text().rpartition("\n")[0]
        return [_parse(json.loads(line)) for line in whole.splitlines()]


def _parse(event: dict[str, Any]) -> Request:
    asked, answer = event.get("objectRef") or {}, event.get("responseStatus") or {}
    resource = "/".join(filter(None, (asked.get("resource"), asked.get("subresource"))))
    return Request(
        verb=event["verb"],
        group=asked.get("apiGroup", ""),
        resource=resource,
        namespace=asked.get("namespace", ""),
        name=asked.get("name", ""),
        uri=event["requestURI"],
        code=int(answer.get("code", 0)),
        said=answer.get("message", ""),
    )
