"""A storage that somebody breaks, and what the operator then says: healed, refused, or warned of."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import psycopg
import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from devcluster import PostgresServer
from support.cipher_client import NotKept, work_as_cipher
from support.provision import Provisioner, Storage

MAJORS = (13, 15, 16, 18)


@dataclass(frozen=True)
class Healed:
    """The next run mends it, and the one after that has nothing to do."""

    by: str = ""
    """What occurs in a statement that ran."""


@dataclass(frozen=True)
class Refused:
    """Not Ready: the reason, and words of the message. Cipher must in fact fail, unless `cautious`."""

    reason: Reason
    words: tuple[str, ...]
    cautious: bool = False


@dataclass(frozen=True)
class Warned:
    """Ready, with a warning that has these words."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Works:
    """Ready, and not a word about it."""


@dataclass(frozen=True)
class Break:
    """What somebody did to a storage, as SQL of a superuser in its database, and what follows."""

    sql: tuple[str, ...]
    then: Healed | Refused | Warned | Works
    majors: tuple[int, ...] = (16,)
    undo: tuple[str, ...] = ()
    """For what reaches beyond the storage."""


@dataclass
class Look:
    """One run as production does it, with the login tested."""

    failure: Failure | None = None
    executed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def rows(table: dict[str, Break], server: PostgresServer) -> dict[str, Break]:
    """Return the rows of a table that are for this server."""
    return {name: row for name, row in table.items() if server.installation.major in row.majors}


def majors_of(table: dict[str, Break]) -> list[pytest.ParameterSet]:
    """Return (major, id) for each row and each major that it is for, server by server."""
    pairs = [(major, name) for major in MAJORS for name, row in table.items() if major in row.majors]
    return [pytest.param(major, name, id=f"pg{major}-{name}") for major, name in pairs]


@dataclass
class Servers:
    """The servers of a module, one of each major, the last one asked for is kept running."""

    running: dict[int, PostgresServer] = field(default_factory=dict)

    def get(self, major: int) -> PostgresServer:
        if major not in self.running:
            self.close()
            self.running[major] = PostgresServer(major)
            self.running[major].start()
        return self.running[major]

    def close(self) -> None:
        for server in self.running.values():
            server.close()
        self.running.clear()


def one_at_a_time() -> Iterator[Servers]:
    """Yield servers of which one runs at a time."""
    servers = Servers()
    try:
        yield servers
    finally:
        servers.close()


def names(admin: Provisioner, wanted: Storage) -> dict[str, str]:
    """Return what `{…}` stands for in a table."""
    return {
        "db": wanted.database,
        "schema": wanted.schema,
        "owner": wanted.owner,
        "user": wanted.user,
        "admin": admin.admin.user,
    }


def damage(server: PostgresServer, admin: Provisioner, wanted: Storage, statements: tuple[str, ...]) -> None:
    if not statements:
        return
    options = "-c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0 -c transaction_timeout=0"
    if server.installation.major < 17:
        options = options.rpartition(" -c ")[0]
    with psycopg.connect(server.admin_url(wanted.database), autocommit=True, options=options) as connection:
        for statement in statements:
            connection.execute(filled(admin, wanted, statement).encode())


def filled(admin: Provisioner, wanted: Storage, text: str) -> str:
    """Return text with the names of a storage in it."""
    return re.sub(r"\{(\w+)\}", lambda found: names(admin, wanted)[found[1]], text)


async def look(admin: Provisioner, wanted: Storage) -> Look:
    """Run and prove once, of a storage that has been Ready before."""
    try:
        run = await admin.run(replace(wanted, established=True))
    except Failure as failure:
        return Look(failure)
    seen = Look(None, tuple(run.executed), tuple(run.warnings))
    try:
        await admin.prove(wanted.following(run))
    except Failure as failure:
        seen.failure = failure
    return seen


def cipher_fails(admin: Provisioner, wanted: Storage) -> Exception | None:
    """Return what keeps Cipher from working with the published login, None where it works."""
    try:
        with admin.app(wanted) as app:
            work_as_cipher(app)
    except (psycopg.Error, NotKept) as error:
        return error
    return None


def _fails_at_times(admin: Provisioner, wanted: Storage) -> bool:
    """Return whether Cipher fails at least once: a quick statement may be within a limit that the next one exceeds."""
    return any(cipher_fails(admin, wanted) is not None for _ in range(50))


async def judge(admin: Provisioner, wanted: Storage, then: Healed | Refused | Warned | Works) -> Look:
    """Look once and hold it against what is expected; Ready is never true where Cipher cannot work."""
    seen = await look(admin, wanted)
    if isinstance(then, Refused):
        assert seen.failure is not None, f"Ready, and Cipher says: {cipher_fails(admin, wanted)!r}"
        assert seen.failure.reason is then.reason, seen.failure.message
        for word in then.words:
            assert filled(admin, wanted, word) in seen.failure.message, seen.failure.message
        assert then.cautious or _fails_at_times(admin, wanted), "Cipher works, and is refused"
        return seen
    assert seen.failure is None, seen.failure
    assert (error := cipher_fails(admin, wanted)) is None, f"Ready, and Cipher says: {error!r}"
    said = "; ".join(seen.warnings)
    if isinstance(then, Healed):
        assert any(then.by in line for line in seen.executed), seen.executed
        assert said == ""
    else:
        assert seen.executed == ()
    if isinstance(then, Warned):
        for word in then.words:
            assert filled(admin, wanted, word) in said, said
    if isinstance(then, Works):
        assert said == ""
    again = await look(admin, wanted)
    assert (again.failure, again.executed, again.warnings) == (None, (), seen.warnings)
    return seen
