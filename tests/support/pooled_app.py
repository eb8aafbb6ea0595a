"""An app as Cipher is one: a pool of open connections, new ones all the time, its Secret mounted as a file."""

import base64
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

import psycopg

from support.cluster import Namespace
from support.randomness import seeded_random

POOL, WORKERS = 4, 3
MOUNT_DELAY = 1.0
"""Seconds at most until a changed Secret is in the file."""
PAUSE = 0.03
"""Seconds between two uses by one thread: often enough to meet any gap, and some processor is left to the others."""


@dataclass(frozen=True)
class Error:
    """What the app saw, and when (monotonic seconds)."""

    at: float
    doing: str
    text: str
    since: float
    """When the connection was opened, or that was tried."""


@dataclass
class PooledApp:
    """Runs in threads from enter to exit, each with a pool. `errors` holds everything that did not work."""

    namespace: Namespace
    secret: str
    requests: int = 0
    opened: int = 0
    errors: list[Error] = field(default_factory=list)
    passwords: list[str] = field(default_factory=list)
    """The published passwords, in the order in which they were seen."""

    def __post_init__(self) -> None:
        self._mounted = self._published()
        self.passwords.append(self._mounted["password"])
        self._client = self.namespace.plane.client()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._mount, daemon=True)]
        self._threads += [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(WORKERS)]

    def __enter__(self) -> "PooledApp":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(30)

    def _published(self) -> Mapping[str, str]:
        found = self.namespace.get("secrets", self.secret)
        assert found is not None
        return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}

    def _mount(self) -> None:
        """Bring a changed Secret into the file, late, as a kubelet does; keep the old while there is no answer."""
        moments = seeded_random(f"{self.secret} mounted")
        while not self._end.wait(0.1):
            try:
                published = self._published()
            except (OSError, AssertionError):
                continue
            if published != self._mounted:
                self._end.wait(moments.uniform(0, MOUNT_DELAY))
                self._mounted = published
                self.passwords.append(published["password"])

    def _work(self, number: int) -> None:
        choices = seeded_random(f"{self.secret} used by {number}")
        pool: list[tuple[psycopg.Connection[tuple[object, ...]], float]] = []
        while not self._end.wait(PAUSE):
            if len(pool) < POOL:
                if (made := self._connect()) is not None:
                    pool.append((made, time.monotonic()))
                continue
            connection, since = pool.pop(choices.randrange(POOL))
            if self._use(connection, since) and choices.random() > 0.1:
                pool.append((connection, since))
            else:
                connection.close()
        for connection, _ in pool:
            connection.close()

    def _connect(self) -> "psycopg.Connection[tuple[object, ...]] | None":
        try:
            made = psycopg.connect(self._mounted["uri"], autocommit=True, connect_timeout=10)
        except psycopg.Error as error:
            now = time.monotonic()
            self.errors.append(Error(now, "connect", str(error), now))
            return None
        self.opened += 1
        return made

    def _use(self, connection: "psycopg.Connection[tuple[object, ...]]", since: float) -> bool:
        try:
            connection.execute(
                "INSERT INTO cipher_store VALUES ('k', 'v', now(), now()) "
                "ON CONFLICT (key) DO UPDATE SET updated_at = now()"
            )
            connection.execute("SELECT value FROM cipher_store WHERE key LIKE 'k%'").fetchall()
        except psycopg.Error as error:
            self.errors.append(Error(time.monotonic(), "query", str(error), since))
            return False
        self.requests += 2
        return True
