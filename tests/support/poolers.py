"""A PgBouncer in front of a test server, as Debian packages it."""

import socket
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal

import psycopg
from psycopg import pq

from devcluster import PostgresServer
from devcluster.pgbouncer import find_pgbouncer
from devcluster.postgres_data import hand_over, server_identity
from devcluster.processes import Process, ProcessError, drop_folder, free_ports, run_folder
from devcluster.tls import TlsFixture

_CONFIGURATION = """\
[databases]
{databases} = host={host} port={server_port} {entry}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
auth_user = {superuser}
auth_query = {auth_query}
admin_users = {superuser}
pool_mode = {mode}
default_pool_size = 4
server_idle_timeout = 1
ignore_startup_parameters = extra_float_digits
"""
Mode = Literal["transaction", "session", "statement"]
AUTH_QUERY = "SELECT usename, passwd FROM pg_shadow WHERE usename = $1"
_TLS = """\
client_tls_sslmode = require
client_tls_cert_file = {certificate}
client_tls_key_file = {key}
"""


class Pooler:
    """A running PgBouncer; `port` is where it listens.

    It knows the superuser and `users` (name to password), and asks the server for other logins. For that it keeps a
    superuser's connection to their database, which ends a second after its last use. With `tls` it takes only
    encrypted clients, else only plain ones. `databases` is the one it knows, `*` for all; `entry` is what else stands
    there. `settings` count before those above.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        server: PostgresServer,
        mode: Mode,
        users: Mapping[str, str] | None = None,
        tls: TlsFixture | None = None,
        databases: str = "*",
        *,
        entry: str = "",
        auth_query: str = AUTH_QUERY,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._server, self._mode, self._tls, self._databases = server, mode, tls, databases
        self._entry, self._auth_query, self._settings = entry, auth_query, dict(settings or {})
        self._users = {server.superuser: server.password} | dict(users or {})
        self._folder = Path()
        self._process: Process | None = None
        self.port = 0

    def __enter__(self) -> "Pooler":
        """Start it. Raises SetupError where there is no PgBouncer, ProcessError where it does not start."""
        found = find_pgbouncer().reachable()
        self._folder = run_folder("pgbouncer")
        (self.port,) = free_ports(1)
        users = self._folder / "users.txt"
        users.write_text("".join(f'"{name}" "{password}"\n' for name, password in self._users.items()))
        configuration = self._folder / "pgbouncer.ini"
        configuration.write_text(
            _CONFIGURATION.format(
                databases=self._databases,
                host=self._server.host,
                server_port=self._server.port,
                port=self.port,
                users=users,
                superuser=self._server.superuser,
                mode=self._mode,
                entry=self._entry,
                auth_query=self._auth_query,
            )
            + "".join(f"{name} = {value}\n" for name, value in self._settings.items())
        )
        files = [users, configuration]
        if self._tls is not None:
            certificate, key = self._folder / "tls.crt", self._folder / "tls.key"
            certificate.write_bytes(self._tls.certificate.read_bytes())
            key.write_bytes(self._tls.key.read_bytes())
            with configuration.open("a") as file:
                file.write(_TLS.format(certificate=certificate, key=key))
            files += [certificate, key]
        for path in files:
            path.chmod(0o600)
            hand_over(path)
        log = self._folder / "pgbouncer.log"
        # It refuses to run as root, as PostgreSQL does.
        self._process = Process(
            [found.program, configuration], log=log, env=found.environment(), identity=server_identity()
        )
        deadline = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((self.host, self.port)) == 0:
                    return self
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = self._process.log_tail()
                self.__exit__(None, None, None)
                raise ProcessError(f"PgBouncer did not start:\n{tail}")
            time.sleep(0.02)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.stop()
        drop_folder(self._folder)

    def order(self, command: str) -> None:
        """Send a command to its console."""
        way = f"host={self.host} port={self.port} user={self._server.superuser} dbname=pgbouncer"
        with psycopg.connect(way, password=self._server.password, autocommit=True) as console:
            # It knows no parameters, and no transaction.
            answer = console.pgconn.exec_(command.encode())
            assert answer.status == pq.ExecStatus.COMMAND_OK, answer.error_message
