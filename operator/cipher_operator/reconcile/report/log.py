"""The log line of a run."""

import logging
from typing import Any

from cipher_operator.reconcile.result import Result


def line(
    result: Result, message: str, seconds: float, *, news: bool, late: str = "", done: tuple[str, ...] = ()
) -> tuple[int, str, dict[str, Any]]:
    """Return level, text and details of the line that tells of a run; `message` is Ready's own.

    `news` is whether it ended in another way than the one before: a failure is said once, and again when it changes.
    `late` says that it fails for longer than the progress deadline, `done` what the run did beside.
    """
    details: dict[str, Any] = {
        "reason": str(result.reason),
        "seconds": round(seconds, 3),
        "statements": result.statements,
    }
    if done:
        details["done"] = " ".join(done)
    if result.withheld:
        details["withheld"] = "; ".join(result.withheld)
    if result.failure is not None and result.failure.sqlstate:
        details["sqlstate"] = result.failure.sqlstate
    level = logging.INFO if result.failure is None else logging.WARNING if news else logging.DEBUG
    if done and level == logging.DEBUG:
        level = logging.INFO
    if result.remembered:
        # No server was asked: what its lane knows was said by who found it out, once for all.
        level = logging.DEBUG
    if result.cause is not None and result.failure is not None and result.cause.message != result.failure.message:
        # A tenant's status says less than whoever runs the server needs.
        message = result.cause.message
    if late:
        message = f"{late}: {message}"
    return level, f"{result.reason}: {message}", details
