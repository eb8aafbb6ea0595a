"""The configuration files of a test server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from devcluster.postgres_data import hand_over
from devcluster.tls import TlsFixture

DEFAULT_SETTINGS = {
    # The data lives as long as the test; speed matters and durability does not.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "log_connections": "on",
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "password_encryption": "scram-sha-256",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_connections": "100",
}
CHEAP_MEMORY = "glibc.malloc.hugetlb=1:" + ":".join(
    f"glibc.malloc.{what}={size}"
    for what, size in {"trim_threshold": 256 << 20, "mmap_threshold": 256 << 20, "top_pad": 64 << 20}.items()
)
"""GLIBC_TUNABLES of a test server. A backend that lives for one look touches thousands of pages for the first time, and
gives back after each statement what it takes again for the next: a quarter of its CPU time. With this it takes large
pages, and keeps them. Those need room that is one piece: what the server itself reserves at its start, of which only
what is used costs memory, holds all that a backend takes. Elsewhere than with glibc it means nothing.
"""
DEFAULT_HBA = """\
host all all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
"""


def write_configuration(data: Path, settings: Mapping[str, str], hba: str, tls: TlsFixture | None) -> None:
    """Write the settings, pg_hba.conf and the server's certificate into a data folder.

    The settings go into a file of their own that postgresql.conf includes, so that ALTER SYSTEM still wins over them.
    """
    if tls is not None:
        settings = {**settings, "ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key"}
        _write(data / "server.crt", tls.certificate.read_text())
        _write(data / "server.key", tls.key.read_text())
    _write(data / "devcluster.conf", "".join(f"{name} = '{_quoted(value)}'\n" for name, value in settings.items()))
    main = (data / "postgresql.conf").read_text()
    if "include 'devcluster.conf'" not in main:
        _write(data / "postgresql.conf", f"{main}\ninclude 'devcluster.conf'\n")
    _write(data / "pg_hba.conf", hba)


def _write(path: Path, content: str) -> None:
    # PostgreSQL refuses a key that others can read, or that belongs to somebody else.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(content)
    hand_over(path)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")
