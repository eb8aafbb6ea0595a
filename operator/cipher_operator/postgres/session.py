"""One connection to PostgreSQL, hardened: keywords only, no environment, no HOME, pinned addresses, bounded input."""

import asyncio
import contextlib
import logging
import time
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import psycopg
from psycopg import pq, sql

from cipher_operator.core.connection.admin import VERIFYING, AdminConnection
from cipher_operator.core.connection.password import Password
from cipher_operator.core.connection.supabase import role_of
from cipher_operator.core.permit import Permit, unlimited
from cipher_operator.postgres.bounded import BoundedConnection, Silent
from cipher_operator.postgres.dial import DialPolicy, resolve
from cipher_operator.postgres.errors import Attempt, classify
from cipher_operator.postgres.login_keys import LoginKeys
from cipher_operator.postgres.opening import Opening
from cipher_operator.postgres.tls import NO_FILE, certificate_file

APPLICATION_NAME = "cipher-operator"
STATEMENT_SECONDS = 45.0
"""How long a message may take: longer than the server's own limits for it, so that it is the server that ends it."""
CANCEL_SECONDS = 1.0

# It logs host names and connection parameters; what matters is raised.
logging.getLogger("psycopg").disabled = True


def neutralise_environment(environ: MutableMapping[str, str]) -> None:
    """Remove every variable that libpq reads (`PG*`), once, at the start of the process."""
    for name in [name for name in environ if name.startswith("PG")]:
        del environ[name]


class Session:
    """An open connection in autocommit mode. Use as `async with await Session.open(…) as session`.

    `ssl_in_use` says whether it is encrypted, `server_version` is PostgreSQL's number (160004), `role` that of the
    login, `connections_made` counts the connections that opening it took (two where prefer or allow fell back).
    """

    def __init__(
        self,
        connection: BoundedConnection,
        connections_made: int,
        files: contextlib.ExitStack,
        permit: Permit = unlimited,
        role: str = "",
    ) -> None:
        self._connection = connection
        self._files, self._permit = files, permit
        self.connections_made = connections_made
        self.ssl_in_use: bool = connection.pgconn.ssl_in_use
        self.server_version: int = connection.pgconn.server_version
        self.role = role

    @classmethod
    async def open(
        cls,
        admin: AdminConnection,
        database: str,
        policy: DialPolicy,
        *,
        app_login: bool = False,
        run: str = "",
        permit: Permit = unlimited,
        keys: LoginKeys | None = None,
    ) -> "Session":
        """Return a session in the named database. Raises Failure with stage CONNECTED.

        It takes three times the connect timeout at most, however many addresses the host has, and once more for their
        look-up. `app_login` says that `admin` carries the published login, for the wording of failures. `run` is the
        run that it belongs to, for `application_name`. `permit` is asked before each message. `keys` spare the hashing
        of a password that has logged in before.
        """
        pinned = admin.address
        addresses = (pinned,) if pinned is not None else await resolve(admin.host, admin.port, policy)
        timeout = max(policy.connect_timeout, admin.connect_timeout or 0.0)
        name = f"{APPLICATION_NAME}/{run}" if run else APPLICATION_NAME
        opening = Opening(admin, database, timeout, name, keys)
        attempt = Attempt(
            database,
            admin.user,
            app_login=app_login,
            ca_given=admin.ca is not None,
            several=len(addresses) > 1 and opening.wanted is None,
            hidden=(admin.host, str(admin.port), admin.password.reveal()),
        )
        with contextlib.ExitStack() as files:
            root = files.enter_context(certificate_file(admin.ca)) if admin.ssl_mode in VERIFYING else NO_FILE
            try:
                async with asyncio.timeout(3 * timeout):
                    connection = await opening.connect(addresses, root)
                    # A reader among several: which one answers is chance, so it is said before anything is judged.
                    if attempt.several and await _stands_by(connection):
                        await connection.close()
                        raise psycopg.OperationalError("server is in hot standby mode")
            except (psycopg.Error, TimeoutError) as error:
                failure = classify(error, attempt)
            else:
                # Kept until the end: a cancellation opens a second connection and verifies again.
                return cls(connection, opening.made, files.pop_all(), permit, role_of(admin.host, admin.user))
        raise failure

    @property
    def backend_pid(self) -> int:
        """Return the process that the server said it gives this session; behind a pooler it is none of the server's."""
        return self._connection.pgconn.backend_pid

    @property
    def closed(self) -> bool:
        """Return whether the connection is gone, closed by us or lost."""
        return self._connection.closed

    async def execute(
        self, message: sql.Composable, *, seconds: float | None = STATEMENT_SECONDS
    ) -> list[list[tuple[Any, ...]]]:
        """Send one message of the simple protocol; return the rows of each statement, [] for one without rows.

        Several statements in one message are one transaction. Raises psycopg.Error as it comes; DataError too
        where the server sends what is no value of its type, OperationalError where it sends too much. Where it has
        not answered after `seconds` (None: however long it takes), the session is closed and Silent raised. Raises
        NotLeading, with nothing sent, where this process may not write.
        """
        # Before questions too: what they start goes on to a write.
        self._permit()
        connection = self._connection
        connection.deadline = None if seconds is None else time.monotonic() + seconds
        try:
            return await _results(connection, message)
        except Silent:
            # So that a server that is only slow does not go on with it.
            with contextlib.suppress(psycopg.Error):
                await connection.cancel_safe(timeout=CANCEL_SECONDS)
            await connection.close()
            raise
        except (ValueError, ArithmeticError, RecursionError, LookupError):
            raise psycopg.DataError("the server sent a value that cannot be read") from None
        finally:
            connection.deadline = None

    @staticmethod
    def verifier(login: str, password: Password) -> str:
        """Return a new SCRAM-SHA-256 verifier, made by libpq: no plain password reaches a server log (RFC 5802).

        Raises ValueError for an empty password.
        """
        if not password:
            raise ValueError("a verifier needs a password")
        # Never connected: a server would say how often to hash, and may say two thousand million times.
        unconnected = pq.PGconn.connect_start(b"=")
        try:
            made = unconnected.encrypt_password(password.reveal().encode(), login.encode(), b"scram-sha-256")
        finally:
            unconnected.finish()
        return made.decode("ascii")

    async def close(self) -> None:
        """Close the connection; harmless when it is closed already."""
        try:
            await self._connection.close()
        finally:
            self._files.close()

    async def __aenter__(self) -> "Session":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _results(connection: BoundedConnection, message: sql.Composable) -> list[list[tuple[Any, ...]]]:
    results: list[list[tuple[Any, ...]]] = []
    async with connection.cursor() as cursor:
        await cursor.execute(sql.Composed([message]))
        more: bool | None = True
        while more:
            result = cursor.pgresult
            has_rows = result is not None and result.status == pq.ExecStatus.TUPLES_OK
            results.append(await cursor.fetchall() if has_rows else [])
            more = cursor.nextset()
    return results


async def _stands_by(connection: BoundedConnection) -> bool:
    """Return whether the server is a standby, which it says by itself from version 14 on."""
    told = connection.pgconn.parameter_status(b"in_hot_standby")
    if told is not None:
        return told == b"on"
    return bool((await _results(connection, sql.SQL("SELECT pg_catalog.pg_is_in_recovery()")))[0][0][0])
