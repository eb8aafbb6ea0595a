"""The name of one run: in each of its log lines, and in PostgreSQL's `application_name` of each of its sessions."""

import secrets
from contextvars import ContextVar

RUN: ContextVar[str | None] = ContextVar("run", default=None)
"""The run that this task belongs to; tasks that it starts inherit it."""


def begin_run() -> str:
    """Name the run of this task, and return the name: ten hexadecimal digits that no other run of a week has."""
    name = secrets.token_hex(5)
    RUN.set(name)
    return name
