"""The servers, the operator and the one storage that the demo plays with."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from demo import screen
from demo.operator_process import OperatorProcess
from devcluster import ControlPlane, PostgresServer

REPOSITORY = Path(__file__).parents[2]
NAMESPACE = "demo"
STORAGE = "chat"
_PATIENCE_SECONDS = 30.0
_KUBECTL_SECONDS = 3.0


class StepError(Exception):
    """A step did not come out as it must."""


class Stage:
    """Everything that runs. Use it as a context manager: at its end all is stopped."""

    def __init__(self) -> None:
        self.plane = ControlPlane()
        self.postgres = PostgresServer()
        self._operator: OperatorProcess | None = None

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self.plane.stop)
            stack.callback(self.postgres.close)
            if self._operator is not None:
                stack.callback(self._operator.stop)

    def use_namespace(self) -> None:
        """Make the demo's namespace, and the one that kubectl means without being told."""
        self.kubectl("create", "namespace", NAMESPACE, show=False)
        self.kubectl("config", "set-context", "--current", f"--namespace={NAMESPACE}", show=False)

    def start_operator(self) -> None:
        """Start the operator with a token of its own ServiceAccount and wait until it says it is ready."""
        kubeconfig = self.plane.kubeconfig_for_service_account("cipher-system", "cipher-operator")
        self._operator = OperatorProcess(kubeconfig)
        port = self._operator.health_port()
        self.wait("the operator to be ready", lambda: _answers(f"http://127.0.0.1:{port}/readyz"))

    def operator_log(self, lines: int) -> str:
        """Return the last lines of the operator's log, nothing before its start."""
        return "" if self._operator is None else "\n".join(self._operator.log_text().splitlines()[-lines:])

    def kubectl(self, *arguments: str, show: bool = True, input: str | None = None) -> str:
        """Run kubectl as the cluster's admin, on screen with `show`; return what it said."""
        if show:
            screen.command(" ".join(["kubectl", *(_short(each) for each in arguments)]))
        text = self.plane.kubectl(*arguments, input=input)
        if show:
            screen.output(text)
        return text

    def storage(self) -> dict[str, Any]:
        """Return the CipherStorage as the API server has it, {} when there is none."""
        path = f"/apis/storage.cipher.dev/v1alpha1/namespaces/{NAMESPACE}/cipherstorages/{STORAGE}"
        try:
            body: dict[str, Any] = json.loads(self.plane.client().request("GET", path))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return {}
            raise
        return body

    def ready(self) -> dict[str, str]:
        """Return the Ready condition, {} while there is none."""
        conditions = self.storage().get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == "Ready"), {})

    def ask(self, request: str) -> str:
        """Set a request annotation (`reconcile`, `recreate`, …) to a new value, on screen, and return the value."""
        value = f"{time.time():.3f}"
        annotation = f"storage.cipher.dev/{request}-requested-at={value}"
        self.kubectl("annotate", "cstore", STORAGE, "--overwrite", annotation, show=False)
        screen.command(f"kubectl annotate cstore {STORAGE} --overwrite {annotation}")
        return value

    def wait_for(self, reason: str, *, since: float | None = None) -> None:
        """Watch the storage on screen until its Ready condition has this reason; say its message and the time taken.

        `since` is when the cause was set, in time.monotonic()'s seconds.
        """
        began = time.monotonic() if since is None else since
        with self._watched() as rows:
            self.wait(f"the reason {reason}", lambda: self.ready().get("reason") == reason)
            seconds = time.monotonic() - began
            # kubectl needs a moment to start, and the watch gets the same event a moment later.
            latest = time.monotonic() + _KUBECTL_SECONDS
            while not any(reason in row.split() for row in rows) and time.monotonic() < latest:
                time.sleep(0.02)
        screen.output(self.ready()["message"])
        screen.done(f"Ready={self.ready()['status']}, {reason}", seconds)

    def wait_handled(self, request: str, value: str) -> None:
        """Wait until the operator says that it has carried out that request."""
        self.wait(
            f"the request {request} to be answered",
            lambda: self.storage().get("status", {}).get("handledRequests", {}).get(request) == value,
        )

    def wait(self, what: str, fulfilled: Callable[[], object]) -> None:
        """Return as soon as `fulfilled` is true; raises StepError after 30 s, or when the operator has ended."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not fulfilled():
            if self._operator is not None and self._operator.ended is not None:
                raise StepError(f"the operator ended with code {self._operator.ended}")
            if time.monotonic() > deadline:
                raise StepError(f"waited {_PATIENCE_SECONDS:.0f} s for {what}")
            time.sleep(0.05)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[list[str]]:
        """Show the rows of a watch as they come; yield the list that they are added to."""
        rows: list[str] = []
        screen.command(f"kubectl get cstore {STORAGE} --watch")
        watch = subprocess.Popen(
            [self.plane.programs.kubectl, "get", "cstore", STORAGE, "--watch"],
            env={"KUBECONFIG": str(self.plane.kubeconfig), "HOME": str(self.plane.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        reader = threading.Thread(target=_show_rows, args=(watch, rows))
        reader.start()
        try:
            yield rows
        finally:
            watch.terminate()
            watch.wait()
            reader.join()


def _show_rows(watch: subprocess.Popen[str], rows: list[str]) -> None:
    assert watch.stdout is not None
    last = ""
    for line in watch.stdout:
        # The age alone is no news.
        news = re.sub(r"\S+\s*$", "", line)
        if news != last:
            screen.output(line)
            rows.append(line)
        last = news


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError):
        # Without the proxy of the machine: this is loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return bool(opener.open(url, timeout=2).status == 200)
    return False


def _short(argument: str) -> str:
    path = Path(argument)
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else argument
