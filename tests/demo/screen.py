"""What the demo writes: headings, commands with their output, and how long things took."""

from __future__ import annotations

import os
import sys
import textwrap
import time

_COLOURS = {"bold": "1", "green": "32", "red": "31", "cyan": "36", "dim": "2"}
_BEGAN = time.monotonic()
_WIDTH = 140
# In a file or a pipe plain ASCII, whatever reads it.
_OK, _FAILED, _MASK = ("✓", "✗", "•") if sys.stdout.isatty() else ("ok:", "FAILED:", "*")


def _painted(text: str, colour: str) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{_COLOURS[colour]}m{text}\033[0m"


def _write(line: str) -> None:
    print(line, flush=True)


def elapsed() -> float:
    """Return the seconds since the demo began."""
    return time.monotonic() - _BEGAN


def title(text: str) -> None:
    """Begin a part."""
    _write("")
    _write(_painted(text, "bold"))


def say(text: str) -> None:
    """Write one sentence about what happens next."""
    _write(_painted(f"  {text}", "dim"))


def command(line: str) -> None:
    """Show what a person would type."""
    _write(_painted(f"  $ {line}", "cyan"))


def output(text: str) -> None:
    """Show what a command said; long lines are wrapped, with what follows indented further."""
    for line in text.rstrip("\n").splitlines():
        bare = line.lstrip()
        margin = "    " + " " * (len(line) - len(bare))
        if len(line) <= _WIDTH:
            _write(f"    {line}".rstrip())
            continue
        for part in textwrap.wrap(bare, _WIDTH, initial_indent=margin, subsequent_indent=f"{margin}  "):
            _write(part)


def done(text: str, seconds: float) -> None:
    """Say that something was reached, and in what time."""
    _write(_painted(f"  {_OK} {text}", "green") + f" ({seconds:.1f} s)")


def failed(text: str) -> None:
    """Say what went wrong."""
    _write(_painted(f"  {_FAILED} {text}", "red"))


def masked() -> str:
    """Return what stands for a value that is not shown; its length says nothing of the value's."""
    return _MASK * 8


def table(rows: list[tuple[str, str]]) -> None:
    """Write two columns."""
    width = max((len(left) for left, _ in rows), default=0)
    for left, right in rows:
        _write(f"    {left:<{width}}  {right}")
