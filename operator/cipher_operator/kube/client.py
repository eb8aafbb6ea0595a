"""Raw requests to the API server: JSON in, JSON out, two kinds of errors.

The generated API classes of the Kubernetes client cost 25 MiB and twice the CPU for the same work, so they are not
used: only its configuration and its ApiClient.
"""

import base64
import binascii
import errno
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Protocol

import aiohttp
from yarl import URL

from cipher_operator.kube.access import Access

TIMEOUT = 10.0
"""Seconds for one request, with its answer."""
JSON_PATCH = "application/json-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
"""What to accept where an object's content is not needed."""

Json = dict[str, Any]


MAX_SAID = 500
"""Characters of what the API server says that are kept."""
MAX_RETRY_AFTER = 60.0
HIDDEN = "***"

_CREDENTIALS = re.compile(r"(?i)\S*://\S*|\b(?:password|token|secret)\s*[=:]\s*\S+|SCRAM-SHA-256\S*")


class ApiError(Exception):
    """The API server refused a request. `status` is the HTTP code, `reason` the API's word for it (`NotFound`).

    `message` is the server's sentence, without anything of the request's Secret data. `str()` names status and reason
    only.
    """

    def __init__(self, status: int, reason: str, message: str = "") -> None:
        super().__init__(f"{status} {reason}")
        self.status, self.reason, self.message = status, reason, message


class ApiUnavailable(Exception):
    """No usable answer from the API server: network, timeout, 5xx or 429. Trying again later is right.

    `retry_after` are the seconds that the server asks to wait, None where it does not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Kube(Protocol):
    """The API server as the operator uses it: absolute paths (`/api/v1/…`), JSON in, JSON out.

    Every method raises ApiError and ApiUnavailable.
    """

    async def get(self, path: str, *, accept: str = "application/json", **query: str) -> Json:
        """Return the object or list at a path; `query` are the URL's parameters."""

    async def post(self, path: str, body: Json) -> Json:
        """Create an object and return it."""

    async def put(self, path: str, body: Json) -> Json:
        """Replace an object and return it."""

    async def patch(self, path: str, body: Json | list[Json], content_type: str) -> Json:
        """Patch an object and return it."""


class Watching(Protocol):
    """An API server that can be watched as well."""

    async def get(self, path: str, *, accept: str = "application/json", **query: str) -> Json:
        """Return the object or list at a path."""

    def watch(self, path: str, *, accept: str, seconds: float, **query: str) -> AsyncIterator[Json]:
        """Yield the events of a watch as they come, for at most `seconds`. Raises ApiError, ApiUnavailable."""


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

    async def get(self, path: str, *, accept: str = "application/json", **query: str) -> Json:
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
        """Patch an object (JSON_PATCH or MERGE_PATCH) and return it."""
        return await self._request("PATCH", path, body, content_type)

    async def watch(self, path: str, *, accept: str, seconds: float, **query: str) -> AsyncIterator[Json]:
        """Yield the events of a watch as they come, until the server ends it or `seconds` have passed.

        Raises ApiError, ApiUnavailable. A line that is no JSON ends it too: the place in the stream is lost.
        """
        query = {"watch": "1", "timeoutSeconds": str(int(seconds)), **query}
        url = str(URL(path).with_query(query))
        async with self._answer("GET", url, accept=accept, timeout=seconds + TIMEOUT) as answer:
            if answer.status >= 400:
                _decode(path, answer, await answer.read(), {})
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    try:
                        event = json.loads(line)
                    except ValueError:
                        raise ApiUnavailable("the watch sent what is no JSON") from None
                    yield event

    async def _request(
        self,
        method: str,
        path: str,
        body: Json | list[Json] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Json:
        async with self._answer(method, path, body, content_type, accept) as answer:
            return _decode(path, answer, await answer.read(), body if isinstance(body, dict) else {})

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        body: Json | list[Json] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float = TIMEOUT,  # noqa: ASYNC109 - the client's own
    ) -> AsyncIterator[Any]:
        """Give the answer to a request, whatever its status, and end it with the block."""
        headers = {"Accept": accept, "Content-Type": content_type, **self._client.default_headers}
        authorization = await self._access.authorization()
        if authorization is not None:
            headers["Authorization"] = authorization
        try:
            answer = await self._client.call_api(
                method,
                self._access.server + path,
                header_params=headers,
                body=body,
                _request_timeout=timeout,
            )
            try:
                if answer.status == 401:
                    self._access.expire()
                yield answer.response
            finally:
                answer.response.close()
        except TimeoutError:
            raise ApiUnavailable(f"no answer within {timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _unavailable(error) from None


class _ConnectionReset(ApiUnavailable):
    """The connection ended before the answer."""


def _unavailable(error: Exception) -> ApiUnavailable:
    # The texts of these errors name the address of the API server: their kind is enough.
    if isinstance(error, aiohttp.ServerDisconnectedError) or (
        isinstance(error, OSError) and error.errno in (errno.ECONNRESET, errno.EPIPE)
    ):
        return _ConnectionReset("the connection was reset")
    return ApiUnavailable(type(error).__name__)


def _decode(path: str, answer: aiohttp.ClientResponse, content: bytes, request: Mapping[str, Any]) -> Json:
    status = answer.status
    try:
        decoded = json.loads(content) if content else {}
    except ValueError:
        decoded = {}
    body: Json = decoded if isinstance(decoded, dict) else {}
    if status < 400:
        return body
    reason = str(body.get("reason") or status)
    if status >= 500 or status == 429:
        raise ApiUnavailable(f"{status} {reason}", _retry_after(answer.headers.get("Retry-After")))
    raise ApiError(status, reason, without_values(str(body.get("message") or ""), request))


def without_values(message: str, request: Mapping[str, Any]) -> str:
    """Return what the server says without any value of the Secret that was sent, on one line and cut.

    Policies may quote what they refuse.
    """
    for value in sorted(_values(request), key=len, reverse=True):
        message = message.replace(value, HIDDEN)
    line = "".join(char if char.isprintable() else " " for char in _CREDENTIALS.sub(HIDDEN, message))
    return " ".join(line.split())[:MAX_SAID]


def _values(request: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    for value in (request.get("data") or {}).values() if request.get("kind") == "Secret" else ():
        found.add(str(value))
        try:
            found.add(base64.b64decode(str(value)).decode())
        except (binascii.Error, ValueError):
            continue
    # Short ones are words of the language too: "true", "5432".
    return {value for value in found if len(value) >= 6}


def _retry_after(header: str | None) -> float | None:
    """Return the seconds that a server asks to wait (RFC 9110, 10.2.3), at most a minute."""
    if not header:
        return None
    if header.strip().isdecimal():
        return min(float(header), MAX_RETRY_AFTER)
    try:
        seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
