"""One PostgreSQL server on 127.0.0.1, of any major from 13 to 18."""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlencode

from devcluster.postgres_configuration import CHEAP_MEMORY, DEFAULT_HBA, DEFAULT_SETTINGS, write_configuration
from devcluster.postgres_data import copy_data_folder, hand_over, new_data_folder, reachable, server_identity
from devcluster.postgres_hand import Hand, run
from devcluster.postgres_programs import Installation, find_postgres
from devcluster.processes import Process, ProcessError, drop_folder, free_ports, run_folder
from devcluster.tls import TlsFixture

if TYPE_CHECKING:
    import psycopg

StopMode = Literal["smart", "fast", "immediate"]
_STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_PASSWORD = "devcluster"
_ATTEMPTS = 5


class PostgresServer:
    """A server with its own data, port and log; gone at the end. Usable as a context manager.

    After `start`: `host`, `port`, `log_path`, `installation` (major, version, whether it has TLS and pgvector).
    `settings` (a dict of postgresql.conf entries), `hba` and `tls` may be changed; that takes effect at the next start.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        major: int | None = None,
        *,
        tls: TlsFixture | None = None,
        vector: bool = False,
        settings: Mapping[str, str] | None = None,
        hba: str | Sequence[str] | None = None,
        superuser: str = "postgres",
        password: str = _PASSWORD,
        initdb_args: Sequence[str] = (),
        installation: Installation | None = None,
    ) -> None:
        """Describe a server.

        `major` None means any; `tls` gives it a certificate and TLS, `vector` one with pgvector; `hba` replaces
        pg_hba.conf, which by default asks everyone on 127.0.0.1 for a password (SCRAM).
        """
        self._major = major
        self.tls = tls
        self._vector = vector
        self._initdb_args = tuple(initdb_args)
        self._installation = installation
        self._process: Process | None = None
        self._mark = 0
        self._standby_of: PostgresServer | None = None
        self.settings = DEFAULT_SETTINGS | dict(settings or {})
        self.hba = DEFAULT_HBA if hba is None else hba if isinstance(hba, str) else "\n".join(hba) + "\n"
        self.superuser = superuser
        self.password = password
        self.folder = Path()
        self.port = 0
        self._hand = Hand(lambda: self._connect("postgres", self.superuser, self.password))

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def installation(self) -> Installation:
        """The programs it runs; fetched when missing. Raises SetupError."""
        if self._installation is None:
            self._installation = find_postgres(self._major, tls=self.tls is not None, vector=self._vector)
        return self._installation

    @property
    def data_path(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    @property
    def log_path(self) -> Path:
        """The server's log: one file over all restarts."""
        return self.folder / "postgresql.log"

    @property
    def running(self) -> bool:
        """Whether the server process exists (a frozen one does)."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, timeout: float = 30.0) -> None:
        """Start it, the first time with fresh data; on a later start port and data are the same as before.

        Returns when it accepts connections (0.1 to 0.6 s). Raises SetupError or ProcessError.
        """
        if self.running:
            return
        if self.folder == Path():
            self.folder = run_folder("postgres")
            new_data_folder(
                self.installation,
                self.data_path,
                superuser=self.superuser,
                password=self.password,
                initdb_args=self._initdb_args,
                keep=self.password == _PASSWORD,
            )
        settled = self.port != 0
        for attempt in range(1, _ATTEMPTS + 1):
            if not settled:
                (self.port,) = free_ports(1)
            self._configure()
            try:
                self._launch(timeout)
                return
            except ProcessError as error:
                if "Address already in use" not in str(error) or attempt == _ATTEMPTS:
                    raise
                # The known port must come back: clients hold it in their URLs. Whoever has it now may go soon.
                if settled:
                    time.sleep(0.5)

    def _configure(self) -> None:
        settings = self.settings | {"port": str(self.port)}
        if (upstream := self._standby_of) is not None:
            settings["primary_conninfo"] = (
                f"host={upstream.host} port={upstream.port} user={upstream.superuser} password={upstream.password}"
            )
        write_configuration(self.data_path, settings, self.hba, self.tls)

    def _launch(self, timeout: float) -> None:
        installation = reachable(self.installation)
        before = self.log_path.stat().st_size if self.log_path.exists() else 0
        (self.data_path / "postmaster.pid").unlink(missing_ok=True)
        process = Process(
            [installation.bin / "postgres", "-D", self.data_path],
            log=self.log_path,
            env={"GLIBC_TUNABLES": CHEAP_MEMORY} | installation.environment(),
            cwd=self.data_path,
            identity=server_identity(),
        )
        self._process = process
        deadline = time.monotonic() + timeout
        # The last line of postmaster.pid says it without a connection, which would show up in the log and the counts.
        while not _says_ready(self.data_path / "postmaster.pid"):
            if process.poll() is not None or time.monotonic() > deadline:
                process.stop(grace=0.1, number=signal.SIGQUIT)
                said = self.log_path.read_bytes()[before:].decode(errors="replace")
                raise ProcessError(f"PostgreSQL {installation.version} did not start:\n{said[-3000:]}")
            time.sleep(0.02)

    def stop(self, mode: StopMode = "fast", *, timeout: float = 30.0) -> None:
        """Stop it and keep its data and port. `immediate` is a crash; `smart` waits for clients to go.

        A frozen server is thawed first. After `timeout` seconds it is killed.
        """
        self._hand.let_go()
        if self._process is not None:
            self._process.stop(grace=timeout, number=_STOP_SIGNALS[mode])
            self._process = None

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start it."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Stop it for good and remove its data and log. Harmless when it never ran."""
        self.stop("immediate")
        if self.folder != Path():
            drop_folder(self.folder)
            self.folder = Path()

    def freeze(self) -> None:
        """Stop the clock of the server and all its backends (SIGSTOP): connections are taken, nothing answers."""
        assert self._process is not None
        self._process.send(signal.SIGSTOP, tree=True)

    def thaw(self) -> None:
        """End `freeze`."""
        assert self._process is not None
        self._process.send(signal.SIGCONT, tree=True)

    def admin_url(
        self, database: str = "postgres", *, user: str | None = None, password: str | None = None, **query: str
    ) -> str:
        """Return a connection URL, by default the superuser's; `query` becomes its parameters (sslmode="disable")."""
        login = f"{quote(user or self.superuser, safe='')}:{quote(password or self.password, safe='')}"
        parameters = f"?{urlencode(query)}" if query else ""
        return f"postgresql://{login}@{self.host}:{self.port}/{quote(database, safe='')}{parameters}"

    def execute(
        self,
        sql: str,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        database: str = "postgres",
        user: str | None = None,
        password: str | None = None,
    ) -> list[tuple[Any, ...]]:
        """Run SQL outside a transaction block and return the rows of the last result.

        As the superuser in `postgres` it runs in a session that stays open, and from which nothing of it is left; else
        in a connection of its own. Limits that a test sets for a server, a database or a role do not hold for the
        test's own hand on it, unless the SQL itself sets them. Raises psycopg.Error.
        """
        if (database, user, password) == ("postgres", None, None):
            return self._hand.execute(sql, parameters)
        with self._connect(database, user or self.superuser, password or self.password) as connection:
            return run(connection, sql, parameters)

    def _connect(self, database: str, user: str, password: str) -> psycopg.Connection[Any]:
        import psycopg

        return psycopg.connect(
            host=self.host,
            port=self.port,
            dbname=database,
            user=user,
            password=password,
            connect_timeout=10,
            autocommit=True,
            prepare_threshold=None,
            options=self.unlimited,
        )

    @property
    def unlimited(self) -> str:
        """Return libpq's `options` of a session for which no limit of a server, a database or a role holds."""
        names = ["statement_timeout", "lock_timeout"] + ["transaction_timeout"] * (self.installation.major >= 17)
        return " ".join(f"-c {name}=0" for name in names)

    def log_text(self) -> str:
        """Return the log since `mark_log` was called last, or all of it."""
        with self.log_path.open("rb") as file:
            file.seek(self._mark)
            return file.read().decode(errors="replace")

    def mark_log(self) -> None:
        """Make `log_text` and `connections_authorized` begin here."""
        self._mark = self.log_path.stat().st_size

    def connections_authorized(self, *, user: str | None = None) -> int:
        """Return how many connections were let in since the mark, of everybody or of one user."""
        whose = rf"user={re.escape(user)}(?=[ \n])" if user else ""
        return len(re.findall(rf"connection authorized: {whose}", self.log_text()))

    def standby(self) -> PostgresServer:
        """Return a started streaming standby of this server, read-only, with the same logins.

        Made from a copy of the data folder, for which this server is stopped for about a second and started again.
        """
        copy = PostgresServer(
            tls=self.tls,
            settings=self.settings,
            hba=self.hba,
            superuser=self.superuser,
            password=self.password,
            installation=self.installation,
        )
        copy._standby_of = self
        copy.folder = run_folder("standby")
        self.stop("fast")
        copy_data_folder(self.data_path, copy.data_path)
        signal_file = copy.data_path / "standby.signal"
        signal_file.touch()
        hand_over(signal_file)
        self.start()
        try:
            copy.start()
        except BaseException:
            copy.close()
            raise
        return copy


def _says_ready(pid_file: Path) -> bool:
    with contextlib.suppress(OSError):
        lines = pid_file.read_text().splitlines()
        return len(lines) >= 8 and lines[7].strip() in ("ready", "standby")
    return False
