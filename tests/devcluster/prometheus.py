"""Prometheus as Debian packages it: a server that scrapes what a test tells it to, and promtool, which tests rules."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from devcluster.controlplane import COLLECT_NEVER
from devcluster.debian import Package, Unpacked
from devcluster.processes import Process, ProcessError, drop_folder, free_ports, run_folder

PROMETHEUS = Package("prometheus", "Prometheus", Path("usr", "bin", "prometheus"), "20 MB")
_PATIENCE = 60.0
_CONFIGURATION = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
- job_name: {job}
  static_configs: [{{targets: ["{target}"]}}]
"""


def find_prometheus(*, fetch: bool = True) -> Unpacked:
    """Return Prometheus, fetched when missing and `fetch` is true. Raises SetupError, with what to do."""
    return PROMETHEUS.find(fetch=fetch)


def promtool(*arguments: str | Path, fetch: bool = True) -> subprocess.CompletedProcess[str]:
    """Run promtool to its end and return what it said. Raises SetupError where it cannot be had."""
    found = find_prometheus(fetch=fetch)
    command = [found.program.with_name("promtool"), *arguments]
    return subprocess.run(
        command, env=found.environment() | COLLECT_NEVER, capture_output=True, text=True, timeout=120, check=False
    )


class Prometheus:
    """A server on loopback that scrapes one target every second. Use as `with Prometheus(…) as prometheus`.

    `target` is host and port, `rules` a file of rules that it evaluates too.
    """

    def __init__(self, target: str, *, job: str, rules: Path | None = None) -> None:
        self._target, self._job, self._rules = target, job, rules
        self._process: Process | None = None
        self._folder: Path | None = None
        self.url = ""

    def __enter__(self) -> Prometheus:
        found = find_prometheus()
        folder = self._folder = run_folder("prometheus")
        configuration = folder / "prometheus.yml"
        rules = f'"{self._rules}"' if self._rules else ""
        configuration.write_text(_CONFIGURATION.format(rules=rules, job=self._job, target=self._target))
        # Another program may take the port before it is used.
        for _ in range(3):
            port = free_ports(1)[0]
            self.url = f"http://127.0.0.1:{port}"
            self._process = Process(
                [
                    found.program,
                    f"--config.file={configuration}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                log=folder / "prometheus.log",
                env=found.environment(),
            )
            if self._answers():
                return self
            self._process.stop(grace=0)
        raise ProcessError(f"Prometheus did not start:\n{self._process.log_tail() if self._process else ''}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.stop(grace=5)
        if self._folder is not None:
            drop_folder(self._folder)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples that an expression has now. Raises HTTPError for one that is none."""
        result = self._get("query", {"query": expression})["data"]["result"]
        assert isinstance(result, list)
        return result

    def query_range(self, expression: str, begin: float, end: float, step: float) -> list[dict[str, Any]]:
        """Return the series that an expression has between two times, in seconds since the epoch."""
        asked = {"query": expression, "start": str(begin), "end": str(end), "step": str(step)}
        result = self._get("query_range", asked)["data"]["result"]
        assert isinstance(result, list)
        return result

    def _get(self, what: str, asked: Mapping[str, str]) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(asked)}", timeout=10) as answer:
            decoded: dict[str, Any] = json.load(answer)
        return decoded

    def _answers(self) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + _PATIENCE
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2):
                    return True
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                time.sleep(0.1)
        return False
