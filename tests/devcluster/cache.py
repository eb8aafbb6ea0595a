"""The folder in which programs are kept between runs, and how it is filled safely by runs side by side."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def cache_dir() -> Path:
    """Return the cache folder, created if missing.

    `$CIPHER_DEV_CACHE`, else `$XDG_CACHE_HOME/cipher-operator`, else `~/.cache/cipher-operator`.
    """
    if own := os.environ.get("CIPHER_DEV_CACHE"):
        folder = Path(own)
    elif base := os.environ.get("XDG_CACHE_HOME"):
        folder = Path(base) / "cipher-operator"
    else:
        folder = Path.home() / ".cache" / "cipher-operator"
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def say(message: str) -> None:
    """Write one progress line to standard error, so that standard output stays free for results."""
    print(f"devcluster: {message}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the cache's lock of that name; says once when another run holds it, then waits for as long as that takes."""
    lock = cache_dir() / f"{name}.lock"
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            began = time.monotonic()
            say(f"another run is preparing {name}; waiting for it…")
            fcntl.flock(handle, fcntl.LOCK_EX)
            say(f"{name}: waited {time.monotonic() - began:.0f} s")
        yield


def filled(name: str, fill: Callable[[Path], None]) -> Path:
    """Return the cache folder `name`, made once by `fill`, which is given an empty folder to write into.

    The folder appears under its name only when `fill` has returned, so an interrupted or failed run leaves nothing
    half-made behind. Whatever `fill` raises is passed on.
    """
    target = cache_dir() / name
    if target.is_dir():
        return target
    with locked(name):
        if target.is_dir():
            return target
        # Left by runs that were killed: whoever holds the lock is the only one at work on this name.
        for left in cache_dir().glob(f".{name}.*"):
            shutil.rmtree(left, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=cache_dir()))
        try:
            fill(scratch)
            scratch.chmod(0o755)
            scratch.rename(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def drop_unused(prefix: str, seconds: float) -> None:
    """Remove the cache folders of names that begin so and for which `used` was not called for that long."""
    for folder in cache_dir().glob(f"{prefix}*"):
        if folder.is_dir() and folder.stat().st_mtime < time.time() - seconds:
            shutil.rmtree(folder, ignore_errors=True)


def used(folder: Path) -> None:
    """Note that a cache folder is in use still. Where that is not to be written down, it stands in nobody's way."""
    with contextlib.suppress(OSError):
        os.utime(folder)
