"""`sslnegotiation=direct` is the operator's: Cipher's client asks for TLS with PostgreSQL's own request, and a balancer
that knows none of that ends its connection."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import pytest

from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority
from support import node_pg
from support.runs import Runs
from support.wire import WireProxy

READY = ("True", "Ready")
HANDSHAKE = b"\x16"
"""What TLS begins with."""


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
        sink.close()


async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int, said: bytes) -> None:
    behind, ahead = await asyncio.open_connection(host, port)
    ahead.write(said)
    await asyncio.gather(pump(reader, ahead), pump(behind, writer))


@contextlib.asynccontextmanager
async def balancer(server: PostgresServer, authority: CertificateAuthority, *, alert: bool) -> AsyncIterator[int]:
    """Give the port of what ends TLS and goes on plainly; on anything else it closes, with an alert or without."""
    made = authority.server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    context.set_alpn_protocols(["postgresql"])
    inner = await asyncio.start_server(
        lambda reader, writer: join(reader, writer, server.host, server.port, b""), "127.0.0.1", 0, ssl=context
    )
    port: int = inner.sockets[0].getsockname()[1]

    async def look(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begin = await reader.read(1)
        if begin == HANDSHAKE or alert:
            await join(reader, writer, "127.0.0.1", port, begin)
        writer.close()

    outer = await asyncio.start_server(look, "127.0.0.1", 0)
    async with inner, outer:
        yield outer.sockets[0].getsockname()[1]


@pytest.mark.parametrize("alert", [True, False], ids=["an alert", "no word"])
async def test_what_takes_tls_directly_alone_is_no_way_for_cipher(
    runs: Runs, certificate_authority: CertificateAuthority, alert: bool
) -> None:
    async with balancer(runs.server, certificate_authority, alert=alert) as port:
        url = runs.server.admin_url(sslmode="require", sslnegotiation="direct")
        runs.api.secret("pg-admin", {"CIPHER_PG_URL": url.replace(f":{runs.server.port}/", f":{port}/")})
        runs.storage()
        for number in range(2):
            runs.ask(value=str(number))
            await runs.run()
            assert runs.says()[0] == "False", runs.message()
            assert "`sslnegotiation=direct`" in runs.message(), runs.message()
            assert "`spec.app.host`" in runs.message()
            assert runs.api.data("chat-cipher") is None
        with WireProxy(runs.server, certificate_authority.server()) as proxy:
            runs.spec(app={"host": "127.0.0.1", "port": proxy.port})
            await runs.run()
            assert runs.says() == READY, runs.message()
            found = await asyncio.to_thread(node_pg.open_all, {"pod": runs.secret()["CIPHER_PG_URL"]})
            assert ["error" in opened for opened in found.values()] == [False, False]
