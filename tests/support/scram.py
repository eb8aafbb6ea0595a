"""SCRAM from the server's side: verifiers by the RFC's own rule, and a server that asks for what it does not know."""

import asyncio
import base64
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterable

from devcluster import scram
from support.wire import SSL_REQUEST, message

SALT = b"salt-of-sixteen!"
MECHANISMS = struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0"
AUTHENTICATION_OK = message(b"R", struct.pack("!I", 0))
READY = message(b"Z", b"I")

Cut = Callable[[bytes], Iterable[bytes]]


def verifier(password: str, rounds: int = 4096, salt: bytes = SALT) -> str:
    """Return a SCRAM verifier."""
    return scram.verifier(password, salt, rounds)


def challenge(nonce: bytes, rounds: bytes) -> bytes:
    """Return the message that names salt and rounds."""
    return message(b"R", struct.pack("!I", 11) + b"r=" + nonce + b"srv,s=" + base64.b64encode(SALT) + b",i=" + rounds)


def whole(text: bytes) -> Iterable[bytes]:
    return [text]


@contextlib.asynccontextmanager
async def asking(
    rounds: bytes,
    cut: Cut = whole,
    *,
    ahead: bool = False,
    context: ssl.SSLContext | None = None,
    then: Iterable[bytes] = (),
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Yield the port of a server that asks for so many rounds, and what it gets as an answer, by connection.

    `cut` is how the challenge comes. With `ahead` its first bytes, which need no nonce, come with the message before.
    `then` is what it says to a proof, whatever that is.
    """
    answers: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(answers)
        answers.append(b"")

        async def packet_of(header: int) -> bytes:
            head = await reader.readexactly(header)
            return await reader.readexactly(int.from_bytes(head[-4:], "big") - 4)

        if (await packet_of(4))[:4] == SSL_REQUEST[4:]:
            writer.write(b"S")
            await writer.drain()
            assert context is not None
            await writer.start_tls(context)
            await packet_of(4)
        length = len(challenge(b"n" * 24, rounds)) - 1
        head = b"R" + struct.pack("!II", length, 11) + b"r="
        writer.write(message(b"R", MECHANISMS) + (head if ahead else b""))
        await writer.drain()
        nonce = (await packet_of(5)).split(b"r=")[1]
        for part in cut(challenge(nonce, rounds)):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.003)
        answers[number] = await reader.read(4096)
        if last := b"".join(then):
            writer.write(last)
            await writer.drain()
            await reader.read()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], answers
