"""PgBouncer as Debian packages it."""

from __future__ import annotations

from pathlib import Path

from devcluster.debian import Package, Unpacked

PGBOUNCER = Package("pgbouncer", "PgBouncer", Path("usr", "sbin", "pgbouncer"), "less than 1 MB")


def find_pgbouncer(*, fetch: bool = True) -> Unpacked:
    """Return PgBouncer, fetched when missing and `fetch` is true. Raises SetupError, with what to do."""
    return PGBOUNCER.find(fetch=fetch)
