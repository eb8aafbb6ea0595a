"""Sessions of one run: each through its server's lane, and what is learnt of server and credential told to it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from cipher_operator.api.choices import AuthMethod
from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import Tenant
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.permit import Permit, unlimited
from cipher_operator.identity.port import Login, Tokens
from cipher_operator.postgres.dial import DialPolicy, NotAsked
from cipher_operator.postgres.login_keys import LoginKeys
from cipher_operator.postgres.session import Session
from cipher_operator.queue.needs import Closed
from cipher_operator.queue.offers import Offer
from cipher_operator.queue.ticket import Ticket
from cipher_operator.reconcile.digest import Digest

DOWN = frozenset({Reason.CONNECTION_REFUSED, Reason.CONNECT_TIMEOUT, Reason.DNS_FAILURE})
"""Before a login, and what every other login at that moment would meet too."""


class Remembered(Failure):
    """A failure that its lane knew already: no server was asked for it."""


ACCEPTED = "Accepted"
"""The result of a login that worked; others are reasons."""


class Counters(Protocol):
    """What sessions are counted by; `purpose` is `admin`, or `login` for a test of a published login."""

    def connection(self, purpose: str) -> None:
        """Count a connection that was made."""

    def login(self, purpose: str, result: str) -> None:
        """Count a try to log in, by its result: ACCEPTED, or the reason why not."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """What opens sessions for one run, which is named `run`."""

    ticket: Ticket
    policy: DialPolicy
    digest: Digest
    counters: Counters
    run: str
    tokens: Tokens
    keys: LoginKeys
    permit: Permit = unlimited

    def lane(self, connection: AdminConnection) -> tuple[str, int]:
        """Return the lane of a connection: its server."""
        return connection.host.lower(), connection.port

    def credential(self, connection: AdminConnection) -> str:
        """Return what stands for user and password in the lane."""
        # Tokens come and go: which login they are for, and what is asked for, is what a server has a verdict on.
        auth = connection.auth
        return self.digest(connection.user, connection.password, auth.method, auth.region or "", auth.scope or "")

    def enter(self, connection: AdminConnection, offer: Offer | None = None) -> None:
        """Take a slot, of so many as whoever runs the server offers; None where it is the storage's own way in.

        Raises Busy where none is free, and Remembered where the lane knows that there is no way.
        """
        try:
            self.ticket.enter(self.lane(connection), self.credential(connection), offer)
        except Closed as closed:
            raise _remembered(closed.cause) from None

    def may_open_beside(self, connection: AdminConnection) -> bool:
        """Return whether a second session may be opened beside the run's own, and take its slot."""
        return self.ticket.try_enter(self.lane(connection))

    def slots(self, connection: AdminConnection) -> int:
        """Return how many sessions the server gives all runs together."""
        return self.ticket.slots(self.lane(connection))

    def keep_slot(self, connection: AdminConnection) -> Callable[[], None]:
        """Take the run's slot away from it, for work beside the runs; return what gives it back."""
        return self.ticket.detach(self.lane(connection))

    def done_with(self, connection: AdminConnection, elsewhere: AdminConnection) -> None:
        """Give back what the run holds of a server that it needs no more, before it goes to another: a tenant says
        which, and that may be silent."""
        if self.lane(connection) != self.lane(elsewhere):
            self.ticket.release(self.lane(connection))

    @asynccontextmanager
    async def beside(self, connection: AdminConnection, database: str) -> AsyncIterator[Session]:
        """Give an administrator's session for work beside the runs, whose slot was kept. Raises Failure."""
        granted = await with_token(connection, self.tokens)
        async with await self._opened(granted, database, "admin") as session:
            yield session

    def forget_verdict(self, connection: AdminConnection) -> None:
        """Let a login be tried at once, after its password was set."""
        self.ticket.forget_verdict(self.lane(connection), self.credential(connection))

    @asynccontextmanager
    async def open(self, connection: AdminConnection, database: str, *, purpose: str) -> AsyncIterator[Session]:
        """Give a session in a database, closed at the end; `purpose` is `admin` or `login`.

        The run holds a slot of the lane. Raises Failure, stage Connected.
        """
        lane, credential = self.lane(connection), self.credential(connection)
        # Before the server: that a cloud gives none says nothing of it.
        granted = await with_token(connection, self.tokens)
        try:
            session = await self._opened(granted, database, purpose)
        except Failure as failure:
            if failure.reason is Reason.AUTHENTICATION_FAILED:
                self.ticket.refused(lane, credential, failure)
                self._distrust(granted)
            elif failure.reason is Reason.DATABASE_MISSING:
                # The server says so only to who has logged in.
                self.ticket.opened(lane, credential)
            elif failure.reason in DOWN:
                self.ticket.failed(lane, failure)
            elif failure.reason is not Reason.DISCONNECTED and not isinstance(failure, NotAsked):
                self.ticket.answered(lane)
            raise
        async with session:
            self.ticket.opened(lane, credential)
            yield session

    def _distrust(self, granted: AdminConnection) -> None:
        if granted.auth.method is not AuthMethod.PASSWORD:
            self.tokens.refused(_login(granted), granted.password)

    async def _opened(self, connection: AdminConnection, database: str, purpose: str) -> Session:
        test = purpose == "login"
        # A test proves the password itself.
        keys = None if test else self.keys
        try:
            session = await Session.open(
                connection, database, self.policy, app_login=test, run=self.run, permit=self.permit, keys=keys
            )
        except Failure as failure:
            self.counters.login(purpose, str(failure.reason))
            raise
        for _ in range(session.connections_made):
            self.counters.connection(purpose)
        self.counters.login(purpose, ACCEPTED)
        return session


def offer_of(tenant: Tenant | None) -> Offer | None:
    """Return what whoever runs a tenant's CipherServer says of its connections."""
    return None if tenant is None else Offer(tenant.server, tenant.max_connections, tenant.several)


async def with_token(connection: AdminConnection, tokens: Tokens) -> AdminConnection:
    """Return a connection with the password that it logs in with: its own, or a token that its cloud gives now.

    Raises Failure IdentityUnavailable.
    """
    if connection.auth.method is AuthMethod.PASSWORD:
        return connection
    return replace(connection, password=await tokens.token(_login(connection)), require_auth="password")


def _login(connection: AdminConnection) -> Login:
    auth = connection.auth
    return Login(auth.method, connection.host, connection.port, connection.user, auth.region, auth.scope)


def _remembered(cause: object) -> Remembered:
    assert isinstance(cause, Failure)  # what `failed` and `refused` are told here
    return Remembered(cause.reason, cause.message, stage=cause.stage, sqlstate=cause.sqlstate)
