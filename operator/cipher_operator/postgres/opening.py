"""Opening one connection: the tries that it takes, and what libpq is told for each."""

import asyncio
from typing import Any

import psycopg

from cipher_operator.api.choices import AuthMethod, SSLMode
from cipher_operator.core.connection.admin import VERIFYING, AdminConnection
from cipher_operator.postgres.bounded import BoundedConnection
from cipher_operator.postgres.errors import (
    leads_on,
    may_be_behind,
    reached_server,
    refuses_plaintext,
    refuses_tls,
    tells_most,
)
from cipher_operator.postgres.hashing import OtherTerms
from cipher_operator.postgres.login_keys import LoginKeys
from cipher_operator.postgres.lookup import Address
from cipher_operator.postgres.startup import Unanswered, connect
from cipher_operator.postgres.tls import NO_FILE

_WRITERS = frozenset({"read-write", "primary"})
"""Values of `target_session_attrs` with which libpq turns away from a server that takes no writes."""
_FALLBACKS = {
    SSLMode.PREFER: (SSLMode.REQUIRE, refuses_tls, SSLMode.DISABLE),
    SSLMode.ALLOW: (SSLMode.DISABLE, refuses_plaintext, SSLMode.REQUIRE),
}
"""What is tried first, which refusal leads on, and to what."""


class Opening:
    """The tries that opening one session takes: TLS modes outside, addresses inside.

    `wanted` is which servers of several count, None for any; `made` counts the connections so far.
    """

    def __init__(
        self, admin: AdminConnection, database: str, timeout: float, application_name: str, keys: LoginKeys | None
    ) -> None:
        self._admin, self._database, self._application_name = admin, database, application_name
        # A token is another one each time.
        self._keys = keys if admin.auth.method is AuthMethod.PASSWORD else None
        self._timeout = timeout
        self._deadline = asyncio.get_running_loop().time() + 2 * timeout
        self.wanted = admin.target_session_attrs if admin.target_session_attrs in _WRITERS else None
        self.made = 0
        self._taken = False

    async def connect(self, addresses: tuple[Address, ...], root: str) -> BoundedConnection:
        """Return the first connection that works. Raises psycopg.Error."""
        mode = self._admin.ssl_mode
        if (fallback := _FALLBACKS.get(mode)) is None:
            return await self._any(addresses, mode, root)
        first, refused, second = fallback
        try:
            return await self._any(addresses, first, root)
        except psycopg.OperationalError as error:
            if not refused(error):
                raise
        return await self._any(addresses, second, root)

    async def _any(self, addresses: tuple[Address, ...], mode: SSLMode, root: str) -> BoundedConnection:
        """Try the addresses in turn; a login that was refused ends it, so it fails only once."""
        failed: list[psycopg.Error] = []
        for position, address in enumerate(addresses):
            try:
                return await self._one(address, mode, root, self._seconds(len(addresses) - position))
            except psycopg.OperationalError as error:
                if not (leads_on(error) or (self.wanted is not None and may_be_behind(error))):
                    raise
                failed.append(error)
        raise tells_most(failed)

    def _seconds(self, addresses: int) -> float:
        """Return the seconds for the next of so many addresses: a fair share of what is left for all of them."""
        left = self._deadline - asyncio.get_running_loop().time()
        return min(self._timeout, max(left / addresses, self._timeout / 4))

    async def _one(self, address: Address, mode: SSLMode, root: str, seconds: float) -> BoundedConnection:
        self._taken = False
        try:
            async with asyncio.timeout(seconds):
                connection = await self._logged_in(address, self._keywords(address, mode, root))
        except TimeoutError:
            timeout = Unanswered if self._taken else psycopg.errors.ConnectionTimeout
            raise timeout("connection timeout expired") from None
        except psycopg.Error as error:
            self.made += reached_server(error)
            raise
        self.made += 1
        return connection

    async def _logged_in(self, address: Address, keywords: dict[str, Any]) -> BoundedConnection:
        """Return the connection; once more with the password where the server is not the one that the keys are for."""
        if self._keys is None:
            return (await connect(keywords, taken=self._was_taken))[0]
        login = self._keys.login(self._admin, address)
        keys = await self._keys.of(login, self._admin.password)
        try:
            connection, terms = await connect(keywords, keys, taken=self._was_taken)
        except OtherTerms:
            self.made += 1
            self._keys.missed(login, keys)
            connection, terms = await connect(keywords, taken=self._was_taken)
        self._keys.accepted(login, terms)
        return connection

    def _was_taken(self) -> None:
        self._taken = True

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
            "application_name": self._application_name,
            "target_session_attrs": self.wanted,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        }


def _accepted_methods(admin: AdminConnection) -> str:
    """Return how an unverified server may ask for the password: never so that it learns it."""
    return "scram-sha-256,md5" if admin.require_auth == "md5" else "scram-sha-256"
