"""Running one long command (a build, a download) with a sign of life while it works."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from devcluster.cache import say
from devcluster.processes import Process, ProcessError

_SIGN_OF_LIFE_SECONDS = 20.0


class SetupError(RuntimeError):
    """A program of the dev cluster could not be found, fetched or built; the message says what to do."""


def run(
    what: str,
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 3600.0,
) -> None:
    """Run a command to its end; every 20 seconds one line says that it is still at work.

    It ends when this Python process does. Raises SetupError with the end of the command's output when it fails or
    takes longer than `timeout` seconds.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            process = Process(argv, log=Path(scratch, "output"), cwd=cwd, env=env)
        except ProcessError as error:
            raise SetupError(f"{what}: cannot run {argv[0]}: {error}") from error
        try:
            while not process.wait(_SIGN_OF_LIFE_SECONDS):
                elapsed = time.monotonic() - began
                if elapsed > timeout:
                    raise SetupError(f"{what}: not finished after {elapsed:.0f} s; given up")
                say(f"{what}: still at work, {int(elapsed) // 60} min {int(elapsed) % 60:02d} s")
        finally:
            process.send(signal.SIGKILL, tree=True)
            process.wait(10)
        if (code := process.poll()) != 0:
            raise SetupError(f"{what}: {process.name} ended with code {code}:\n{process.log_tail()}")
