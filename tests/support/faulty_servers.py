"""PostgreSQL servers of the kinds that failures need, each started when first asked for."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority, TlsFixture, self_signed
from support.cluster import wait_until

Kind = Literal["shared", "plain", "TLS only", "self-signed", "expired", "another name", "cloud sql", "breakable", "new"]

TLS_ONLY = "hostssl all all 127.0.0.1/32 scram-sha-256\n"
BREAKABLE = {
    "max_connections": "16",
    "superuser_reserved_connections": "3",
    "max_locks_per_transaction": "10",
    "max_prepared_transactions": "2",
}
"""Small, so that connections and locks run out soon."""


class FaultyServers:
    """`shared` takes TLS and plaintext and is broken per role or database only; `breakable` may be stopped; nobody
    has been on `new`.
    """

    def __init__(self, authority: CertificateAuthority, folder: Path) -> None:
        self.authority, self._folder = authority, folder
        self._running: dict[str, PostgresServer] = {}

    def __call__(self, kind: Kind) -> PostgresServer:
        """Return the running server of this kind."""
        if kind not in self._running:
            certificates: dict[str, Callable[[], TlsFixture]] = {
                "shared": self.authority.server,
                "TLS only": self.authority.server,
                "self-signed": lambda: self_signed(self._folder / "self-signed"),
                "expired": self.authority.expired,
                "another name": self.authority.wrong_name,
                "cloud sql": self.authority.cloud_sql,
            }
            made = certificates.get(kind)
            self._running[kind] = PostgresServer(
                16,
                tls=made() if made is not None else None,
                settings=BREAKABLE if kind == "breakable" else {},
                hba=TLS_ONLY if kind == "TLS only" else None,
            )
        self._running[kind].start()
        return self._running[kind]

    def close(self) -> None:
        for server in self._running.values():
            server.close()


def set_hba(server: PostgresServer, first: str = "", rest: str | None = None) -> None:
    """Put lines before a running server's pg_hba.conf, or replace it; returns when new connections meet them."""
    (server.data_path / "pg_hba.conf").write_text(first + "\n" + (server.hba if rest is None else rest))
    # A new session's load time is the postmaster's: it tells when that has read the file.
    loaded = "SELECT pg_conf_load_time()"
    before = server.execute(loaded)
    server.execute("SELECT pg_reload_conf()")
    wait_until(lambda: server.execute(loaded) > before, "the server has read pg_hba.conf")


def remedy_sql(message: str) -> str:
    """Return the SQL that a condition's message says to run."""
    found = re.search(r"[Rr]un(?: as [^:]*)?: (.*?);?(?: \(as [^)]*\).*| \(SQLSTATE.*)?$", message)
    assert found is not None, f"no SQL in: {message}"
    return found[1]
