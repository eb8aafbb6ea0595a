"""JSON that comes in pieces: the lines of a watch, and the items of a list, one at a time.

Whoever may write objects decides how large they are, annotations and managed fields too. So neither a page of a list
nor the backlog of a watch is ever held whole: what counts is the largest single object.
"""

import codecs
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from cipher_operator.kube.decoding import decode, decode_next
from cipher_operator.kube.port import Json

MAX_OBJECT = 16 * 2**20
"""Bytes of one object: ten times of what the API server stores."""
_BLANK = " \t\r\n"
_AFTER_NUMBER = tuple(",]}" + _BLANK)


class NotReadable(Exception):
    """What came is not what an API server sends; says nothing of the content."""


async def lines(chunks: AsyncIterable[bytes]) -> AsyncIterator[Json]:
    """Yield the JSON objects of a stream, one a line; an incomplete last line is left out. Raises NotReadable."""
    pending = bytearray()
    async for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        pending += chunk[:end]
        if end:
            for line in pending.split(b"\n"):
                if line.strip():
                    yield _object(line)
            pending = bytearray()
        pending += chunk[end:]
        if len(pending) > MAX_OBJECT:
            raise NotReadable("a line is too long")


def _object(line: bytearray) -> Json:
    try:
        found = decode(line)
    except ValueError:
        raise NotReadable("a line is no JSON") from None
    if not isinstance(found, dict):
        raise NotReadable("a line is no object")
    return found


class ListReader:
    """Reads a list object: `items` yields its items as they come; `metadata` is there when they are through."""

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks = aiter(chunks)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text, self._at, self._ended = "", 0, False
        self.metadata: Json = {}

    async def items(self) -> AsyncIterator[Json]:
        """Yield the items. Raises NotReadable."""
        await self._expect("{")
        while await self._peek() != "}":
            key = await self._value()
            await self._expect(":")
            if key == "items" and await self._peek() == "[":
                await self._expect("[")
                while await self._peek() != "]":
                    item = await self._value()
                    if not isinstance(item, dict):
                        raise NotReadable("an item is no object")
                    yield item
                    await self._skip(",")
                await self._expect("]")
            else:
                value = await self._value()
                if key == "metadata" and isinstance(value, dict):
                    self.metadata = value
            await self._skip(",")

    async def _value(self) -> Any:
        """Return the next JSON value. It is tried again only when twice as much has come: else it costs squares."""
        await self._peek()
        while True:
            try:
                value, end = decode_next(self._text, self._at)
            except ValueError:
                wanted = 2 * (len(self._text) - self._at)
                if self._ended or wanted > 2 * MAX_OBJECT:
                    raise NotReadable("the list is no JSON") from None
                while not self._ended and len(self._text) - self._at < wanted:
                    await self._more()
                continue
            if isinstance(value, int | float) and self._text[end : end + 1] not in _AFTER_NUMBER and not self._ended:
                # It goes on in the next piece: all of it could be a number, and so could its beginning.
                await self._more()
                continue
            self._at = end
            return value

    async def _peek(self) -> str:
        """Return the next character that is not blank, without taking it."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANK:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                raise NotReadable("the list ends too early")
            await self._more()

    async def _expect(self, character: str) -> None:
        if await self._peek() != character:
            raise NotReadable("the list is no JSON")
        self._at += 1

    async def _skip(self, character: str) -> None:
        if await self._peek() == character:
            self._at += 1

    async def _more(self) -> None:
        try:
            piece = self._decoder.decode(await anext(self._chunks))
        except StopAsyncIteration:
            self._ended = True
            return
        except UnicodeDecodeError:
            raise NotReadable("the list is no UTF-8") from None
        self._text, self._at = self._text[self._at :] + piece, 0
