"""Raw requests to the API server: JSON in, JSON out, two kinds of errors.

The generated API classes of the Kubernetes client cost 25 MiB and twice the CPU for the same work, so they are not
used: only its configuration and its ApiClient.
"""

import errno
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

import aiohttp
from yarl import URL

from cipher_operator.kube.access import Access
from cipher_operator.kube.answers import decode_answer
from cipher_operator.kube.port import JSON, ApiUnavailable, Json

TIMEOUT = 10.0
"""Seconds for one request, with its answer."""


class KubeClient:
    """A client of one API server. Use as `async with KubeClient(access) as kube`, or call `close`.

    Every method takes an absolute path (`/api/v1/…`) and returns the decoded JSON object. They raise ApiError and
    ApiUnavailable. Nothing is retried, except a GET once when the connection is reset: a server that restarts
    closes idle connections.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._client: Any = access.api_client()

    async def __aenter__(self) -> "KubeClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def get(self, path: str, *, accept: str = JSON, **query: str) -> Json:
        """Return the object or list at a path; `query` are the URL's parameters."""
        url = str(URL(path).with_query(query)) if query else path
        try:
            return await self._request("GET", url, accept=accept)
        except _ConnectionReset:
            return await self._request("GET", url, accept=accept)

    async def post(self, path: str, body: Json) -> Json:
        """Create an object and return it."""
        return await self._request("POST", path, body)

    async def put(self, path: str, body: Json) -> Json:
        """Replace an object and return it."""
        return await self._request("PUT", path, body)

    async def patch(self, path: str, body: Json | list[Json], content_type: str) -> Json:
        """Patch an object (JSON_PATCH) and return it."""
        return await self._request("PATCH", path, body, content_type)

    async def watch(self, path: str, *, accept: str, seconds: float, **query: str) -> AsyncIterator[Json]:
        """Yield the events of a watch as they come, until the server ends it or `seconds` have passed.

        Raises ApiError, ApiUnavailable. A line that is no JSON ends it too: the place in the stream is lost.
        """
        query = {"watch": "1", "timeoutSeconds": str(int(seconds)), **query}
        url = str(URL(path).with_query(query))
        async with self._answer("GET", url, accept=accept, seconds=seconds + TIMEOUT) as answer:
            if answer.status >= 400:
                decode_answer(answer.status, answer.headers, await answer.read())
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    yield _event(line)

    async def _request(
        self,
        method: str,
        path: str,
        body: Json | list[Json] | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> Json:
        async with self._answer(method, path, body, content_type=content_type, accept=accept) as answer:
            return decode_answer(answer.status, answer.headers, await answer.read(), body)

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        body: Json | list[Json] | None = None,
        *,
        content_type: str = JSON,
        accept: str = JSON,
        seconds: float = TIMEOUT,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give the answer to a request, whatever its status, and end it with the block."""
        headers = {"Accept": accept, "Content-Type": content_type, **self._client.default_headers}
        authorization = await self._access.authorization()
        if authorization is not None:
            headers["Authorization"] = authorization
        try:
            wrapped = await self._client.call_api(
                method,
                self._access.server + path,
                header_params=headers,
                body=body,
                _request_timeout=seconds,
            )
            answer: aiohttp.ClientResponse = wrapped.response
            try:
                if answer.status == 401:
                    self._access.expire()
                yield answer
            finally:
                answer.close()
        except TimeoutError:
            raise ApiUnavailable(f"no answer within {seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _unavailable(error) from None


def _event(line: bytes) -> Json:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        raise ApiUnavailable("the watch sent what is no event")
    return event


class _ConnectionReset(ApiUnavailable):
    """The connection ended before the answer."""


def _unavailable(error: Exception) -> ApiUnavailable:
    # The texts of these errors name the address of the API server: their kind is enough.
    if isinstance(error, aiohttp.ServerDisconnectedError) or (
        isinstance(error, OSError) and error.errno in (errno.ECONNRESET, errno.EPIPE)
    ):
        return _ConnectionReset("the connection was reset")
    return ApiUnavailable(type(error).__name__)
