"""Objects of our kinds on a real API server, through plain HTTPS requests: what it stores, refuses and says."""

import itertools
import json
import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cipher_operator.api import names
from devcluster.kubeconfig import ApiClient


@dataclass(frozen=True)
class Answer:
    """What the API server said: the object, or why not (`causes` are pairs of field and message)."""

    body: Mapping[str, Any]
    causes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def accepted(self) -> bool:
        return self.body.get("kind") != "Status"


@dataclass
class CustomObjects:
    """Objects of one kind at one path of the test's API server."""

    client: ApiClient
    path: str
    kind: str
    counter: "itertools.count[int]" = field(default_factory=itertools.count)

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        try:
            return Answer(json.loads(self.client.request(method, path, dict(body) if body else None)))
        except urllib.error.HTTPError as error:
            body = json.loads(error.read())
            found = (body.get("details") or {}).get("causes") or []
            return Answer(body, [(cause.get("field", ""), cause.get("message", "")) for cause in found])

    def new(self, spec: Mapping[str, Any], name: str | None = None, **metadata: Any) -> dict[str, Any]:
        """Return an object of a name that is not taken."""
        metadata = {"name": name or f"case-{next(self.counter)}", **metadata}
        group = self.path.split("/")[2]
        return {
            "apiVersion": f"{group}/{names.VERSION}",
            "kind": self.kind,
            "metadata": metadata,
            "spec": dict(spec),
        }

    def try_create(self, spec: Mapping[str, Any], name: str | None = None) -> Answer:
        """Return what the server says to the creation, without storing anything."""
        return self.request("POST", f"{self.path}?dryRun=All", self.new(spec, name))

    def create(self, spec: Mapping[str, Any], status: Mapping[str, Any] | None = None, **metadata: Any) -> Answer:
        """Store an object, with a status if given, and return it."""
        stored = self.request("POST", self.path, self.new(spec, **metadata))
        assert stored.accepted, stored
        return self.write_status(stored.body, status) if status is not None else stored

    def get(self, name: str) -> Mapping[str, Any]:
        return self.request("GET", f"{self.path}/{name}").body

    def write_status(self, stored: Mapping[str, Any], status: Mapping[str, Any]) -> Answer:
        return self.request("PUT", f"{self.path}/{stored['metadata']['name']}/status", {**stored, "status": status})

    def try_update(self, stored: Mapping[str, Any], spec: Mapping[str, Any]) -> Answer:
        """Return what the server says to another spec, without storing it."""
        return self.request("PUT", f"{self.path}/{stored['metadata']['name']}?dryRun=All", {**stored, "spec": spec})
