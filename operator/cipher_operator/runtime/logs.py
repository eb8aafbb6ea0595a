"""The log: one line per outcome, as text for people or JSON for machines, and never a Secret's content."""

import json
import logging
import re
import sys
import time
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

from cipher_operator.api.printable import printable
from cipher_operator.reconcile.run_id import RUN

HIDDEN = "***"
REPEAT_SECONDS = 60.0

_FORM = r"(?!USER:PASSWORD@HOST/DATABASE\b)"
"""How our own messages say what a URL looks like: that is their remedy."""
_SECRETS = (
    # From a scheme to the next space: a password may hold any other character.
    (re.compile(rf"\b((?i:postgres(?:ql)?)://)(?!\.?(?:\s|$)){_FORM}\S+"), r"\1" + HIDDEN),
    (re.compile(rf"(?<=://){_FORM}[^\s/]*@"), HIDDEN + "@"),
    (
        re.compile(r"""(?i)\b(password|passwd|pwd|secret|token)(["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&]+)"""),
        r"\1\2***",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 " + HIDDEN),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), HIDDEN),
    (re.compile(r"SCRAM-SHA-256\$\S+"), HIDDEN),
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SAID = re.compile(r"^Request attempt .* will retry: ", re.DOTALL)
_NUMBERED = re.compile(r"#?\d+")


def redact(text: str) -> str:
    """Return a text without what looks like a URL with credentials, a password, a token or a verifier.

    A second line of defence: nothing is logged that could hold one.
    """
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def set_up(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Send all logging of the process to a stream (default: standard error), as `text` or `json`."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(NoRepeats())
    handler.addFilter(name_run)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("cipher_operator").setLevel(level.upper())
    # At its lower levels kopf logs a line per event, and whole objects: of Secrets too.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kubernetes").setLevel(logging.ERROR)
    logging.getLogger("aiohttp.access").disabled = True
    logging.captureWarnings(True)


def name_run(record: logging.LogRecord) -> bool:
    """Put the run's name on a line that a run writes, whatever it is about; every line is logged."""
    if (run := RUN.get()) is not None:
        record.run = run
    return True


class NoRepeats(logging.Filter):
    """Lets the same complaint of a library through once a minute.

    None at all of kopf's tries: that the API server is away, and that a right or a kind is missing, is said once, with
    what mends it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        if record.name.startswith("cipher_operator"):
            return True
        if _SAID.search(record.getMessage()):
            return False
        now = time.monotonic()
        what = record.name, _NUMBERED.sub("#", record.getMessage())
        if now - self._last.get(what, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        if len(self._last) > 1_000:
            self._last.clear()
        self._last[what] = now
        return True


class TextFormatter(logging.Formatter):
    """`12:30:01 INFO    ns/chat: Ready: … (reason=Ready seconds=0.06)`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, followed by a traceback where there is one."""
        details = _details(record)
        storage = details.pop("storage", None)
        when = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        line = f"{when} {record.levelname:<7} " + (f"{storage}: " if storage else "") + printable(record.getMessage())
        if details:
            line += " (" + " ".join(f"{key}={value}" for key, value in details.items()) + ")"
        if record.exc_info and record.exc_info[1]:
            line += "\n" + describe(record.exc_info[1])
        return redact(line)


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, storage and whatever else the line is about."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(printable(record.getMessage())),
        }
        for key, value in _details(record).items():
            entry.setdefault(key, redact(value) if isinstance(value, str) else value)
        if record.exc_info and record.exc_info[1]:
            entry["exception"] = redact(describe(record.exc_info[1]))
        return json.dumps(entry, default=str, ensure_ascii=False)


def describe(error: BaseException) -> str:
    """Return a traceback without the texts of the exceptions, which may quote a URL or a password."""
    parts = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        frames = traceback.extract_tb(current.__traceback__)
        where = "".join(f"  {frame.filename}:{frame.lineno} in {frame.name}\n" for frame in frames)
        parts.append(f"{type(current).__module__}.{type(current).__qualname__}\n{where}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "caused by ".join(parts).rstrip()


def _details(record: logging.LogRecord) -> dict[str, Any]:
    return {
        key: value
        for key, value in vars(record).items()
        if key not in _STANDARD and isinstance(value, str | int | float | bool)
    }
