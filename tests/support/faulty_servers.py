"""PostgreSQL servers of the kinds that failures need, each started when first asked for."""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority, TlsFixture, self_signed
from support.cluster import wait_until

Kind = Literal["shared", "plain", "TLS only", "self-signed", "expired", "another name", "cloud sql", "breakable"]

TLS_ONLY = "hostssl all all 127.0.0.1/32 scram-sha-256\n"
BREAKABLE = {
    "max_connections": "16",
    "superuser_reserved_connections": "3",
    "max_locks_per_transaction": "10",
    "max_prepared_transactions": "2",
}
"""Small, so that connections and locks run out soon."""


class FaultyServers:
    """`shared` takes TLS and plaintext and is broken per role or database only; `breakable` is small.

    Safe to use from any thread.
    """

    def __init__(self, authority: CertificateAuthority, folder: Path) -> None:
        self.authority = authority
        self.another_authority = CertificateAuthority(folder / "another", "another CA")
        certificates: dict[Kind, Callable[[], TlsFixture]] = {
            "shared": authority.server,
            "self-signed": lambda: self_signed(folder / "self-signed"),
            "expired": authority.expired,
            "another name": authority.wrong_name,
            "cloud sql": authority.cloud_sql,
        }
        # Made once: a certificate that is made again is written over what another server is about to read.
        self._certificates = {kind: make() for kind, make in certificates.items()}
        self._running: dict[Kind, PostgresServer] = {}
        self._starting = threading.Lock()

    def __call__(self, kind: Kind) -> PostgresServer:
        """Return the running server of this kind, which others use too."""
        with self._starting:
            if kind not in self._running:
                self._running[kind] = self.new(kind)
            self._running[kind].start()
            return self._running[kind]

    def new(self, kind: Kind) -> PostgresServer:
        """Return a server of this kind that nobody has been on, not yet started."""
        return PostgresServer(
            16,
            tls=self._certificates.get("shared" if kind == "TLS only" else kind),
            settings=BREAKABLE if kind == "breakable" else {},
            hba=TLS_ONLY if kind == "TLS only" else None,
        )

    def good_certificate(self) -> TlsFixture:
        """Return the certificate of `shared`."""
        return self._certificates["shared"]

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
