"""The documents as their readers carry them out: every block, and a shell that runs those of a page as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster import ControlPlane
from devcluster.controlplane import COLLECT_NEVER

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "charts/*/README.md") for path in REPOSITORY.glob(pattern)
)
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
"""Of a list's item, too."""
ELSEWHERE: Mapping[str, str] = {
    "aws": "an account at AWS",
    "az": "an account at Azure",
    "cipher-operator": "tests/manifests/test_start_page.py, tests/e2e/test_own_rights.py",
    "cosign": "tests/delivery/test_release_files.py",
    "curl": "the internet",
    "docker": "tests/delivery/test_image_script.py",
    "gcloud": "an account at Google",
    "helm": "tests/delivery/test_chart_life.py",
    "kubeseal": "the controller of Sealed Secrets",
    "make": "tests/manifests/test_documents.py",
    "promtool": "a Prometheus that scrapes the operator",
    "sudo": "tests/delivery/test_image_script.py",
    "velero": "a cluster with Velero",
    ".venv/bin/python": "tests/manifests/test_start_page.py",
}
"""Programs that a block may call and that do nothing here: who runs them, or what they would need."""


@dataclass(frozen=True)
class Block:
    """One block of a page: its language, its text without the indent of a list, and its number on the page from 1."""

    page: str
    number: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """Return it for people."""
        return f"{self.page} block {self.number} ({self.language})"

    @property
    def script(self) -> str | None:
        """Return what a reader types; None where nothing is typed."""
        if self.language == "console":
            return "\n".join(line[2:] for line in self.text.splitlines() if line.startswith("$ "))
        return self.text if self.language == "sh" else None

    @property
    def shown(self) -> list[str]:
        """Return the lines that the page shows as the answer."""
        lines = self.text.splitlines() if self.language == "console" else []
        return [line for line in lines if not line.startswith("$ ")]


def blocks() -> Iterator[Block]:
    """Yield every block of the documents."""
    for path in DOCUMENTS:
        for number, (indent, language, text) in enumerate(_FENCE.findall(path.read_text()), 1):
            plain = re.sub(f"^{indent}", "", text, flags=re.MULTILINE)
            yield Block(str(path.relative_to(REPOSITORY)), number, language, plain)


@dataclass(frozen=True)
class Shell:
    """A reader's shell in a folder like a checkout: the real kubectl and psql, and stand-ins for ELSEWHERE.

    `failures` returns what failed so far, with what was said.
    """

    folder: Path
    environment: Mapping[str, str]

    @classmethod
    def at(cls, folder: Path, plane: ControlPlane, namespace: str, *, acted: bool, **more: str) -> Shell:
        """Return one for a namespace, with more variables; `acted`: without an operator, see readers_kubectl."""
        for each in ("crds", "manifests", "charts"):
            (folder / each).symlink_to(REPOSITORY / each)
        programs = folder / "programs"
        (folder / ".venv" / "bin").mkdir(parents=True)
        programs.mkdir()
        for name in ELSEWHERE:
            _executable(
                folder / name if "/" in name else programs / name,
                "#!/bin/sh\n[ ! -p /dev/stdin ] || cat > /dev/null\necho stand-in\n",
            )
        call = f"{sys.executable} -m support.readers_kubectl" if acted else f"$KUBECTL -n {namespace}"
        _executable(programs / "kubectl", f'#!/bin/sh\nexec {call} "$@"\n')
        paths = f"{REPOSITORY / 'operator'}:{REPOSITORY / 'tests'}"
        # Beside it is the cache of what the API server knows, for every call of every page.
        own = {"KUBECTL": str(plane.programs.kubectl), "NAMESPACE": namespace, "HOME": str(plane.folder)}
        own["KUBECONFIG"] = str(plane.kubeconfig)
        search = {"PATH": f"{programs}:{more.get('PATH', '')}:{os.environ['PATH']}", "PYTHONPATH": paths}
        return cls(folder, os.environ | COLLECT_NEVER | own | {"FAILURES": str(folder / "failures")} | more | search)

    def run(self, script: str) -> str:
        """Run a block and return what it prints; note what bash itself could not do."""
        _wait_for_another_second(script)
        ended = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=dict(self.environment), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if said := re.findall(r"^bash: .*|^psql: .*|^ERROR: .*|^pg_\w+: .*", ended.stderr, re.MULTILINE):
            with (self.folder / "failures").open("a") as failures:
                failures.write("\n".join(said))
        return ended.stdout

    def carry_out(self, script: str) -> str:
        """Run a block of which every command must succeed; return what it prints."""
        _wait_for_another_second(script)
        ended = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", script], cwd=self.folder, env=dict(self.environment),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert ended.returncode == 0, f"{script}\n{ended.stderr}"
        return ended.stdout

    def failures(self) -> str:
        """Return what failed."""
        found = self.folder / "failures"
        return found.read_text() if found.exists() else ""


def _wait_for_another_second(script: str) -> None:
    """Readers take seconds from block to block. What writes the second down does nothing if done twice within one:
    kubectl even refuses to restart."""
    if "rollout restart" in script or "date +%s" in script:
        time.sleep(1 - time.time() % 1)


def _executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
