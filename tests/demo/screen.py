"""What the demo writes: headings, commands with their output, and how long things took."""

from __future__ import annotations

import os
import sys
import time

_COLOURS = {"bold": "1", "green": "32", "red": "31", "cyan": "36", "dim": "2"}
_BEGAN = time.monotonic()


def _painted(text: str, colour: str) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{_COLOURS[colour]}m{text}\033[0m"


def _write(line: str) -> None:
    print(line, flush=True)


def elapsed() -> float:
    """Return the seconds since the demo began."""
    return time.monotonic() - _BEGAN


def heading(number: int, total: int, title: str) -> None:
    """Begin a step."""
    _write("")
    _write(_painted(f"[{number}/{total}] {title}", "bold"))


def say(text: str) -> None:
    """Write one sentence about what happens next."""
    _write(_painted(f"  {text}", "dim"))


def command(line: str) -> None:
    """Show what a person would type."""
    _write(_painted(f"  $ {line}", "cyan"))


def output(text: str) -> None:
    """Show what a command said."""
    for line in text.rstrip("\n").splitlines():
        _write(f"    {line}".rstrip())


def done(text: str, seconds: float) -> None:
    """Say that something was reached, and in what time."""
    _write(_painted(f"  ✓ {text}", "green") + f" ({seconds:.1f} s)")


def failed(text: str) -> None:
    """Say what went wrong."""
    _write(_painted(f"  ✗ {text}", "red"))


def table(rows: list[tuple[str, str]]) -> None:
    """Write two columns."""
    width = max((len(left) for left, _ in rows), default=0)
    for left, right in rows:
        _write(f"    {left:<{width}}  {right}")
