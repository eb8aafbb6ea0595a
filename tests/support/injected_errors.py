"""A stand-in for errors that a test cannot make a server say: a proxy that says them for it, in a real session."""

import asyncio
from dataclasses import dataclass

from support.wire import WireProxy, error_message, message, read_message


@dataclass(frozen=True)
class Injected:
    """An error. `instead_of` is part of the query that it answers, None for the start of a connection.

    `fatal` ends the connection after it, as a server does.
    """

    code: str
    text: str
    instead_of: bytes | None
    fatal: bool = False

    def message(self) -> bytes:
        severity = "FATAL" if self.fatal else "ERROR"
        return error_message({"S": severity, "V": severity, "C": self.code, "M": self.text})


class ErrorProxy(WireProxy):
    """Answers with `error`, which may be changed at any time; None lets everything pass."""

    error: Injected | None = None

    def admit(self, parameters: dict[str, str], *, encrypted: bool) -> dict[str, str] | bytes:
        if self.error is not None and self.error.instead_of is None:
            return self.error.message()
        return parameters

    async def ask(
        self, reader: asyncio.StreamReader, ahead: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            kind, body = await read_message(reader)
            error = self.error
            if error is None or error.instead_of is None or kind != b"Q" or error.instead_of not in body:
                ahead.write(message(kind, body))
                await ahead.drain()
                continue
            # A simple query that failed is over, and its transaction rolled back: idle.
            writer.write(error.message() + (b"" if error.fatal else message(b"Z", b"I")))
            await writer.drain()
            if error.fatal:
                return
