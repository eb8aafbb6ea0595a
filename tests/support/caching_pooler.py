"""A pooler that keeps what it knows of passwords, and for a while refuses a login whose password was just set.

Supavisor, and PgBouncer with `auth_query` and an `auth_file` of its own, answer so: from the cache, with 28P01.
"""

from devcluster import PostgresServer
from support.wire import WireProxy, error_message

_REFUSED = error_message({"S": "FATAL", "V": "FATAL", "C": "28P01", "M": "password authentication failed"})


class CachingPooler(WireProxy):
    """Refuses the next `stale` logins of roles whose name begins with `prefix`; `tried` counts all of theirs."""

    host = "127.0.0.1"

    def __init__(self, server: PostgresServer, prefix: str) -> None:
        super().__init__(server)
        self._prefix = prefix
        self.stale = self.tried = 0

    def admit(self, parameters: dict[str, str], *, encrypted: bool) -> dict[str, str] | bytes:
        if not parameters["user"].startswith(self._prefix):
            return parameters
        self.tried += 1
        if self.stale == 0:
            return parameters
        self.stale -= 1
        return _REFUSED
