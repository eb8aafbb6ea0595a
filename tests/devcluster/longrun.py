"""Running one long command (a build, a download) with a sign of life while it works."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from devcluster.cache import say

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
) -> str:
    """Run a command to its end and return its standard output; every 20 seconds one line says it is still at work.

    Raises SetupError with the end of the command's output when it fails or takes longer than `timeout` seconds.
    """
    began = time.monotonic()
    try:
        process = subprocess.Popen(
            argv, cwd=cwd, env=env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise SetupError(f"{what}: cannot run {argv[0]}: {error}") from error
    with process:
        try:
            while True:
                try:
                    out, err = process.communicate(timeout=_SIGN_OF_LIFE_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    elapsed = time.monotonic() - began
                    if elapsed > timeout:
                        raise SetupError(f"{what}: not finished after {elapsed:.0f} s; given up") from None
                    say(f"{what}: still at work, {int(elapsed) // 60} min {int(elapsed) % 60:02d} s")
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        tail = "\n".join((out + err).strip().splitlines()[-15:])
        raise SetupError(f"{what}: {Path(argv[0]).name} ended with code {process.returncode}:\n{tail}")
    return out
