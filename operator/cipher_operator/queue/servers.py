"""What all storages share about a PostgreSQL server: its slots, whether it is down, and which logins it refused."""

import asyncio
import contextvars
import hashlib
import hmac
import math
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.probe import answers
from cipher_operator.postgres.session import Session
from cipher_operator.reconcile.inventory import Key

VERDICT_SECONDS = 60.0
"""How long a refused credential is not tried again."""
PROBE_SECONDS = 2.0
TELL_SECONDS = 8.0
"""How long a server is down before its other storages say so too: a restart is over by then."""
SPREAD_SECONDS = 1.0
"""Over how long those that wait for one server are released."""
IDLE_SECONDS = 3600.0
"""After how long what is known of an unused credential is dropped."""

DOWN = frozenset({Reason.CONNECTION_REFUSED, Reason.CONNECT_TIMEOUT, Reason.DNS_FAILURE})
SHARED = DOWN | {Reason.DISCONNECTED, Reason.SERVER_NOT_READY}
"""Failures before a login that every other login at that moment would meet too."""

Trigger = Callable[[Key, float], None]


@dataclass(slots=True)
class _Credential:
    """One user and password on one server. While it is not `proven`, one login at a time."""

    gate: asyncio.Lock = field(default_factory=asyncio.Lock)
    proven: bool = False
    failure: Failure | None = None
    """The verdict, until `until`."""
    until: float = 0.0
    last: tuple[float, Failure] | None = None
    """When a try last met a SHARED failure, and which."""
    used: float = 0.0
    waiting: set[Key] = field(default_factory=set)
    timer: asyncio.TimerHandle | None = None


@dataclass(frozen=True, slots=True)
class _Attempt:
    key: Key
    admin: AdminConnection
    database: str
    purpose: str


@dataclass(slots=True)
class _Server:
    slots: asyncio.Semaphore
    users: int = 0
    down: Failure | None = None
    waiting: set[Key] = field(default_factory=set)
    served: set[Key] = field(default_factory=set)
    """Who had a session here last."""
    probe: asyncio.Task[None] | None = None
    credentials: dict[bytes, _Credential] = field(default_factory=dict)


class Servers:
    """Sessions for all storages. `trigger(key, seconds)` is called for those that a server or a login released.

    - At most `per_server` sessions per host and port at once.
    - A refused login is a verdict on (server, user, password): for a minute nobody tries it again, then one does.
    - A server that does not answer is asked by one TCP connection every 2 s; until it answers, sessions fail with
      the reason of the first failure, without being tried. Where that lasts, all its storages are run, to say so.
    """

    def __init__(
        self,
        policy: DialPolicy,
        per_server: int,
        trigger: Trigger,
        *,
        count: Callable[[str], None] = lambda purpose: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy, self._per_server, self._trigger = policy, per_server, trigger
        self._count, self._clock = count, clock
        self._hash_key = secrets.token_bytes(32)
        self._servers: dict[tuple[str, int], _Server] = {}
        self._context = contextvars.copy_context()
        self._closed = False

    @asynccontextmanager
    async def session(self, key: Key, admin: AdminConnection, database: str, *, purpose: str) -> AsyncIterator[Session]:
        """Give a session in a database, closed at the end; `purpose` is `admin` or `login`.

        Raises Failure, stage Connected: at once where the server is known to be down or the login to be refused.
        """
        address = (admin.host, admin.port)
        server = self._servers.get(address)
        if server is None:
            server = self._servers[address] = _Server(asyncio.Semaphore(self._per_server))
        for other in self._servers.values():
            if other is not server:
                other.waiting.discard(key)
                other.served.discard(key)
        server.users += 1
        attempt = _Attempt(key, admin, database, purpose)
        try:
            self._check(server, attempt)
            async with server.slots, await self._open(server, attempt) as session:
                server.served.add(key)
                yield session
        finally:
            server.users -= 1
            self._tidy(address, server)

    def forget_verdict(self, admin: AdminConnection) -> None:
        """Let a login be tried at once, after its password was set on the server."""
        server = self._servers.get((admin.host, admin.port))
        credential = server.credentials.get(self._digest(admin)) if server is not None else None
        if credential is not None:
            self._clear(credential)

    def forget(self, key: Key) -> None:
        """Drop a storage that is gone from everything that it waits for."""
        for address, server in list(self._servers.items()):
            server.waiting.discard(key)
            server.served.discard(key)
            for credential in server.credentials.values():
                credential.waiting.discard(key)
            self._tidy(address, server)

    async def close(self) -> None:
        """End the probes and timers; what waits is not released any more."""
        self._closed = True
        probes = [server.probe for server in self._servers.values() if server.probe is not None]
        for probe in probes:
            probe.cancel()
        for server in self._servers.values():
            for credential in server.credentials.values():
                self._stop_timer(credential)
        if probes:
            await asyncio.wait(probes)

    async def _open(self, server: _Server, attempt: _Attempt) -> Session:
        credential = server.credentials.setdefault(self._digest(attempt.admin), _Credential())
        credential.used = asked = self._clock()
        self._check(server, attempt)
        if credential.proven:
            return await self._try(server, credential, attempt)
        async with credential.gate:
            self._check(server, attempt)
            if credential.last is not None and credential.last[0] > asked:
                raise _copy(credential.last[1])
            return await self._try(server, credential, attempt)

    async def _try(self, server: _Server, credential: _Credential, attempt: _Attempt) -> Session:
        login = attempt.purpose == "login"
        try:
            session = await Session.open(attempt.admin, attempt.database, self._policy, app_login=login)
        except Failure as failure:
            if failure.reason is Reason.AUTHENTICATION_FAILED:
                self._refused(credential, attempt.key, failure)
            elif failure.reason is Reason.DATABASE_MISSING:
                # The server says so only to who has logged in.
                self._accepted(credential, attempt.key)
            if failure.reason in SHARED:
                credential.last = self._clock(), _copy(failure)
            if failure.reason in DOWN:
                self._down(server, attempt, failure)
            raise
        for _ in range(session.connections_made):
            self._count(attempt.purpose)
        self._accepted(credential, attempt.key)
        return session

    def _check(self, server: _Server, attempt: _Attempt) -> None:
        """Raise the Failure that is known already."""
        if server.down is not None:
            server.waiting.add(attempt.key)
            raise _copy(server.down)
        credential = server.credentials.get(self._digest(attempt.admin))
        if credential is None or credential.failure is None:
            return
        if self._clock() < credential.until:
            credential.waiting.add(attempt.key)
            raise _copy(credential.failure)

    def _accepted(self, credential: _Credential, key: Key) -> None:
        credential.proven = True
        released, credential.waiting = credential.waiting, set()
        self._clear(credential)
        self._release(released - {key})

    def _refused(self, credential: _Credential, key: Key, failure: Failure) -> None:
        credential.proven = False
        credential.failure = _copy(failure)
        credential.until = self._clock() + VERDICT_SECONDS
        credential.waiting.add(key)
        if not self._closed:
            self._stop_timer(credential)
            loop = asyncio.get_running_loop()
            credential.timer = loop.call_later(
                VERDICT_SECONDS + 0.1, self._try_again, credential, context=self._context
            )

    def _try_again(self, credential: _Credential) -> None:
        credential.timer = None
        released, credential.waiting = credential.waiting, set()
        self._release(released)

    def _clear(self, credential: _Credential) -> None:
        credential.failure = None
        self._stop_timer(credential)

    @staticmethod
    def _stop_timer(credential: _Credential) -> None:
        if credential.timer is not None:
            credential.timer.cancel()
            credential.timer = None

    def _down(self, server: _Server, attempt: _Attempt, failure: Failure) -> None:
        server.waiting.add(attempt.key)
        if server.probe is None and not self._closed:
            loop = asyncio.get_running_loop()
            server.probe = loop.create_task(
                self._probe(server, attempt.admin.host, attempt.admin.port, _copy(failure)),
                name="probe",
                context=self._context.copy(),
            )

    async def _probe(self, server: _Server, host: str, port: int, failure: Failure) -> None:
        """Ask until it answers. A server that takes connections and says nothing is not down: back-off is for it."""
        untold = self._clock() + TELL_SECONDS
        try:
            while server.waiting and not await answers(host, port, self._policy):
                server.down = failure
                if self._clock() > untold:
                    untold = math.inf
                    self._release(server.served - server.waiting)
                await asyncio.sleep(PROBE_SECONDS)
            was_down = server.down is not None
        finally:
            server.down = server.probe = None
        waiting, server.waiting = server.waiting, set()
        if was_down:
            self._release(waiting)
        self._tidy((host, port), server)

    def _release(self, keys: set[Key]) -> None:
        if self._closed:
            return
        window = min(SPREAD_SECONDS, 0.05 * (len(keys) - 1))
        for key in keys:
            self._trigger(key, random.uniform(0, window))  # noqa: S311 - spreads a herd

    def _digest(self, admin: AdminConnection) -> bytes:
        text = f"{len(admin.user)} {admin.user} {admin.password.reveal()}"
        return hmac.digest(self._hash_key, text.encode(), hashlib.sha256)

    def _tidy(self, address: tuple[str, int], server: _Server) -> None:
        """Drop what nobody uses: credentials change, and hosts come and go."""
        if server.users or server.probe is not None:
            return
        old = self._clock() - IDLE_SECONDS
        for digest in [d for d, c in server.credentials.items() if c.used < old and not c.waiting]:
            del server.credentials[digest]
        if not server.credentials and not server.waiting and self._servers.get(address) is server:
            del self._servers[address]


def _copy(failure: Failure) -> Failure:
    """Return an equal Failure: those who catch one set its stage and complete its message."""
    return Failure(failure.reason, failure.message, stage=failure.stage, sqlstate=failure.sqlstate)
