"""A cluster with the CRD, the RBAC and the operator's own process in it, as a user has them."""

import base64
import contextlib
import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from devcluster import ControlPlane, PostgresServer
from devcluster.processes import Process
from support.crd import KINDS

ROOT = Path(__file__).parent.parent.parent
CHECKOUT = [sys.executable, "-m", "cipher_operator"]
GROUP_PATH = "/apis/storage.cipher.dev/v1alpha1"
PROMPT = 40.0
"""Seconds within which something happens because of what was done: what waits for somebody is looked at again by itself
after 60 s, so more would prove less. Most of it takes one, beside other tests and on a busy machine ten.
"""
PATIENCE = 120.0
"""Seconds after which something that has no other way to happen is taken to hang."""


def install(plane: ControlPlane) -> None:
    """Install what a user installs; safe to repeat."""
    plane.kubectl("apply", "-k", str(ROOT / "crds"))
    wait_served(plane)
    plane.kubectl("apply", "-k", str(ROOT / "manifests" / "base"))


def wait_served(plane: ControlPlane) -> None:
    """Wait until both kinds are served.

    One that comes again is a while later than kubectl's own wait has it, and says 429 until then. One that is deleted
    before may never go: its finalizer cannot list it ("storage is (re)initializing", seen for two minutes).
    """
    wait_until(lambda: all(map(partial(_served, plane), KINDS)), "both kinds are served", PATIENCE)


def _served(plane: ControlPlane, kind: str) -> bool:
    try:
        plane.client().request("GET", f"{GROUP_PATH}/{kind}")
    except HTTPError as error:
        if error.code in {404, 429, 503}:
            return False
        raise
    return True


class Operator:
    """The operator as a process, under its own ServiceAccount."""

    patience = PATIENCE
    """Seconds in which it must be ready after its start."""
    warm = True
    """Whether its imports may have been done before. Not where its memory or its start is what is looked at."""

    def __init__(self, plane: ControlPlane, folder: Path, *flags: str) -> None:
        self._folder = folder
        self._kubeconfig = plane.kubeconfig_for_service_account(
            "cipher-system", "cipher-operator", folder / "operator.kubeconfig"
        )
        self._flags = flags
        self._process: Process | None = None
        self._began = 0
        self.log_path = folder / "operator.log"

    def program(self) -> list[str]:
        """Return the command that is the operator: that of the checkout, or the one that `make image-test` names."""
        return shlex.split(os.environ.get("CIPHER_TEST_OPERATOR", "")) or CHECKOUT

    def start(self, *flags: str) -> "Operator":
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        environment |= {"KUBECONFIG": str(self._kubeconfig), "PYTHONPATH": str(ROOT / "operator")}
        program = self.program()
        command = [*program, "run", "--log-format", "json"]
        ports = ["--health-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"]
        self._began = len(self.log())
        # As the servers are, so that a test run that is killed leaves no operator behind.
        self._process = Process(
            [*command, *ports, "--blocked-ranges", "none", *self._flags, *flags],
            log=self.log_path,
            env=environment,
            imported="cipher_operator.runtime.process" if self.warm and program == CHECKOUT else None,
        )
        wait_until(self._serving, "the operator serves", self.patience)
        return self

    def _serving(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the operator ended: {self.log()[-2_000:]}"
        return "ready" in self.log()[self._began :]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        assert self._process is not None
        return self._process.poll()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def said_of(self, namespace: str, most: int = 25) -> str:
        """Return the last lines that are about a namespace, or about no storage at all: servers, the API server."""
        lines = self.log().splitlines()
        return "\n".join([each for each in lines if f"{namespace}/" in each or '"storage"' not in each][-most:])

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) / 1024

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send(signal.SIGTERM)
        if not self._process.wait(60):
            self._process.stop(grace=0)
            raise AssertionError("the operator did not end within 60 s of SIGTERM")


class Namespace:
    """One namespace, and what a user does in it."""

    def __init__(self, plane: ControlPlane, name: str) -> None:
        self.plane, self.name = plane, name
        self._client = plane.client()
        self._client.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer = self._client.request(method, path, dict(body) if body is not None else None)
        decoded = json.loads(answer)
        assert isinstance(decoded, dict)
        return decoded

    def path(self, plural: str, name: str = "") -> str:
        prefix = GROUP_PATH if plural == "cipherstorages" else "/api/v1"
        return f"{prefix}/namespaces/{self.name}/{plural}" + (f"/{name}" if name else "")

    def secret(self, name: str, data: Mapping[str, str]) -> None:
        """Create an Opaque Secret, or change it to hold these keys, as kubectl apply does: others stay."""
        self.apply("secrets", name, {"stringData": dict(data)})

    def apply(self, plural: str, name: str, body: Mapping[str, Any]) -> None:
        """Change an object to have these fields, or create it with them."""
        try:
            self.request("PATCH", self.path(plural, name), body)
        except HTTPError as error:
            if error.code != 404:
                raise
            self.request("POST", self.path(plural), {"metadata": {"name": name}, **body})

    def admin_secret(self, server: PostgresServer, name: str = "pg-admin", **changes: Any) -> None:
        self.secret(name, {"CIPHER_PG_URL": server.admin_url(sslmode="disable", **changes)})

    def storage(self, name: str, spec: Mapping[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
        """Create a CipherStorage; the connection Secret is `pg-admin` unless the spec says otherwise."""
        body = {
            "apiVersion": "storage.cipher.dev/v1alpha1",
            "kind": "CipherStorage",
            "metadata": {"name": name, **metadata},
            "spec": {"connection": {"secretRef": {"name": "pg-admin"}}, **(spec or {})},
        }
        return self.request("POST", self.path("cipherstorages"), body)

    def get(self, plural: str, name: str) -> dict[str, Any] | None:
        try:
            return self.request("GET", self.path(plural, name))
        except HTTPError as error:
            if error.code == 404:
                return None
            raise

    def exists(self) -> bool:
        """Return whether the namespace itself is there, if only to go."""
        try:
            self.request("GET", f"/api/v1/namespaces/{self.name}")
        except HTTPError as error:
            if error.code == 404:
                return False
            raise
        return True

    def patch(self, name: str, patch: Mapping[str, Any]) -> None:
        self.request("PATCH", self.path("cipherstorages", name), patch)

    def annotate(self, name: str, annotation: str, value: str) -> None:
        self.patch(name, {"metadata": {"annotations": {f"storage.cipher.dev/{annotation}": value}}})

    def delete(self, plural: str, name: str) -> None:
        self.request("DELETE", self.path(plural, name))

    def left(self, *, deleted: bool) -> list[str]:
        """Return what has finalizers in the namespace: what is being deleted, or what is not yet."""
        return [
            f"{plural} {item['metadata']['name']} {item['metadata']['finalizers']}"
            for plural in ("cipherstorages", "secrets", "configmaps")
            for item in self.request("GET", self.path(plural))["items"]
            if item["metadata"].get("finalizers") and ("deletionTimestamp" in item["metadata"]) is deleted
        ]

    def end(self) -> None:
        """Delete the namespace and wait until its controller has deleted what is in it, the operator has let that go,
        and the controller has seen that.

        The controller looks 5 s after the deletion, where it has heard of it (half a minute later after an outage of
        the API server), then each 8 s.
        """
        path = f"/api/v1/namespaces/{self.name}"
        self.request("DELETE", path)
        wait_until(lambda: not self.left(deleted=False), lambda: f"deleted: {self.left(deleted=False)}", PATIENCE)
        wait_until(lambda: not self.left(deleted=True), lambda: f"let go: {self.left(deleted=True)}")
        wait_until(lambda: not self.exists(), lambda: f"it is gone; {self.request('GET', path)['status']}", PATIENCE)

    def let_go(self) -> None:
        """Delete all storages without a look at their servers; does not wait for it."""
        for storage in self.request("GET", self.path("cipherstorages"))["items"]:
            name = storage["metadata"]["name"]
            # One that is being deleted goes with the annotation, and may be gone at any moment.
            with contextlib.suppress(HTTPError):
                self.annotate(name, "force-delete", "true")
                if "deletionTimestamp" not in storage["metadata"]:
                    self.delete("cipherstorages", name)

    def condition(self, name: str, type_: str = "Ready") -> dict[str, Any]:
        return _condition(self.get("cipherstorages", name) or {}, type_)

    def handled(self, name: str) -> dict[str, str]:
        """Return the requests that were carried out."""
        storage = self.get("cipherstorages", name) or {}
        requests: dict[str, str] = storage.get("status", {}).get("handledRequests", {})
        return requests

    def wait_ready(self, name: str, timeout: float = PROMPT) -> float:
        """Return the seconds until Ready for the present generation."""

        def ready() -> bool:
            storage = self.get("cipherstorages", name) or {}
            found = _condition(storage, "Ready")
            return found.get("status") == "True" and (
                found.get("observedGeneration") == storage.get("metadata", {}).get("generation")
            )

        return wait_until(ready, lambda: f"{name} is Ready; it says {self.condition(name)}", timeout)

    def wait_reason(self, name: str, reason: str, timeout: float = PROMPT) -> float:
        """Return the seconds until Ready has this reason."""
        return wait_until(
            lambda: self.condition(name).get("reason") == reason,
            lambda: f"{name} says {reason}; it says {self.condition(name)}",
            timeout,
        )

    def app_secret(self, name: str) -> dict[str, str]:
        secret = self.get("secrets", f"{name}-cipher")
        assert secret is not None, "the app Secret is missing"
        return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}

    def events(self, name: str) -> list[str]:
        listed = self.request("GET", f"/apis/events.k8s.io/v1/namespaces/{self.name}/events")
        return [item["reason"] for item in listed["items"] if item["regarding"]["name"] == name]


def _condition(storage: Mapping[str, Any], type_: str) -> dict[str, Any]:
    conditions = storage.get("status", {}).get("conditions", [])
    return next((found for found in conditions if found["type"] == type_), {})


def ready_storage(namespace: Namespace, server: PostgresServer, name: str = "chat", **spec: object) -> str:
    """Create a storage with a database of its own, wait until it is Ready and return the database's name."""
    database = f"{namespace.name}_{name}".replace("-", "_")
    namespace.admin_secret(server)
    namespace.storage(name, {"database": {"name": database}, **spec})
    namespace.wait_ready(name)
    return database


def writing_statements(log: str) -> list[str]:
    """Return the verbs of statements in a server's log (log_statement=all) that change something.

    A login test does not: the message in which it does what Cipher does ends with a ROLLBACK.
    """
    log = re.sub(r"statement: BEGIN;.*?\bROLLBACK\b(?! TO)", "", log, flags=re.DOTALL)
    return re.findall(r"(?:statement:|;)\s*(CREATE|ALTER|GRANT|REVOKE|COMMENT|DROP|REINDEX|INSERT|UPDATE)\b", log)


AT_ONCE, AT_MOST = 0.05, 0.25
"""Seconds between two looks: for a moment that must not be missed, and where a wait has become long."""


def wait_until(
    check: Callable[[], Any], what: "str | Callable[[], str]", timeout: float = PROMPT, *, pause: float = AT_MOST
) -> float:
    """Return the seconds until the check holds; AssertionError with `what` after the timeout (seconds).

    They are right to a tenth, or to `pause` seconds where that is less: most looks are requests to the API server, and
    those that are made in vain cost as much as what is waited for.
    """
    started = time.monotonic()
    while (waited := time.monotonic() - started) < timeout:
        if check():
            return time.monotonic() - started
        time.sleep(max(AT_ONCE, min(waited / 10, pause)))
    raise AssertionError(f"not within {timeout:g} s: {what if isinstance(what, str) else what()}")
