"""What a run cost: processor seconds and peak memory from /proc, requests from the API server's own audit log."""

import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster import ControlPlane, PostgresServer
from support.cluster import Operator, install

OPERATOR_USER = "system:serviceaccount:cipher-system:cipher-operator"
POLICY = f"""apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - {{level: Metadata, users: ["{OPERATOR_USER}"]}}
  - {{level: None}}
"""
WRITES = frozenset({"create", "update", "patch", "delete"})
_TICKS = os.sysconf("SC_CLK_TCK")


class Audit:
    """The API server's own record of what the operator asked for. A watch counts when it ends."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def mark(self) -> None:
        self._offset = self._path.stat().st_size if self._path.exists() else 0

    def requests(self) -> Counter[str]:
        """Return the requests since the mark, by `verb/resource`, with `/subresource` where there is one."""
        found: Counter[str] = Counter()
        if not self._path.exists():
            return found
        with self._path.open() as file:
            file.seek(self._offset)
            for line in file:
                event = json.loads(line)
                of = event.get("objectRef", {})
                found["/".join(filter(None, (event["verb"], of.get("resource"), of.get("subresource"))))] += 1
        return found

    def writes(self) -> Counter[str]:
        """Return those of the requests that write."""
        return Counter({what: count for what, count in self.requests().items() if what.split("/")[0] in WRITES})


@dataclass(frozen=True)
class Stage:
    """A control plane with CRD and RBAC, its audit log, and a folder for files."""

    plane: ControlPlane
    audit: Audit
    folder: Path

    @property
    def apiserver_pid(self) -> int:
        process = self.plane._apiserver
        assert process is not None
        return process.pid

    def operator(self, *flags: str, patience: float = 30.0) -> Operator:
        """Return the operator, not started; `patience` is in seconds, until it must be ready."""
        made = Operator(self.plane, self.folder, *flags)
        made.patience, made.warm = patience, False
        return made


@contextmanager
def stage() -> Iterator[Stage]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "policy.yaml").write_text(POLICY)
        log = folder / "audit.log"
        flags = (f"--audit-policy-file={folder / 'policy.yaml'}", f"--audit-log-path={log}")
        with ControlPlane(apiserver_flags=flags) as plane:
            install(plane)
            yield Stage(plane, Audit(log), folder)


def postgres_pid(server: PostgresServer) -> int:
    return int((server.data_path / "postmaster.pid").read_text().split("\n", 1)[0])


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, of its children that ended and of those that live, theirs too."""
    ticks = 0
    for each in (pid, *_descendants(pid)):
        try:
            ticks += sum(map(int, _stat(each)[11:15]))
        except OSError:
            # It ended meanwhile, and its parent has it now.
            continue
    return ticks / _TICKS


def memory_mib(pid: int, field: str = "VmRSS") -> float:
    """Return a process's resident memory, now (`VmRSS`) or at its highest (`VmHWM`)."""
    match = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on: the second is a name that may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents.setdefault(int(_stat(int(folder.name))[1]), []).append(int(folder.name))
            except OSError:
                continue
    found, open_ = [], [pid]
    while open_:
        children = parents.get(open_.pop(), [])
        found += children
        open_ += children
    return found


def header(*titles: str) -> None:
    """Print the head of a table."""
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}", flush=True)


def row(*cells: Any) -> None:
    """Print a line of a table; numbers with at most three digits that count."""
    print(f"| {' | '.join(_shown(cell) for cell in cells)} |", flush=True)


def _shown(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:.0f}" if cell >= 100 else f"{cell:.1f}" if cell >= 10 else f"{cell:.2f}"
    if isinstance(cell, Counter):
        return ", ".join(f"{what} × {count}" for what, count in sorted(cell.items())) or "none"
    if isinstance(cell, Sequence) and not isinstance(cell, str):
        return ", ".join(map(_shown, cell))
    return str(cell)
