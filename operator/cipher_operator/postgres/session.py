"""One connection to PostgreSQL, hardened: keywords only, no environment, no HOME, pinned addresses, bounded input."""

import asyncio
import contextlib
import logging
import math
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import psycopg
from psycopg import sql

from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import VERIFYING, AdminConnection
from cipher_operator.postgres.bounded import BoundedConnection
from cipher_operator.postgres.dial import DialPolicy, resolve
from cipher_operator.postgres.errors import (
    Attempt,
    classify,
    is_known,
    is_network_error,
    refuses_plaintext,
    refuses_tls,
)
from cipher_operator.postgres.lookup import Address
from cipher_operator.postgres.sqlstate import learn_sqlstate
from cipher_operator.postgres.tls import NO_FILE, certificate_file

APPLICATION_NAME = "cipher-operator"

# It logs host names and connection parameters; what matters is raised.
logging.getLogger("psycopg").disabled = True


def neutralise_environment(environ: MutableMapping[str, str]) -> None:
    """Remove every variable that libpq reads (`PG*`), once, at the start of the process."""
    for name in [name for name in environ if name.startswith("PG")]:
        del environ[name]


class Session:
    """An open connection in autocommit mode. Use as `async with await Session.open(…) as session`.

    `ssl_in_use` says whether it is encrypted, `server_version` is PostgreSQL's number (160004),
    `connections_made` counts the connections that opening it took (two where prefer or allow fell back).
    """

    def __init__(self, connection: BoundedConnection, connections_made: int, files: contextlib.ExitStack) -> None:
        self._connection = connection
        self._files = files
        self.connections_made = connections_made
        self.ssl_in_use: bool = connection.pgconn.ssl_in_use
        self.server_version: int = connection.info.server_version

    @classmethod
    async def open(
        cls, admin: AdminConnection, database: str, policy: DialPolicy, *, app_login: bool = False
    ) -> "Session":
        """Return a session in the named database. Raises Failure with stage CONNECTED.

        `app_login` says that `admin` carries the published login, for the wording of failures.
        """
        addresses = await resolve(admin.host, admin.port, policy)
        opening = _Opening(admin, database, max(policy.connect_timeout, admin.connect_timeout or 0.0))
        with contextlib.ExitStack() as files:
            root = files.enter_context(certificate_file(admin.ca)) if admin.ssl_mode in VERIFYING else NO_FILE
            try:
                async with asyncio.timeout(3 * opening.timeout):
                    connection = await opening.connect(addresses, root)
            except (psycopg.Error, TimeoutError) as error:
                attempt = Attempt(database, admin.user, app_login=app_login, ca_given=admin.ca is not None)
                failure = classify(error, attempt)
                if failure.reason is Reason.UNKNOWN and isinstance(error, psycopg.Error):
                    failure = classify(error, attempt, sqlstate=await opening.sqlstate(error))
            else:
                # Kept until the end: a cancellation opens a second connection and verifies again.
                return cls(connection, opening.made, files.pop_all())
        raise failure

    @property
    def backend_pid(self) -> int:
        """Return the process that the server said it gives this session; behind a pooler it is none of the server's."""
        return self._connection.pgconn.backend_pid

    @property
    def closed(self) -> bool:
        """Return whether the connection is gone, closed by us or lost."""
        return self._connection.closed

    async def execute(self, message: sql.Composable) -> list[list[tuple[Any, ...]]]:
        """Send one message of the simple protocol; return the rows of each statement, [] for one without rows.

        Several statements in one message are one transaction. Raises psycopg.Error as it comes; DataError too
        where the server sends what is no value of its type, OperationalError where it sends too much.
        """
        results: list[list[tuple[Any, ...]]] = []
        try:
            async with self._connection.cursor() as cursor:
                await cursor.execute(sql.Composed([message]))
                more: bool | None = True
                while more:
                    results.append(await cursor.fetchall() if cursor.description is not None else [])
                    more = cursor.nextset()
        except (ValueError, ArithmeticError, RecursionError, LookupError):
            raise psycopg.DataError("the server sent a value that cannot be read") from None
        return results

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


class _Opening:
    """The tries that opening one session takes: TLS modes outside, addresses inside."""

    def __init__(self, admin: AdminConnection, database: str, timeout: float) -> None:
        self._admin, self._database, self.timeout = admin, database, timeout
        self.made = 0
        self._tried: dict[str, Any] = {}

    async def sqlstate(self, error: psycopg.Error) -> str | None:
        """Return the SQLSTATE behind what the last try ended with, of one more at most; None where it has none."""
        return await learn_sqlstate(error, self._tried, self.timeout) if self._tried else None

    async def connect(self, addresses: tuple[Address, ...], root: str) -> BoundedConnection:
        """Return the first connection that works. Raises psycopg.Error."""
        mode = self._admin.ssl_mode
        if mode is SSLMode.PREFER:
            try:
                return await self._any(addresses, SSLMode.REQUIRE, root)
            except psycopg.OperationalError as error:
                if not refuses_tls(error):
                    raise
            return await self._any(addresses, SSLMode.DISABLE, root)
        if mode is SSLMode.ALLOW:
            try:
                return await self._any(addresses, SSLMode.DISABLE, root)
            except psycopg.OperationalError as error:
                code = None if is_known(error) else await self.sqlstate(error)
                if not refuses_plaintext(error, code):
                    raise
            return await self._any(addresses, SSLMode.REQUIRE, root)
        return await self._any(addresses, mode, root)

    async def _any(self, addresses: tuple[Address, ...], mode: SSLMode, root: str) -> BoundedConnection:
        """Try the addresses in turn; only a network error leads to the next, so a login fails only once."""
        for address in addresses[:-1]:
            try:
                return await self._one(address, mode, root)
            except psycopg.OperationalError as error:
                if not is_network_error(error):
                    raise
        return await self._one(addresses[-1], mode, root)

    async def _one(self, address: Address, mode: SSLMode, root: str) -> BoundedConnection:
        self._tried = self._keywords(address, mode, root)
        try:
            async with asyncio.timeout(self.timeout):
                connection = await BoundedConnection.connect(autocommit=True, prepare_threshold=None, **self._tried)
        except TimeoutError:
            raise psycopg.errors.ConnectionTimeout("connection timeout expired") from None
        except psycopg.Error as error:
            if not is_network_error(error):
                self.made += 1
            raise
        self.made += 1
        return connection

    def _keywords(self, address: Address, mode: SSLMode, root: str) -> dict[str, Any]:
        """Return everything libpq is told. What is named here is looked up nowhere else."""
        admin = self._admin
        verified = mode in VERIFYING
        return {
            "host": admin.host,
            "hostaddr": address,
            "port": admin.port,
            "user": admin.user,
            "password": admin.password.reveal(),
            "dbname": self._database,
            "sslmode": mode.value,
            "sslrootcert": root,
            "sslcrl": NO_FILE,
            "sslcertmode": "disable",
            "sslnegotiation": admin.ssl_negotiation if mode is not SSLMode.DISABLE else None,
            "channel_binding": admin.channel_binding,
            "require_auth": None if verified else _accepted_methods(admin),
            "gssencmode": "disable",
            "passfile": NO_FILE,
            "client_encoding": "UTF8",
            "application_name": APPLICATION_NAME,
            # psycopg rounds to whole seconds and waits two at least; the timeout outside is exact.
            "connect_timeout": math.ceil(self.timeout) + 1,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        }


def _accepted_methods(admin: AdminConnection) -> str:
    """Return how an unverified server may ask for the password: never so that it learns it."""
    return "scram-sha-256,md5" if admin.require_auth == "md5" else "scram-sha-256"
