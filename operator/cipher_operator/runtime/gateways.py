"""What kopf is given of answers that it would not survive: those of what stands before an API server.

kopf reads the text of an error, and the `Retry-After` of a 429, as an API server writes them, and takes what comes with
a 200 for whole. A gateway answers in pages of any encoding, names a time, or one of days, and breaks answers off. All
of that becomes a server that does not answer, which kopf tries again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import aiohttp

from cipher_operator.api.names import PLURAL
from cipher_operator.kube.answers import seconds_asked
from cipher_operator.kube.decoding import decode

SURVIVED = frozenset({401, 403, 404})
"""Refusals after which kopf logs in anew, or tries again; 404 is the informer's, or says that a version is not
there."""

Handler = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]


class NotAnswered(aiohttp.ClientConnectionError):
    """No usable answer. `status` is the HTTP code, `retry_after` the seconds that are to be waited at least."""

    def __init__(self, why: str, status: int, retry_after: float = 0.0) -> None:
        super().__init__(why)
        self.status, self.retry_after = status, retry_after


async def wait_as_asked(request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
    """Wait as long as the server asks for before kopf, which knows nothing of it, tries again. A middleware."""
    try:
        return await handler(request)
    except NotAnswered as error:
        await asyncio.sleep(error.retry_after)
        raise


async def read_whole(request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
    """Read what kopf is to be given, but for what a watch tells. A middleware; raises NotAnswered."""
    response = await handler(request)
    status, ours = response.status, request.url.path.endswith(f"/{PLURAL}")
    if status < 300:
        if request.url.query.get("watch") != "true":
            _give(response, await _object(response, is_list=ours))
        return response
    if (ours and 400 <= status < 500 and status != HTTPStatus.TOO_MANY_REQUESTS) or status in SURVIVED:
        # Its text is for nobody, and may be no text.
        _give(response, {})
        return response
    # A way to somewhere else is not gone: the token would go along.
    response.release()
    asked = seconds_asked(response.headers.get("Retry-After"))
    raise NotAnswered(f"{status} {response.reason or ''}".strip(), status, asked or 0.0)


async def _object(response: aiohttp.ClientResponse, *, is_list: bool) -> dict[str, Any]:
    try:
        body = decode(await response.read())
    except aiohttp.ClientPayloadError:
        raise NotAnswered("the answer broke off", response.status) from None
    except ValueError:
        body = None
    if not isinstance(body, dict) or (is_list and not _is_list(body)):
        raise NotAnswered("the answer is not an API server's", response.status)
    return body


def _is_list(body: dict[str, Any]) -> bool:
    metadata = body.get("metadata")
    return isinstance(body.get("items"), list) and isinstance(metadata, dict) and bool(metadata.get("resourceVersion"))


def _give(response: aiohttp.ClientResponse, body: dict[str, Any]) -> None:
    async def json(**_: object) -> dict[str, Any]:
        return body

    response.json = json  # type: ignore[method-assign]
