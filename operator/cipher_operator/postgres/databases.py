"""Where a run looks for its storage: how a database is entered, and which before the storage's own is there."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from cipher_operator.postgres.session import Session

Connect = Callable[[str], AbstractAsyncContextManager[Session]]
"""Opens an admin session in the named database; raises Failure, stage Connected."""

DEFAULT_MAINTENANCE = "postgres"


def maintenance_databases(given: str | None, target: str) -> list[str]:
    """Return where to look before the database exists: the URL's own database, else `postgres`."""
    candidates = [given, DEFAULT_MAINTENANCE]
    return list(dict.fromkeys(name for name in candidates if name and name != target))
