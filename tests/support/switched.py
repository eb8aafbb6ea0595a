"""One address behind which the server changes: a failover, a restore, a name that leads elsewhere."""

import asyncio
import time
from collections.abc import Callable

from devcluster import PostgresServer
from support.runs import Runs
from support.wire import WireProxy

_CHUNK = 1 << 20


class Switched(WireProxy):
    """Leads to `server`, which may be set at any time: who is connected stays where he is.

    `connecting` is told of each user who logs in; a client whose message `breaks` picks is hung up on in its place.
    """

    def __init__(self, server: PostgresServer) -> None:
        super().__init__(server)
        self.connecting: Callable[[str], None] = lambda user: None
        self.breaks: Callable[[bytes], bool] = lambda message: False

    def admit(self, parameters: dict[str, str], *, encrypted: bool) -> dict[str, str] | bytes:
        self.connecting(parameters["user"])
        return parameters

    async def ask(
        self, reader: asyncio.StreamReader, ahead: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> None:
        while chunk := await reader.read(_CHUNK):
            if self.breaks(chunk):
                return
            ahead.write(chunk)
            await ahead.drain()

    def administers(self, runs: Runs) -> None:
        """Have the connection Secret lead here."""
        url = runs.server.admin_url(sslmode="disable")
        runs.api.secret("pg-admin", {"CIPHER_PG_URL": url.replace(f":{runs.server.port}/", f":{self.port}/")})


def part(primary: PostgresServer, standby: PostgresServer) -> None:
    """Have the standby receive what the primary has committed so far, and nothing that comes later."""
    # Not how far it is written: a commit here waits for no write.
    committed = primary.execute("SELECT pg_current_wal_insert_lsn()")[0][0]
    _wait(standby, f"SELECT pg_last_wal_replay_lsn() >= '{committed}'::pg_lsn")
    standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
    standby.execute("SELECT pg_reload_conf()")
    _wait(standby, "SELECT NOT EXISTS (SELECT 1 FROM pg_stat_wal_receiver)")


def _wait(server: PostgresServer, question: str) -> None:
    until = time.monotonic() + 30.0
    while not server.execute(question)[0][0]:
        assert time.monotonic() < until, question
        time.sleep(0.02)
