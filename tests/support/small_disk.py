"""A small disk of its own for a server's files, which can be filled to the last byte."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devcluster.postgres_data import hand_over
from devcluster.processes import drop_folder, run_folder


@dataclass(frozen=True)
class SmallDisk:
    """`path` belongs to the user that servers run as."""

    path: Path

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self) -> None:
        """Leave not a byte of it."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass

    def free(self) -> None:
        """Give that back."""
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[SmallDisk]:
    """Mount one in memory, and take it away again; skips the test where nothing may be mounted."""
    folder = run_folder("disk")
    path = folder / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(path)]
    try:
        try:
            subprocess.run(mount, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("only root may mount a small disk, and not in every container")
        try:
            hand_over(path)
            yield SmallDisk(path)
        finally:
            # Lazily: a server that has not ended yet keeps its files until then.
            subprocess.run(["umount", "--lazy", str(path)], check=True)
    finally:
        drop_folder(folder)
