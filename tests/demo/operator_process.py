"""The operator as a process of its own, with nothing but its ServiceAccount's token."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

from devcluster.processes import Process, drop_folder, run_folder

_SOURCES = Path(__file__).parents[2] / "operator"
_START_SECONDS = 30.0


class OperatorProcess:
    """`cipher-operator run` from the checkout. `log` is where it writes."""

    def __init__(self, kubeconfig: Path) -> None:
        """Start it against the cluster of that kubeconfig."""
        self.folder = run_folder("operator")
        self.log = self.folder / "operator.log"
        inherited = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
        self._process = Process(
            [
                sys.executable,
                "-m",
                "cipher_operator",
                "run",
                # The demo's PostgreSQL is on loopback, which the operator does not dial by default.
                "--blocked-ranges",
                "none",
                # In a Pod this is its own namespace.
                "--server-secrets-namespace",
                "cipher-system",
                "--health-address",
                "127.0.0.1:0",
                "--metrics-address",
                "127.0.0.1:0",
                "--log-format",
                "text",
            ],
            log=self.log,
            env=inherited
            | {
                "KUBECONFIG": str(kubeconfig),
                "PYTHONPATH": str(_SOURCES),
                "HOME": str(self.folder),
                "PYTHONUNBUFFERED": "1",
            },
        )

    @property
    def ended(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.poll()

    def log_text(self) -> str:
        """Return all it has logged."""
        return self.log.read_text(errors="replace")

    def health_port(self) -> int:
        """Return the port of its health endpoint, which it logs when it listens.

        Raises TimeoutError when it does not say so in time, RuntimeError when it ended.
        """
        deadline = time.monotonic() + _START_SECONDS
        while True:
            if found := re.search(r"health\D*?127\.0\.0\.1:(\d+)", self.log_text()):
                return int(found[1])
            if self.ended is not None:
                raise RuntimeError(f"the operator ended with code {self.ended}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the operator says no health address within {_START_SECONDS:.0f} s")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it as a cluster would, with SIGTERM, and remove its folder."""
        self._process.stop(grace=10.0)
        drop_folder(self.folder)
