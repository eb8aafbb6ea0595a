"""PostgreSQL's own programs that dump and restore, against a test server."""

import subprocess

from devcluster import PostgresServer
from devcluster.postgres_programs import find_dump_programs


def program(server: PostgresServer, name: str, *arguments: str, check: bool = True) -> str:
    """Run one of PostgreSQL's own programs against a server, as its superuser, and return what it writes."""
    installation = find_dump_programs()
    environment = installation.environment() | {"PGPASSWORD": server.password}
    address = ("-h", server.host, "-p", str(server.port), "-U", server.superuser)
    done = subprocess.run(
        [installation.bin / name, *address, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout
