"""Servers that speak German: one with PostgreSQL's own catalogue, and others behind a proxy that translates.

The packages for tests are built without NLS (their `postgres` does not call gettext), so no catalogue can be given to
them. Before those stands a proxy that lets no English text through; states and SQLSTATEs stay the real server's.
"""

import asyncio
import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from devcluster import PostgresServer
from devcluster.longrun import SetupError
from devcluster.postgres_programs import Installation, find_postgres
from devcluster.tls import TlsFixture
from support.wire import WireProxy, error_message, message, read_message

NATIVE = "its own catalogue"
SPOKEN = (NATIVE, 16, 18)
"""What `speaking` can be asked for."""

_SEVERITIES = {"ERROR": "FEHLER", "WARNING": "WARNUNG", "NOTICE": "HINWEIS", "DEBUG": "DEBUG", "LOG": "LOG"}
# As in PostgreSQL's catalogue, where the server says them to who connects.
_TEXTS = tuple(
    (re.compile(english), german)
    for english, german in (
        (r'password authentication failed for user "(.*)"', "Passwort-Authentifizierung für Benutzer »{}« "
         "fehlgeschlagen"),
        (r'role "(.*)" is not permitted to log in', "Rolle »{}« hat keine Berechtigung zum Einloggen"),
        (r'database "(.*)" does not exist', "Datenbank »{}« existiert nicht"),
        (r'permission denied for database "?(.*?)"?', "keine Berechtigung für Datenbank »{}«"),
        (r'too many connections for role "(.*)"', "zu viele Verbindungen von Rolle »{}«"),
        (r"sorry, too many clients already", "tut mir leid, schon zu viele Verbindungen"),
        (r'database "(.*)" is not currently accepting connections', "Datenbank »{}« akzeptiert gegenwärtig keine "
         "Verbindungen"),
        (r"the database system is starting up", "das Datenbanksystem startet"),
        (r"the database system is shutting down", "das Datenbanksystem fährt herunter"),
        (r"canceling statement due to statement timeout", "storniere Anfrage wegen Zeitüberschreitung der Anfrage"),
        (r"canceling statement due to lock timeout", "storniere Anfrage wegen Zeitüberschreitung einer Sperre"),
        (r"cannot execute (.*) in a read-only transaction", "{} kann nicht in einer Read-Only-Transaktion ausgeführt "
         "werden"),
    )
)  # fmt: skip
_NAME = re.compile(r'"([^"]*)"')


class _Catalogued(Installation):
    """A server with a catalogue. gettext takes LANGUAGE with any locale but C, so German needs not be compiled."""

    def environment(self) -> dict[str, str]:
        return super().environment() | {"LANGUAGE": "de"}


class _Translator(WireProxy):
    async def answer(self, behind: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            kind, body = await read_message(behind)
            if kind in {b"E", b"N"}:
                words = body.rstrip(b"\0").decode().split("\0")
                writer.write(error_message(_in_german({word[0]: word[1:] for word in words}), kind))
            else:
                writer.write(message(kind, body))
            await writer.drain()


@dataclass(frozen=True)
class German:
    """A server as its clients meet it: `port` may be the proxy's. Stopping and logs are the server's own."""

    server: PostgresServer
    port: int
    host: str = "127.0.0.1"


@contextlib.contextmanager
def speaking(
    how: str | int, *, settings: Mapping[str, str] | None = None, hba: str | None = None, tls: TlsFixture | None = None
) -> Iterator[German]:
    """Run a server that speaks German to its clients, as one of SPOKEN; skips the test where there is none.

    `hba` is written for TLS clients (`hostssl`); behind the proxy, which ends TLS, the same lines hold without.
    """
    if how == NATIVE:
        own = {"lc_messages": "C.UTF-8", **(settings or {})}
        with PostgresServer(installation=_catalogued(), settings=own, hba=hba, tls=tls) as server:
            yield German(server, server.port)
        return
    assert isinstance(how, int)
    plain = hba.replace("hostssl", "host") if hba is not None else None
    with PostgresServer(how, settings=settings, hba=plain) as server, _Translator(server, tls) as proxy:
        yield German(server, proxy.port)


def _catalogued() -> Installation:
    for catalogue in Path("/usr/share/locale/de/LC_MESSAGES").glob("postgres-[1-9]*.mo"):
        major = int(catalogue.stem.removeprefix("postgres-"))
        with contextlib.suppress(SetupError):
            found = find_postgres(major, tls=True, fetch=False)
            if found.bin.is_relative_to("/usr"):
                return _Catalogued(**{each.name: getattr(found, each.name) for each in fields(found)})
    pytest.skip("no PostgreSQL with German messages here: packages for tests have none, Debian's and Fedora's do")


def _in_german(said: dict[str, str]) -> dict[str, str]:
    german = said | {"S": _SEVERITIES.get(said["S"], said["S"])}
    return german | {code: _sentence(said[code]) for code in ("M", "D", "H", "W") if code in said}


def _sentence(english: str) -> str:
    for pattern, german in _TEXTS:
        if match := pattern.fullmatch(english):
            return german.format(*match.groups())
    names = "".join(f" »{name}«" for name in _NAME.findall(english))
    return f"nicht übersetzt{names}"
